"""Toy runs through Ray are those of plain processes to the bit, whatever was killed in the middle."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_grid import SMALL, record

from latent_combo.runtime.checkpoint import exists, load

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
NAME = "toy-pendulum"
LONG = ("--agent-fit.updates", "1000", "--save-every", "20", "--log-every", "20")
TESTS = Path(__file__).parent
WITHIN = 300.0
"""Seconds for whatever is waited for, on a busy machine."""


def command(folder: Path, out: str, *more: str) -> list[str]:
    data = ("--datasets", str(folder / f"{NAME}.hdf5"), "--data-dir", str(folder), "--algorithms", "cql,bc")
    program = (sys.executable, str(TESTS / "toy_program.py"), "compare", str(folder / out))
    return [*program, *data, "--seeds", "1", *SMALL.split(), *LONG, *more]


def start(words: list[str]) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    return subprocess.Popen(words, env=environment, start_new_session=True)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def free(run: Path) -> bool:
    """Whether nobody trains in a folder."""
    if not run.exists():
        return True
    with open(run / "log.txt", "ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def trainer(run: Path) -> int | None:
    """The process that trains in a folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "train" in words and any(str(run) in word for word in words) and "compare" not in words:
            return int(process.name)
    return None


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def tensors(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, dict):
        for key, value in state.items():
            yield from tensors(value, f"{name}.{key}")
    elif isinstance(state, (list, tuple)):
        for key, value in enumerate(state):
            yield from tensors(value, f"{name}.{key}")


def require_same(folder: Path, out: str) -> None:
    """Every score and every tensor of all checkpoints is that of the plain processes."""
    for algorithm in ("cql", "bc"):
        here, there = (folder / name / NAME / algorithm / "seed0" for name in (out, "processes"))
        found, wanted = (json.loads((run / "result.json").read_text()) for run in (here, there))
        assert [agent["returns"] for agent in found["agents"]] == [agent["returns"] for agent in wanted["agents"]]
        assert found["evaluations"] == wanted["evaluations"]
        for phase in ("world_model", "agent"):
            own, other = (
                dict(tensors(load(run / "checkpoints" / phase, torch.device("cpu")))) for run in (here, there)
            )
            assert own.keys() == other.keys() and len(own) > 10
            assert all(torch.equal(own[name], other[name]) for name in own), (algorithm, phase)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ray")
    record(made, NAME)
    assert start(command(made, "processes", "--workers", "2")).wait(WITHIN) == 0
    return made


def begun(run: Path) -> bool:
    return exists(run / "checkpoints" / "agent")


def test_runs_go_on_after_a_worker_is_killed(folder: Path) -> None:
    ray = start(command(folder, "worker", "--backend", "ray", "--workers", "2", "--cpus-per-run", "1"))
    run = folder / "worker" / NAME / "cql" / "seed0"
    until(lambda: begun(run))
    worker = parent(trainer(run) or 0)
    assert worker != ray.pid
    os.kill(worker, signal.SIGKILL)
    assert ray.wait(WITHIN) == 0
    assert "resuming" in (run / "log.txt").read_text()
    require_same(folder, "worker")


def test_runs_go_on_after_the_command_is_killed_with_its_head(folder: Path) -> None:
    words = command(folder, "head", "--backend", "ray", "--workers", "2", "--cpus-per-run", "1")
    runs = [folder / "head" / NAME / algorithm / "seed0" for algorithm in ("cql", "bc")]
    ray = start(words)
    until(lambda: any(map(begun, runs)))
    ray.kill()
    ray.wait()
    until(lambda: all(map(free, runs)))  # which run on nowhere
    cut = [run for run in runs if not (run / "result.json").exists()]
    assert cut
    assert start(words).wait(WITHIN) == 0
    assert any("resuming" in (run / "log.txt").read_text() for run in cut)
    require_same(folder, "head")


def test_runs_of_a_cluster_whose_head_is_killed_go_on_with_the_next_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, port = shutil.which("ray", path=str(Path(sys.executable).parent)), 6479
    assert script is not None
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # or both would need a token
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS)])

    def cluster() -> "subprocess.Popen[bytes]":
        options = ("--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--block")
        return subprocess.Popen(
            [script, "start", *options, "--object-store-memory=80000000"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    words = command(folder, "cluster", "--backend", "ray", "--ray-address", f"127.0.0.1:{port}", "--cpus-per-run", "1")
    runs = [folder / "cluster" / NAME / algorithm / "seed0" for algorithm in ("cql", "bc")]
    head, compare = cluster(), start(words)
    until(lambda: any(map(begun, runs)))
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    assert compare.wait(WITHIN) != 0  # by Ray, which ends a command that finds no head for a minute
    until(lambda: all(map(free, runs)))
    cut = [run for run in runs if not (run / "result.json").exists()]
    assert cut
    head = cluster()
    try:
        assert start(words).wait(WITHIN) == 0
    finally:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()
    assert any("resuming" in (run / "log.txt").read_text() for run in cut)
    require_same(folder, "cluster")
