"""Command lines that read a run or go on with it, as lines tell them to people."""

from pathlib import Path

from combo_common.commands import command
from combo_common.errors import UserError
from envs.registry import names_module
from latent_combo.runtime.run_folder import SETTINGS
from latent_combo.runtime.settings_file import read_settings


def run_command(name: str, run: Path | str, task: str | None = None) -> str:
    """The whole command line of `name` for a run, `train` being that which goes on with it.

    `task` is what the user has named the run's task by; None: what the run's settings have. Where that names a module,
    it is among the arguments: no command imports a module that only a run's settings name.
    """
    return command(name, *run_words(name, run, _own_task(Path(run)) if task is None else task))


def run_words(name: str, run: Path | str, task: str) -> tuple[str, ...]:
    """The arguments of that command for a run whose task is named so."""
    where = ("--resume", str(run)) if name == "train" else (str(run),)
    return (*where, "--task", task) if names_module(task) else where


def _own_task(run: Path) -> str:
    """The task by a run's settings; empty where they don't say, or are to be seen on no line."""
    try:
        task = read_settings(run / SETTINGS).get("task")
    except (UserError, OSError):
        return ""
    return task if isinstance(task, str) and task.isprintable() else ""
