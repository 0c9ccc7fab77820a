"""How runs are given to Ray, and what machines have to have, with threads that stand for Ray's workers."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from fake_ray import FakeRay, RayError, fake_ray
from test_comparison_jobs import FINISHES, WAITS, out, signal_when
from toy_comparison import a_job

from combo_common.errors import StoppedError, UserError
from latent_combo.comparison import options, ray_worker, shared_folder, tether
from latent_combo.comparison.backends import scheduler
from latent_combo.comparison.given import Resources
from latent_combo.comparison.job import LOG, Job, Outcome
from latent_combo.comparison.run_job import lock
from latent_combo.comparison.shared_folder import asking

__all__ = ["out"]
GRID = ["runs/x", "--datasets", "a", "--algorithms", "cql"]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRay]:
    monkeypatch.setattr(ray_worker, "ASK_EVERY", 0.05)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    with fake_ray() as fake:
        yield fake


def run(out: Path, jobs: list[Job], workers: int | None = 2, **resources: Any) -> dict[Job, Outcome]:
    from latent_combo.comparison.ray_scheduler import RayScheduler

    outcomes = dict[Job, Outcome]()
    RayScheduler(out, workers, Resources(**resources)).run(jobs, outcomes.__setitem__)
    return outcomes


def test_each_outcome_is_its_own_jobs_and_what_ray_gives_up_is_one_too(ray: FakeRay, out: Path) -> None:
    scripts = [FINISHES, "exit('error: mend it')", FINISHES, FINISHES]
    jobs = [a_job(out, script, seed=seed) for seed, script in enumerate(scripts)]

    def instead(name: str, work: Any, given: tuple[Any, ...]) -> Any:
        if name == "task" and given[0].seed == 2:
            raise RayError("the worker died\nand a page of what that may mean")
        if name == "task" and given[0].seed == 3:
            raise KeyError("of ours")
        return work(*given)

    ray.instead = instead
    outcomes = run(out, jobs)
    assert {job.seed: (outcome.status, outcome.error) for job, outcome in outcomes.items()} == {
        0: ("finished", ""),
        1: ("failed", "mend it"),
        2: ("failed", "Ray gave it up after 20 tries: RayError: the worker died"),
        3: ("failed", "KeyError: 'of ours'"),
    }
    assert ray.asked["num_cpus"] == 8 and not ray.asked["include_dashboard"]
    runs = [placed for placed in ray.placed if "name" in placed]
    assert [placed["name"] for placed in runs] == [job.name for job in jobs]
    assert all((p["num_cpus"], p["num_gpus"], p["max_retries"]) == (4, 0.0, 20) for p in runs)
    assert not list(out.glob(".shared-*"))


def test_ctrl_c_has_runs_save_and_takes_back_those_that_wait_for_a_machine(ray: FakeRay, out: Path) -> None:
    jobs = [a_job(out, WAITS, seed=seed) for seed in range(3)]
    outcomes = dict[Job, Outcome]()

    def instead(name: str, work: Any, given: tuple[Any, ...]) -> Any:
        if name == "task" and given[0].seed > 0:
            ray.ended.wait(20)  # no machine has room for it
            return Outcome("failed", "the command waited for it")
        return work(*given)

    ray.instead = instead
    signal_when(jobs[0].folder / "began", signal.SIGINT)
    from latent_combo.comparison.ray_scheduler import RayScheduler

    with (
        mock.patch.object(ray, "init", lambda **_: FakeRay.init(ray, "auto", num_cpus=3)),
        pytest.raises(StoppedError, match="2 of 3 runs were not begun"),
    ):
        RayScheduler(out, None, Resources(address="auto")).run(jobs, outcomes.__setitem__)
    assert [(job.seed, outcome.status) for job, outcome in outcomes.items()] == [(0, "stopped")]
    assert (jobs[0].folder / "saved").exists() and not jobs[1].folder.exists()


@pytest.mark.parametrize(
    ("found", "workers", "asked", "address", "share"),
    [
        *((0, 4, None, None, 0.0), (1, 4, None, None, 0.25), (3, 4, None, None, 0.5), (4, 2, None, None, 1.0)),
        *((4, 2, 0.0, None, 0.0), (4, 2, 2.0, None, 2.0), (8, 1, None, "auto", 1.0), (0, 1, 1.0, "auto", 1.0)),
    ],
)
def test_runs_of_this_machine_share_its_gpus(
    ray: FakeRay, found: int, workers: int, asked: float | None, address: str | None, share: float
) -> None:
    from latent_combo.comparison.ray_cluster import connected

    ray.gpus = found
    with connected(Resources(address=address, gpus=asked), workers) as each:
        assert each.gpus == share and each.cpus == (1 if address else 8 // workers)


def test_what_can_not_be_had_is_a_line(ray: FakeRay, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="--gpus-per-run is 1, but Ray finds 0 GPUs here"):
        run(out, [a_job(out)], gpus=1.0)
    with pytest.raises(UserError, match=r"--ray-address 10.0.0.2:6379: no cluster to use there \(nobody answers\)"):
        run(out, [a_job(out)], address="10.0.0.2:6379")
    assert run(out, [], address="10.0.0.2:6379") == {}  # nothing is started for nothing
    outcomes = run(out, [a_job(out, FINISHES)], workers=1, address="auto", gpus=1.0)
    assert [o.status for o in outcomes.values()] == ["finished"]  # threads need no GPU
    assert "no machine has room for a run now" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda: "has no folder /here", r"machine one \(10.0.0.1\) has no folder /here"),
        (lambda: "", r"machine one \(10.0.0.1\) does not share .* what it writes there is not here"),
        (lambda: exec("import no_such_module"), r"can not import this program \(ModuleNotFoundError: No module"),
    ],
)
def test_a_machine_that_lacks_something_is_named_before_any_run(
    ray: FakeRay, out: Path, answer: Any, said: str
) -> None:
    ray.instead = lambda name, work, given: answer()
    with pytest.raises(UserError, match=said):
        run(out, [a_job(out)])
    assert [placed for placed in ray.placed if "name" in placed] == []


def test_what_a_machine_has_to_have(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with asking(out) as asked:
        assert asked.missing(".n1") == "" and asked.answered(".n1") and not asked.answered(".n2")
        assert "shared" in asked.token and asked.environment.keys() <= os.environ.keys()
        elsewhere = dataclasses.replace(asked, folder=str(out / "other"))
        assert "does not share" in elsewhere.missing() and "No such file" in elsewhere.missing()
        assert "no folder /nowhere" in dataclasses.replace(asked, working_folder="/nowhere").missing()
        assert "another version of this program's code" in dataclasses.replace(asked, code="then").missing()
        newer = {**asked.versions, "torch": "9"}
        assert "other packages: torch 9 here, 2." in dataclasses.replace(asked, versions=newer).missing()
        monkeypatch.setattr(shared_folder.fcntl, "flock", lambda *_: None)
        assert "does not see locks" in asked.missing()
    assert not list(out.glob(".shared-*"))


def test_a_run_waits_for_its_folder_to_be_left_by_a_worker_that_is_gone(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, looks = a_job(out, FINISHES), []
    job.folder.mkdir(parents=True)
    file = open(job.folder / LOG, "ab")  # noqa: SIM115
    assert lock(file)

    def look() -> int:
        looks.append(1)
        if len(looks) == 3:
            file.close()
        return 0

    with asking(out) as asked:
        assert ray_worker.work(job, 1, asked, look, "one").status == "finished" and len(looks) >= 3
        other = a_job(out, FINISHES, seed=1)
        other.folder.mkdir(parents=True)
        with open(other.folder / LOG, "ab") as held:
            assert lock(held)
            monkeypatch.setattr(ray_worker, "FREED", 0.1)
            assert ray_worker.work(other, 1, asked, lambda: 0, "one").status == "busy"
        lacking = dataclasses.replace(asked, code="then")
        assert ray_worker.work(job, 1, lacking, lambda: 0, "one").error.startswith("machine one has another version")


def test_a_board_knows_who_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    board = ray_worker.Board()
    assert [board.look(number) for number in (0, 1)] == [0, 0]
    now[0] += ray_worker.SILENT - 1
    board.look(1)
    now[0] += 2
    assert board.ask(1) == {1} and board.look(0) == 1
    answers = iter([2])
    look = ray_worker.looking(lambda: next(answers))
    assert look() == 2
    now[0] += 10
    assert look() == 2  # nobody answers any more


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_a_tethered_program_ends_with_its_parent(tmp_path: Path) -> None:
    begun, saved = tmp_path / "begun", tmp_path / "saved"
    program = (
        f"import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(saved)!r}).touch(), sys.exit()))\n"
        f"pathlib.Path({str(begun)!r}).touch(); time.sleep(60)"
    )
    parent = (
        f"import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-P', {tether.__file__!r}, str(os.getpid()), sys.executable, '-c', "
        f"{program!r}], start_new_session=True)\n"
        f"time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    end = time.monotonic() + 30
    while not begun.exists() and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.wait()
    while not saved.exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert saved.exists()
    late = subprocess.run([sys.executable, "-P", tether.__file__, "1", sys.executable, "-c", "print('ran')"])
    assert late.returncode == 130  # its parent is another one by now


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ray-address", "auto"], "--ray-address is of --backend ray, and this comparison runs plain processes"),
        (["--gpus-per-run", "0.5"], "--gpus-per-run is of --backend ray"),
        (["--backend", "ray", "--cpus-per-run", "0"], "--cpus-per-run is 0; at least 1 is needed"),
        (["--backend", "ray", "--gpus-per-run", "1.5"], "--gpus-per-run is 1.5; it is a share of one GPU"),
        (["--backend", "ray", "--gpus-per-run", "nan"], "--gpus-per-run is nan"),
        (["--backend", "ray", "--workers", "0"], "--workers is 0"),
    ],
)
def test_wrong_options_are_a_line(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        options.read([*GRID, *words])


def test_without_ray_a_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ray_scheduler", "ray_cluster"):
        monkeypatch.delitem(sys.modules, f"latent_combo.comparison.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    given = options.read([*GRID, "--backend", "ray", "--gpus-per-run", "2"])
    assert given.resources == Resources(gpus=2.0) and given.workers is None
    with pytest.raises(UserError, match=r'--backend ray needs Ray: pip install "latent-combo\[ray\]"'):
        scheduler(given)
    assert scheduler(options.read(GRID)).workers == 1  # type: ignore[attr-defined]


def test_a_worker_of_ray_takes_no_torch() -> None:
    """It has one for each run, beside the run's own process, at 150 MB and seconds of a core."""
    heavy = "{'torch', 'matplotlib', 'mujoco', 'tensorboard'}"
    script = f"import sys, latent_combo.comparison.ray_worker; sys.exit(str(set(sys.modules) & {heavy} or ''))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == ""
