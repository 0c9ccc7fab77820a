"""What tells a process from all others, to be part of the names of what it has not finished writing."""

import functools
import hashlib
import os
import platform
import re
from pathlib import Path

MARK = re.compile(r"(?P<pid>\d{1,10})(?:-(?P<start>\d{1,20})-(?P<host>[0-9a-f]{6}))?", re.ASCII)
"""Number of the process, when it started, and the machine; of before, the number alone."""


def own_mark() -> str:
    """The mark of this process."""
    return f"{os.getpid()}-{_started(os.getpid()) or 0}-{_host()}"


def is_elsewhere(mark: str) -> bool:
    """Whether a mark is of another machine, about whose processes nothing is known here."""
    found = MARK.fullmatch(mark)
    return found is not None and found["host"] not in (None, _host())


def is_alive(mark: str) -> bool:
    """Whether the process of a mark lives on this machine; a later one of the same number is another.

    What is no mark is nobody's, and so taken for alive. Where a system does not say when its processes started, the
    number alone tells.
    """
    found = MARK.fullmatch(mark)
    if found is None:
        return True
    pid, start = int(found["pid"]), int(found["start"] or 0)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # somebody else's; or a number that is none
        pass
    now = _started(pid)
    return not start or now is None or now == start


def _started(pid: int) -> int | None:
    """When a process started, in the kernel's ticks since the machine did; None where nothing says so."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return int(told.rpartition(")")[2].split()[19])  # the name before may hold anything


@functools.cache
def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]
