"""A seed decides what comes out: whatever the number of processes, the locale and the seed of Python's hashes."""

import hashlib
import os
import shutil
import subprocess
import sys
import warnings
from json import loads
from pathlib import Path
from typing import Any

import pytest
from seeded_runs import CHEETAH, trained

from data import collect, render
from data.formats.d4rl import write_d4rl
from data.simulate.rollout import PolicySpec, play

TESTS = Path(__file__).parent
COMMA = "de_DE.ISO-8859-1"
"""A locale whose decimal mark is a comma."""


def other_locale(folder: Path) -> dict[str, str]:
    """The environment of a locale with a decimal comma, made in a folder; of C.UTF-8 where none can be made."""
    words = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(folder / COMMA)]
    if shutil.which("localedef") and subprocess.run(words, capture_output=True, check=False).returncode == 0:
        return {"LC_ALL": COMMA, "LOCPATH": str(folder)}
    warnings.warn(f"{COMMA} can't be made here, and no run is made with a decimal comma", stacklevel=2)
    return {"LC_ALL": "C.UTF-8"}


def elsewhere(dataset: Path, out: Path, seed: int, processes: int, own: dict[str, str]) -> dict[str, Any]:
    """`trained` in a process of another environment."""
    hashes = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    search = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": hashes, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    words = [sys.executable, str(TESTS / "seeded_runs.py"), str(dataset), str(out), str(seed), str(processes)]
    done = subprocess.run(words, env={**os.environ, **search, **own}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = loads(done.stdout.splitlines()[-1])
    return found


def test_a_seed_decides_a_run_whatever_the_processes_the_locale_and_the_seed_of_hashes(tmp_path: Path) -> None:
    dataset, played = tmp_path / "cheetah.hdf5", list(play(CHEETAH, PolicySpec(), range(12)))
    write_d4rl(dataset, played, CHEETAH, {"task": CHEETAH.name})
    own = other_locale(tmp_path)
    again = elsewhere(dataset, tmp_path / "again", 0, 2, own)
    assert again.pop("decimal_mark") == ("," if "LOCPATH" in own else ".")
    one, another = (trained(dataset, tmp_path / str(seed), seed, 1) for seed in (0, 1))
    assert [name for name, value in one["digests"].items() if again["digests"].get(name) != value] == []
    assert again == one
    for part in ("checkpoints/world_model", "checkpoints/agent", "metrics", "events"):
        assert another["digests"][part] != one["digests"][part], part
    assert another["returns"] != one["returns"]


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def run(monkeypatch: pytest.MonkeyPatch, module: Any, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
    module.main()


def test_what_is_collected_and_drawn_is_the_same_whatever_the_processes_and_another_seeds_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, processes, seed in (("one", 1, 0), ("two", 2, 0), ("other", 1, 1)):
        words = ("dmc:cartpole-swingup,horizon=9", "random", tmp_path / name)
        run(monkeypatch, collect, *words, "--episodes", 3, "--processes", processes, "--seed", seed)
    for processes in (1, 2):
        out = tmp_path / f"drawn-{processes}"
        run(monkeypatch, render, tmp_path / "one", out, "--size", 32, "--processes", processes)
    one, other = digests(tmp_path / "one"), digests(tmp_path / "other")
    assert len(one) == 4 and digests(tmp_path / "two") == one
    assert one.keys() == other.keys() and not set(one.values()) & set(other.values())
    drawn = digests(tmp_path / "drawn-1")
    assert len(drawn) == 4 and digests(tmp_path / "drawn-2") == drawn
