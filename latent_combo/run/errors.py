"""Errors for the person at the keyboard."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """Something that the user can mend; its message is one line that names the thing and the remedy."""


def run_cli(main: Callable[[], None]) -> NoReturn:
    """Run a command: a UserError, or a closed folder, becomes one line and exit code 2; Ctrl-C is exit code 130."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except PermissionError as error:
        print(
            f"error: can not use {error.filename}: {error.strerror}; mend its permissions, or copy it", file=sys.stderr
        )
        sys.exit(2)
    except BrokenPipeError:  # a pager was closed; what is left of the output goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
