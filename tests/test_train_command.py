"""The last line of what writes a dataset: the command that trains on it, which is read as `train` reads it."""

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from data import collect, render
from data.load import load
from envs import registry
from envs.registry import get_task
from latent_combo.config.command_line import check, parse
from latent_combo.config.schema import Config

MODULE = """
from envs.adapters.gymnasium import gymnasium_task
from test_collect_own import Undrawn
from toy_gymnasium import Point

drawn = gymnasium_task("drawn", Point, ("place", "velocity", "camera"), horizon=20, image_size=32)
undrawn = gymnasium_task("undrawn", Undrawn, ("place", "velocity"), horizon=20)
steady = gymnasium_task("steady", Undrawn, ("place", "velocity"), horizon=5, termination="none")
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with spaces in its name, with a module of tasks, in a process that knows none of them."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "told_tasks", raising=False)
    (work := tmp_path / "my work").mkdir()
    (work / "told_tasks.py").write_text(MODULE)
    monkeypatch.chdir(work)
    monkeypatch.setenv("LATENT_COMBO_DATA", str(tmp_path / "data"))


def last_line(capsys: pytest.CaptureFixture[str], module: Any, *arguments: object) -> list[str]:
    """The command that a command tells at its end, as words."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        module.main()
    said, line = capsys.readouterr().out.splitlines()[-1].split(": ", 1)
    assert said == "train on it with"
    return shlex.split(line)


def trained(words: list[str]) -> Config:
    """The config of a run by that command, whose dataset is read here as it would be."""
    assert words[:3] == ["python", "-m", "latent_combo.train"]
    registry._registered.clear()  # another process trains
    check(words[3:])
    config = parse(words[3:])[0]
    data = load(config.dataset, get_task(config.task), config.observation_spec, config.data_folder)
    size = config.rssm.conv.image_size
    assert data.observation.shape[1:] == ((size, size, 3) if config.obs == "pixels" else (4,))
    return config


COLLECTED = ("random", "--episodes", 2, "--processes", 1)


@pytest.mark.parametrize(
    ("task", "out", "obs"),
    [
        ("told_tasks:drawn", "set", "pixels"),
        ("told_tasks:drawn", "set.hdf5", "state"),
        ("told_tasks:undrawn", "set", "state"),
        ("told_tasks:undrawn", "set.hdf5", "state"),
        ("gymnasium:InvertedPendulum-v5,horizon=10", "set", "pixels"),
        ("gymnasium:InvertedPendulum-v5,horizon=10", "set.hdf5", "state"),
    ],
)
def test_the_command_fits_what_was_collected(
    task: str, out: str, obs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "set").mkdir(parents=True)  # another of its name, in the data folder
    words = last_line(capsys, collect, task, COLLECTED[0], out, *COLLECTED[1:])
    config = trained(words)
    assert config.obs == obs and ("--obs" in words) == (obs == "state")
    assert config.task == task and ("--task" in words) == task.startswith("told_tasks")
    assert Path(config.dataset) == Path.cwd() / out


@pytest.mark.parametrize(("look", "size"), [("fast", 32), ("full", 48)])
def test_the_command_fits_what_was_rendered(look: str, size: int, capsys: pytest.CaptureFixture[str]) -> None:
    last_line(capsys, collect, "gymnasium:InvertedPendulum-v5,horizon=10", COLLECTED[0], "set", *COLLECTED[1:])
    words = last_line(capsys, render, "set", "drawn", "--look", look, "--size", size, "--processes", 1)
    config = trained(words)
    assert (config.look, config.rssm.conv.image_size) == (look, size)


@pytest.mark.parametrize("out", ["set", "set.hdf5"])
@pytest.mark.parametrize(("task", "total"), [("steady", "0/4"), ("drawn", "0/?")])
def test_writing_counts_to_a_total_where_no_episode_can_end_early(
    task: str, total: str, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["data.collect", f"told_tasks:{task}", "random", out, "--episodes", "4"])
        collect.main()
    assert f"writing {out}: {total} [" in capsys.readouterr().err
