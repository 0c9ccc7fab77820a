"""Lines that tell how a run is read, or gone on with, name the module of its task: they are refused without."""

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_layers import SOURCES

from combo_common.commands import command
from combo_common.errors import UserError
from envs.registry import get_task
from latent_combo.comparison.job import Job
from latent_combo.config.pretrained import read_pretrained
from latent_combo.diagnostics.page import write_report
from latent_combo.evaluation.result import Result
from latent_combo.pipeline.load_run import Run
from latent_combo.pipeline.stopping import Ending
from latent_combo.runtime.new_run import require_new_run
from latent_combo.runtime.run_command import run_command

OWN = "my_module:TASK"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that a user has begun with a task of theirs, and whose result is damaged."""
    (folder := tmp_path / "a run").mkdir()
    (folder / "config.yaml").write_text(f"task: {OWN}\nobs: state\nalgorithm: combo\n")
    return folder


@pytest.mark.parametrize(
    ("task", "named"),
    [
        ("hopper", False), ("dmc:cartpole-swingup", False), ("gymnasium:Pendulum-v1", False), (OWN, True),
        ("gymnasium:my_module:Env-v0", True), ("[1, 2]", False), ("null", False), ('"a:\\nb"', False),
    ],
)  # fmt: skip
def test_only_a_task_that_names_a_module_is_named(run: Path, task: str, named: bool) -> None:
    (run / "config.yaml").write_text(f"task: {task}\n")
    more = ("--task", task) if named else ()
    assert run_command("train", run) == command("train", "--resume", run, *more)
    assert run_command("evaluate", run) == command("evaluate", run, *more)


def test_the_users_own_word_goes_before_the_runs_and_settings_that_can_not_be_read_name_none(run: Path) -> None:
    assert run_command("evaluate", run, "moved:TASK") == command("evaluate", run, "--task", "moved:TASK")
    assert run_command("evaluate", run, "hopper") == command("evaluate", run)
    (run / "config.yaml").write_text("task: [")
    assert run_command("train", run) == command("train", "--resume", run)
    (run / "config.yaml").unlink()
    assert run_command("train", run) == command("train", "--resume", run)


def test_every_line_of_a_run_of_ones_own_task_names_its_module(run: Path) -> None:
    going_on = command("train", "--resume", run, "--task", OWN)
    with pytest.raises(UserError) as begun_again:
        require_new_run(run)
    with pytest.raises(UserError) as unfitted:
        read_pretrained(run)
    config: Any = SimpleNamespace(out=str(run), task=OWN)
    untrained: Any = Run(config, get_task("hopper"), None, None, 0, 0)  # type: ignore[arg-type]
    with pytest.raises(UserError) as without_agent:
        untrained.policy(0)
    page = write_report(run)
    (run / "result.json").write_text("{")
    with pytest.raises(UserError) as damaged:
        Result.read(run)
    told = [str(raised.value) for raised in (begun_again, unfitted, without_agent, damaged)]
    for line in (*told, Ending(run, resumes=True)._stopped()):
        assert line.endswith(f": {going_on}"), line
    shown = page.replace("&#39;", "'")
    assert going_on in shown and command("visualise", run, "--task", OWN) in shown
    job = Job("x", "x", "combo", 0, OWN, "", "state", run.name, str(run.parent), ())
    assert job.command == command("train", "--resume", run.name, "--task", OWN)


def test_such_lines_are_made_in_one_place() -> None:
    elsewhere = {
        name
        for name, tree in SOURCES.items()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "command"
        if any(
            isinstance(word, ast.Constant) and word.value in ("--resume", "evaluate", "visualise") for word in call.args
        )
    }
    assert not elsewhere
