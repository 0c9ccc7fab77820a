"""A process that is killed at any one of its calls to the operating system, without the process: for tests of files."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

CALLS = ("mkdir", "open", "write", "fsync", "rename", "unlink", "rmdir")


class Killed(BaseException):
    """What no part of a program catches, nor outlives: from then on no call reaches the disk."""


@contextmanager
def killed_at(call: int, said: list[str] | None = None) -> Iterator[Callable[[], int]]:
    """Within the body, call number `call` to the operating system kills, the first being 0; -1 lets all through.

    A write that is killed has written half. Gives what counts the calls; `said` is told each call and its first
    argument.
    """
    count = 0

    def killing(name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def part(*given: Any, **named: Any) -> Any:
            nonlocal count
            if name == "open" and not (given[1] & os.O_CREAT):
                return whole(*given, **named)  # it changes nothing
            if call >= 0 and count >= call:
                if count == call and name == "write":
                    whole(given[0], given[1][: len(given[1]) // 2])
                count = max(count, call + 1)
                raise Killed
            count += 1
            if said is not None:
                said.append(
                    f"{name} {os.readlink(f'/proc/self/fd/{given[0]}') if isinstance(given[0], int) else given[0]}"
                )
            return whole(*given, **named)

        return part

    with mock.patch.multiple(os, **{name: killing(name, getattr(os, name)) for name in CALLS}):
        yield lambda: count
