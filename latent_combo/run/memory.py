"""Keeping the memory that tensors have left, instead of giving it back after each and asking for it anew.

glibc maps large blocks one by one, and the kernel zeroes every page of them: some thousand pages in each update of the
agents, up to a fifth of its time (docs/experiments.md). Kept, they are used again at once.
"""

import contextlib
import ctypes
import os
import platform
from pathlib import Path

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""glibc's numbers for `mallopt`."""
KEPT = 1 << 30
"""Bytes that may lie free at the heap's end."""
LARGEST = (1 << 30, 1 << 25)
"""Bytes up to which blocks come from the heap; the second is the most that older versions take."""
STEP = 1 << 26
"""Bytes by which the heap grows."""


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed; returns whether it is there and agreed."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mapped = any(mallopt(MMAP_THRESHOLD, bytes_) for bytes_ in LARGEST)  # the first that is taken
    return all([mapped, mallopt(TRIM_THRESHOLD, KEPT), mallopt(TOP_PAD, STEP)])


def free_memory() -> int:
    """Bytes that could be used now without pushing anything out: of the machine, or of the limit set for this program.

    Where neither is told, half of what the machine has.
    """
    free = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        free.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return max(0, min(free)) if free else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
