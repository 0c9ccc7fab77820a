"""The frame of every command."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from combo_common.errors import UserError

BROKEN_PIPE = 141
"""Exit code of a command whose output is read no more: 128 and the number of the signal, as of any other program."""


def run_cli(main: Callable[[], None]) -> NoReturn:
    """Run a command: a UserError, or a closed folder, becomes one line and exit code 2; Ctrl-C is exit code 130.

    A closed pipe is 141.
    """
    try:
        main()
        sys.stdout.flush()  # here, where a closed pager can be told
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except PermissionError as error:
        print(
            f"error: can not use {error.filename}: {error.strerror}; mend its permissions, or copy it", file=sys.stderr
        )
        sys.exit(2)
    except BrokenPipeError:  # whoever read the output has closed it; what is left of it goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
