"""A program that looks at HDF5 files in a process of its own, which libhdf5 may crash: see `hdf5_process`.

It reads a line for each file, `[path, seconds]` as JSON, walks through all that the file holds, and answers with a line
of JSON: what is wrong, or nothing. What libhdf5 itself complains of is left to the reader that comes after. It imports
nothing of the project, ends where its standard input does, and where nothing was asked for a minute.
"""

import json
import resource
import signal
import sys
from contextlib import suppress
from math import prod
from typing import Any

import h5py

IDLE = 60
"""Seconds after which nobody seems to need it."""
MEMORY = 1 << 30
"""Bytes of address space beyond those that it begins with."""
WHOLE = 1 << 24
"""Bytes up to which a dataset is read; of a larger one its ends are."""
MOST_CHUNKS = 10_000
"""Of a dataset, whose places are looked up."""
MISUSE = (OSError, LookupError, RuntimeError, ValueError, TypeError, OverflowError, AttributeError, SystemError)
"""What h5py raises for files that are damaged, which the reader will say."""


def look(path: str) -> None:
    """Do to a file what readers do, and more. Raises MemoryError."""
    with _misused(), h5py.File(path, "r") as file:
        waiting: list[Any] = [file["/"]]
        seen = set[int]()
        while waiting:
            with _misused():
                found = waiting.pop()
                place = h5py.h5o.get_info(found.id).addr
                if place in seen:
                    continue
                seen.add(place)
                with _misused():
                    for name in found.attrs:
                        with _misused():
                            _ = found.attrs[name]
                if isinstance(found, h5py.Dataset):
                    _look_at(found)
                elif isinstance(found, h5py.Group):
                    for name in found:
                        with _misused():
                            if isinstance(found.get(name, getlink=True), h5py.HardLink):
                                waiting.append(found[name])


def _look_at(dataset: h5py.Dataset) -> None:
    """Everything that `hdf5` asks of a dataset, and its numbers; values of variable length are read in another way."""
    _ = dataset.shape, dataset.dtype, dataset.is_virtual, dataset.external, dataset.id.get_storage_size()
    plist = dataset.id.get_create_plist()
    _ = [plist.get_filter(number) for number in range(plist.get_nfilters())]
    if dataset.chunks:
        count = dataset.id.get_num_chunks()
        for number in range(min(MOST_CHUNKS, count)):
            _ = dataset.id.get_chunk_info(number)
        told = prod(-(-rows // chunk) for rows, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        if told > min(MOST_CHUNKS, count):
            return  # it was not written to its end, and is not read
    else:
        _ = dataset.id.get_offset()
    size = int(dataset.size or 0) * dataset.dtype.itemsize
    if dataset.dtype.hasobject or dataset.is_virtual or dataset.external or not size:
        return
    if size <= WHOLE:
        _ = dataset[()]
    elif size <= WHOLE * len(dataset):
        _ = dataset[0], dataset[-1]


class _misused:  # noqa: N801  # used as a word
    """Errors of the body are dropped, but for a lack of memory."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, MISUSE) and "alloc" in str(error):
            raise MemoryError(str(error)) from error
        return isinstance(error, MISUSE)


def main() -> None:
    """Answer until nothing is asked any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(FileNotFoundError), open("/proc/self/statm") as file:  # Linux alone says how much it takes already
        begins_with = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (begins_with + MEMORY, begins_with + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = sys.stdout
    print("ready", file=answers, flush=True)
    while True:
        signal.alarm(IDLE)
        line = sys.stdin.readline()
        signal.alarm(0)
        if not line:
            return
        path, seconds = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)  # of which the process ends
        try:
            look(path)
            said = ""
        except MemoryError:
            said = "it would take more memory than any such file does"
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    main()
