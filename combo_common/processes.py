"""Whether a process that a file names is still there."""

import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

ENDED = ("Z", "X")
"""States of processes that have ended, and whose parents have not asked yet."""


@cache
def machine() -> str:
    """What processes are numbered by: this start of this machine, or of this container."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def started(process: int) -> str:
    """When a process of this machine began, in its own units; empty where that is not told, or there is none."""
    return _stat(process)[1]


def is_running(process: int, began: str = "") -> bool:
    """Whether there is a process of a number on this machine, which began then, if that is known."""
    if process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    except OverflowError:
        return False
    state, now = _stat(process)
    return state not in ENDED and (not began or not now or now == began)


def _stat(process: int) -> tuple[str, str]:
    """State and time of start, by Linux; empty elsewhere."""
    try:
        said = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return said[0], said[19]
    except (OSError, IndexError):
        return "", ""
