"""What tells a process from all others, to be part of the names of what it has not finished writing."""

import functools
import hashlib
import os
import re

from combo_common.processes import is_running, machine, started

MARK = re.compile(r"(?P<pid>\d{1,10})(?:-(?P<start>\d{1,20})-(?P<machine>[0-9a-f]{6}))?", re.ASCII)
"""Number of the process, when it started, and the machine, of which each start is another; of before, the number."""


def own_mark() -> str:
    """The mark of this process."""
    return f"{os.getpid()}-{started(os.getpid()) or 0}-{_machine()}"


def is_elsewhere(mark: str) -> bool:
    """Whether a mark is of another machine, about whose processes nothing is known here."""
    found = MARK.fullmatch(mark)
    return found is not None and found["machine"] not in (None, _machine())


def is_alive(mark: str) -> bool:
    """Whether the process of a mark lives on this machine; a later one of the same number is another.

    What is no mark is nobody's, and so taken for alive. Where a system does not say when its processes started, the
    number alone tells.
    """
    found = MARK.fullmatch(mark)
    if found is None:
        return True
    start = found["start"]
    return is_running(int(found["pid"]), "" if start in (None, "0") else start)


@functools.cache
def _machine() -> str:
    return hashlib.sha256(machine().encode()).hexdigest()[:6]
