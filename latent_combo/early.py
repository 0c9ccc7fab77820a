"""The command line of `python -m latent_combo.NAME`, answered before NAME's imports, which take seconds.

Commands import this before anything else of the project, as the console script checks what it is given (cli.py).
"""

import sys

import latent_combo.own_packages  # noqa: F401
from combo_common.cli import STOPPED, in_a_line
from combo_common.interrupt import end_at_once
from latent_combo.cli import COMMANDS


def answer() -> None:
    """Leave with help, a version or an error if this process is a command whose arguments ask for one."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    checks = (command.check for command in COMMANDS.values() if spec is not None and command.module == spec.name)
    if (check := next(checks, None)) is not None:
        end_at_once(STOPPED)  # until the command hears signals itself, after its imports
        in_a_line(lambda: check(sys.argv[1:]))


answer()
