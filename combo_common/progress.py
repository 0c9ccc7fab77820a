"""Progress on the standard error stream: a bar on a terminal, a line now and then in a file."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from tqdm import tqdm

SECONDS = 30.0
"""Between two lines."""
LINE = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class Lines(tqdm):  # type: ignore[type-arg]  # tqdm is generic for type checkers only
    """A bar whose every display is a line of its own, for logs."""

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """A function that writes a status as a line."""

        def write(status: str) -> None:
            if status.strip():
                file.write(f"{status.rstrip()}\n")
                file.flush()

        return write


def progress_bar(items: Iterable[Any] | None = None, *, desc: str, **options: Any) -> "tqdm[Any]":
    """Show how far a loop is, as tqdm's options say; `desc` names the work.

    On a terminal it is a bar; elsewhere a line at the beginning, one every `SECONDS` and one at the end.
    """
    if sys.stderr.isatty():
        return tqdm(items, desc=desc, **options)
    options = {name: value for name, value in options.items() if name != "dynamic_ncols"}
    return Lines(items, desc=desc, mininterval=SECONDS, maxinterval=2 * SECONDS, bar_format=LINE, **options)
