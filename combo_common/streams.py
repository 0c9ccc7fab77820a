"""What is said to a terminal that is closed, or to a program that has ended, is no error where nobody can read it."""

import errno
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

NAMES = ("stdout", "stderr")


class _Unread(io.FileIO):
    """A descriptor to which writing goes on after the other end is gone.

    A closed terminal says EIO; a pipe that nobody reads (`| tee log`, which Ctrl-C ends as well) says EPIPE, which
    counts as an error until this process is to end: whoever closed a pager wants no more of it.
    """

    def __init__(self, descriptor: int, stopping: Callable[[], bool]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._stopping = stopping

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno == errno.EIO or (error.errno == errno.EPIPE and self._stopping()):
                return memoryview(content).nbytes
            raise


@contextmanager
def unread_is_no_error(stopping: Callable[[], bool]) -> Iterator[None]:
    """Within the body, print and its like go on after a terminal was closed, or while stopping, a pipe.

    It is of Python's own streams alone; what a notebook or a test has put in their place stays.
    """
    before = {name: cast("io.TextIOWrapper", getattr(sys, name)) for name in NAMES}
    own = {name: stream for name, stream in before.items() if stream is not None and stream is _python(name)}
    instead = {}
    for name, stream in own.items():
        with suppress(OSError, ValueError):  # it is closed, or there is none
            stream.flush()
            raw = io.BufferedWriter(_Unread(stream.fileno(), stopping))
            instead[name] = io.TextIOWrapper(
                raw,
                stream.encoding,
                stream.errors,
                line_buffering=stream.line_buffering,
                write_through=name == "stderr",
            )
            setattr(sys, name, instead[name])
    try:
        yield
    finally:
        for name, stream in instead.items():
            with suppress(OSError, ValueError):
                stream.flush()
            if getattr(sys, name) is stream:
                setattr(sys, name, before[name])


def _python(name: str) -> object:
    return getattr(sys, f"__{name}__")
