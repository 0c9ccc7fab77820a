"""Keeping the memory that tensors have left, instead of giving it back after each and asking for it anew.

glibc maps large blocks one by one, and the kernel zeroes every page of them: some thousand pages in each update of the
agents, up to a fifth of its time (docs/notes/states.md). Kept, they are used again at once.
"""

import contextlib
import ctypes
import errno
import os
import platform
from pathlib import Path

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""glibc's numbers for `mallopt`."""
TRIM_BYTES = 1 << 30
"""Bytes that may lie free at the heap's end."""
MMAP_BYTES = (1 << 30, 1 << 25)
"""Bytes up to which blocks come from the heap; the second is the most that older versions take."""
GROWTH_BYTES = 1 << 26
"""Bytes by which the heap grows."""


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed; returns whether it is there and agreed."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mapped = any(mallopt(MMAP_THRESHOLD, bytes_) for bytes_ in MMAP_BYTES)  # the first that is taken
    return all([mapped, mallopt(TRIM_THRESHOLD, TRIM_BYTES), mallopt(TOP_PAD, GROWTH_BYTES)])


MEMORY = "out of memory"
ALLOCATORS = ("DefaultCPUAllocator", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""Words of a RuntimeError of torch's that is one of memory."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is that of too little memory: Python's, NumPy's, the system's, or torch's on either device."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in ALLOCATORS)


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that could be had now: of the machine, or of the narrowest control group that this process is in.

    What files have in memory counts as free. Where nothing tells, half of what the machine has. `root` is for tests.
    """
    free = _told(root, "MemAvailable:") + [limit - used for limit, used in _limits(root)]
    return max(0, min(free)) if free else _physical() // 2


def whole_memory(root: Path = Path("/")) -> int:
    """Bytes that could be had if nothing else took any: with more, a process is ended. `root` is for tests."""
    machine = _told(root, "MemTotal:")
    swap = sum(_told(root, "SwapTotal:"))
    return min([*(memory + swap for memory in machine), *(limit + swap for limit, _ in _limits(root))] or [_physical()])


def _physical() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _told(root: Path, name: str) -> list[int]:
    """What the kernel says of the machine's memory by a name, in bytes; empty where it does not."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = (root / "proc/meminfo").read_text().splitlines()
        return [1024 * int(next(line for line in lines if line.startswith(name)).split()[1])]
    return []


def _limits(root: Path) -> list[tuple[int, int]]:
    """Limits of the control groups that this process is in, and what is used of each, in bytes."""
    limits: list[tuple[int, int]] = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2
                limits += _left(root / "sys/fs/cgroup", path, "memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                limits += _left(root / "sys/fs/cgroup/memory", path, *names)
    return limits


def _left(base: Path, path: str, limit: str, usage: str, cached: str) -> list[tuple[int, int]]:
    """The limits, and what is used, of a control group and of those that it is in."""
    left = []
    parts = [part for part in path.split("/") if part]
    for depth in range(len(parts) + 1):
        group = base.joinpath(*parts[:depth])
        with contextlib.suppress(OSError, ValueError):  # no limit is "max"
            held = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            used = int((group / usage).read_text()) - int(held.get(cached, 0))
            left.append((int((group / limit).read_text()), used))
    return left
