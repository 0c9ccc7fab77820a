"""`latent-combo`: one command whose sub-commands are imported only when they are run."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import latent_combo.own_packages  # noqa: F401
from combo_common.cli import STOPPED, run_cli
from combo_common.commands import SCRIPT
from combo_common.errors import UserError
from combo_common.interrupt import end_at_once
from combo_common.suggest import did_you_mean, nearest_by_last_word
from combo_common.versions import named
from latent_combo.comparison import options as compare
from latent_combo.config import options


@dataclass(frozen=True)
class Command:
    """A sub-command."""

    module: str
    """It has a `main`, which reads the command line."""
    line: str
    """What it does."""
    check: Callable[[list[str]], object] | None = None
    """It answers --help, and raises UserError for what is wrong, before the module is imported; None where the module
    is light."""


COMMANDS = {
    "train": Command("latent_combo.train", "train a policy offline on a dataset, and score it", options.train),
    "select": Command("latent_combo.select", "train candidates as one stack, and choose offline", options.select),
    "evaluate": Command("latent_combo.evaluate", "score a trained policy again", options.evaluate),
    "visualise": Command("latent_combo.visualise", "draw what a run's model and policy do", options.visualise),
    "report": Command("latent_combo.report", "put a run on one HTML page", options.report),
    "compare": Command("latent_combo.compare", "train algorithms on datasets with several seeds", compare.check),
    "export": Command("latent_combo.export", "write a run's world model as one file", options.export),
    "doctor": Command("envs.doctor", "check that this machine can draw"),
    "data collect": Command("data.collect", "collect a dataset with a learner or a script"),
    "data render": Command("data.render", "draw the images of a recording"),
    "data convert": Command("data.convert", "write a dataset in another format"),
    "data inspect": Command("data.inspect", "say what is in a dataset, and what is odd about it"),
    "data relabel": Command("data.relabel", "compute the rewards of a recording for another task"),
}
GROUP = "data"
"""The first word of the commands that have two."""


def main() -> NoReturn:
    """Run the sub-command that `sys.argv` names."""
    end_at_once(STOPPED)  # outside of what hears signals itself: before it and, for a late one, after it
    run_cli(lambda: run(sys.argv[1:]))


def run(arguments: list[str]) -> None:
    """Run a sub-command, or print help or the version.

    Raises UserError for an unknown sub-command, and what the sub-command raises.
    """
    words = arguments[:2] if arguments[:1] == [GROUP] else arguments[:1]
    name, rest = " ".join(words), arguments[len(words) :]
    if name in COMMANDS:
        _run(name, rest)
    elif not words or words[-1] in ("-h", "--help", "help", GROUP):
        print(overview(GROUP if words[:1] == [GROUP] else ""))
    elif words[-1] == "--version":
        print(named())
    else:
        meant = nearest_by_last_word(name, COMMANDS, " ")
        raise UserError(f"there is no command {name!r}{did_you_mean(meant)} ({SCRIPT} --help lists all commands)")


def overview(first: str = "") -> str:
    """All sub-commands with a line each, or those whose first word is given."""
    shown = {name: command.line for name, command in COMMANDS.items() if name.startswith(first)}
    width = max(map(len, shown))
    return "\n".join(
        [
            f"usage: {' '.join(filter(None, (SCRIPT, first)))} COMMAND [OPTIONS]",
            "",
            "Offline reinforcement learning from images or states: a world model, then COMBO in its latents.",
            "",
            *(f"  {name:{width}}  {line}" for name, line in shown.items()),
            "",
            f"{SCRIPT} COMMAND --help explains a command; {SCRIPT} --version prints the version.",
        ]
    )


def _run(name: str, arguments: list[str]) -> None:
    command = COMMANDS[name]
    if "--version" in arguments:
        print(named())
        return
    sys.argv[1:] = arguments
    if not {"-h", "--help"} & set(arguments):
        print(f"{named()}: {name}", file=sys.stderr, flush=True)
    if command.check is not None:
        command.check(arguments)
    importlib.import_module(command.module).main()


if __name__ == "__main__":
    main()
