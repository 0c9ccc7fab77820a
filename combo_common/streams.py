"""What is said to a terminal that is closed, or to a program that has ended, is no error where nobody can read it."""

import errno
import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

NAMES = ("stdout", "stderr")


class _Unread(io.FileIO):
    """A descriptor to which writing goes on after the other end is gone.

    A terminal that is closed says EIO; a pipe that nobody reads (`| tee log`, which Ctrl-C ends as well) says EPIPE,
    which counts as an error until this process is to end: whoever closed a pager wants no more of it.
    """

    def __init__(self, descriptor: int, stopping: Callable[[], bool]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._stopping, self._was_terminal = stopping, os.isatty(descriptor)

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            closed = error.errno == errno.EIO and self._was_terminal
            if closed or (error.errno == errno.EPIPE and self._stopping()):
                return memoryview(content).nbytes
            raise


class UnreadIsNoError:
    """From `begin` to `end`, print and its like go on after a terminal was closed, or while stopping, a pipe.

    It is of Python's own streams alone; what a notebook or a test has put in their place stays.
    """

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        self._replaced: list[tuple[str, io.TextIOWrapper, io.TextIOWrapper]] = []

    def begin(self) -> None:
        """Put streams of the same encoding and buffering in the place of Python's."""
        for name in NAMES:
            stream = getattr(sys, name)
            if stream is None or stream is not getattr(sys, f"__{name}__"):
                continue
            with suppress(OSError, ValueError):  # it is closed
                stream.flush()
                raw: Any = _Unread(stream.fileno(), self._stopping)
                through = stream.write_through  # as of `python -u`
                instead = io.TextIOWrapper(
                    raw if through else io.BufferedWriter(raw),
                    stream.encoding,
                    stream.errors,
                    line_buffering=stream.line_buffering,
                    write_through=through,
                )
                self._replaced.append((name, stream, instead))
                setattr(sys, name, instead)

    def end(self, failed: bool) -> None:
        """Put them back. Raises what keeps the rest from being written, unless something has `failed` already."""
        replaced, self._replaced = self._replaced, []
        for name, stream, instead in replaced:
            if getattr(sys, name) is instead:
                setattr(sys, name, stream)
        for _, _, instead in replaced:
            try:
                instead.flush()
            except (OSError, ValueError):
                if not failed:
                    raise
