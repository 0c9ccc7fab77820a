"""The frame of every command, and the parser of those that have a few options."""

import argparse
import atexit
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from combo_common.commands import program
from combo_common.errors import StoppedError, UserError
from combo_common.files import FULL
from combo_common.interrupt import Interrupt, end_at_once, ignore_but_ctrl_c
from combo_common.memory import MEMORY, out_of_memory
from combo_common.paths import require_text
from combo_common.suggest import did_you_mean, nearest
from combo_common.versions import named

BROKEN_PIPE = 141
"""Exit code of a command whose output is read no more: 128 and the number of the signal, as of any other program."""
STOPPED = 130
"""Exit code of a command that a signal has stopped; where there is something to go on with, a line says how."""
REFUSED = 2
"""Exit code of a command that says in a line what is wrong."""


def run_cli(main: Callable[[], None]) -> NoReturn:
    """Run a command and leave, as `in_a_line` does for what goes wrong; all of SIGNALS do as Ctrl-C does."""

    def stoppable() -> None:
        with Interrupt(at_once=True):
            main()

    # The interpreter sets handlers back to what ends a process by the signal, and then takes up to a second or two
    atexit.register(ignore_but_ctrl_c)
    in_a_line(stoppable)
    sys.exit(0)


def in_a_line(work: Callable[[], object]) -> None:
    """Do a part of a command: what is wrong becomes one line and an exit code.

    It is 2 for a UserError, a closed folder, a full disk and too little memory, 130 for Ctrl-C and 141 for a closed
    pipe.
    """
    try:
        work()
        sys.stdout.flush()  # here, where a closed pager can be told
    except StoppedError as stopped:
        _leave(stopped, str(stopped), STOPPED)
    except UserError as error:
        _leave(error, f"error: {error}", REFUSED)
    except PermissionError as error:
        line = f"error: can not use {error.filename}: {error.strerror}; mend its permissions, or copy it"
        _leave(error, line, REFUSED)
    except BrokenPipeError as error:  # whoever read the output has closed it; what is left of it goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(error, "", BROKEN_PIPE)
    except OSError as error:
        if error.errno not in FULL:
            raise
        place = error.filename or "a file, perhaps that of this output"
        _leave(error, f"error: cannot write to {place}: {error.strerror}; free some space", REFUSED)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        _leave(error, f"error: {MEMORY}: end other programs, or take less data at a time", REFUSED)
    except KeyboardInterrupt as error:
        _leave(error, "interrupted", STOPPED)


def _leave(error: BaseException, line: str, code: int) -> NoReturn:
    """Say a line on the standard error stream, and leave with a code."""
    for stream, said in ((sys.stderr, f"{line}\n" if line else ""), (sys.stdout, "")):
        try:
            stream.write(said)
            stream.flush()
        except OSError:  # it is on a disk that is full: Python would try again at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    end_at_once(code, "")  # all is said: another signal changes nothing but when this ends
    passed: BaseException | None = error
    while passed is not None:
        traceback.clear_frames(passed.__traceback__)  # which ends what was being worked on, in processes, too
        passed = passed.__cause__ or passed.__context__
    sys.exit(code)


def with_dashes(arguments: Sequence[str]) -> list[str]:
    """A command line whose options are spelt with dashes: --skip_corrupt is --skip-corrupt; values stay as they are."""
    return [_respelt(argument, "_", "-") for argument in arguments]


def with_underscores(arguments: Sequence[str]) -> list[str]:
    """A command line whose options are spelt as in files of settings: --data-dir is --data_dir."""
    return [_respelt(argument, "-", "_") for argument in arguments]


def _respelt(argument: str, old: str, new: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace(old, new) + equals + value


class Parser(argparse.ArgumentParser):
    """The options of a command: spelt with dashes or underscores, with --version, and with errors of one line."""

    def __init__(self, module: str, description: str | None) -> None:
        """Make the parser of the command in a module, whose description may be the module's docstring."""
        called = program(module)
        super().__init__(
            prog=called,
            description=(description or "").replace(f"python -m {module}", called),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--version", action=ShowVersion)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, whichever way options are spelt. Raises UserError for a word that is no text."""
        given = list(sys.argv[1:] if args is None else args)
        require_text(given)
        return super().parse_known_args(with_dashes(given), namespace)

    def error(self, message: str) -> NoReturn:
        """Raise UserError: what is wrong, what was perhaps meant, and where all options are listed."""
        raise UserError(f"{message}{self._meant(message)} ({self.prog} --help lists all options)")

    def _meant(self, message: str) -> str:
        if unknown := re.match(r"unrecognized arguments: (--[\w-]+)", message):
            return did_you_mean(nearest(unknown[1], self._option_string_actions))
        if wrong := re.search(r"invalid choice: '([^']*)'", message):
            choices = {str(choice) for action in self._actions for choice in action.choices or ()}
            return did_you_mean(nearest(wrong[1], choices))
        return ""


class ShowVersion(argparse.Action):
    """Print the program's version, with the commit of a checkout, and leave; asked for only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="print this program's version and leave")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Print and leave."""
        print(named())
        parser.exit()
