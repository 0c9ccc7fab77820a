"""Command lines of this program, to be copied into a shell."""

import shlex
import sys
from pathlib import Path

SCRIPT = "latent-combo"
"""The console script, which has all commands as sub-commands."""

MOST_SHOWN = 200
"""Characters of a command line that others are shown."""


def called_as_script() -> bool:
    """Whether this process was started as `latent-combo ...`, and not as `python -m ...` or from Python."""
    return Path(sys.argv[0]).stem == SCRIPT


def program(module: str) -> str:
    """How the command in a module is called, in the way in which this process was: `train` is `latent_combo.train`.

    It is `latent-combo train` or `python -m latent_combo.train`; of `data.collect`, `latent-combo data collect` or
    `python -m data.collect`.
    """
    package, _, name = (module if "." in module else f"latent_combo.{module}").rpartition(".")
    if not called_as_script():
        return f"python -m {package}.{name}"
    return f"{SCRIPT} data {name}" if package == "data" else f"{SCRIPT} {name}"


def same_command(module: str) -> str:
    """The command line of this process, whose command is that of a module."""
    return command(module, *sys.argv[1:])


def command(module: str, *arguments: object) -> str:
    """A whole command line: `program(module)` and arguments, quoted where a shell needs it."""
    return f"{program(module)} {shlex.join(map(str, arguments))}"


def this_command() -> str:
    """The command line of this process, as far as Python knows it."""
    arguments = sys.argv[1:] if sys.argv and sys.argv[0] else []
    return shlex.join([Path(sys.argv[0] if sys.argv else "python").name, *arguments])[:MOST_SHOWN]
