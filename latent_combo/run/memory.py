"""Keeping the memory that tensors have left, instead of giving it back after each and asking for it anew.

glibc maps large blocks one by one, and the kernel zeroes every page of them: some thousand pages in each update of the
agents, up to a fifth of its time (docs/experiments.md). Kept, they are used again at once.
"""

import ctypes
import platform

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
