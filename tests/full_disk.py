"""A full disk: the calls by which a process writes below a folder, counted, and failing where they are to."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from combo_common.process_marks import own_mark

CREATES = os.O_CREAT | os.O_WRONLY
Fails = Callable[[str, str], bool]
"""Whether a call (`open`, `write`, `fsync`, `rename`, `mkdir`) for a file, by its name, is to fail."""


@dataclass
class Disk:
    """What was asked of it."""

    below: Path
    fails: Fails
    error: int
    """What it says then."""
    calls: list[tuple[str, str]] = field(default_factory=list)

    def asked(self, call: str, path: str) -> None:
        """Note a call, and raise what a full disk does if it is to fail."""
        place = Path(os.path.abspath(path))
        if self.below not in place.parents:
            return
        name = str(place.relative_to(self.below)).replace(f".{own_mark()}", "")
        self.calls.append((call, name))
        if self.fails(call, name):
            raise OSError(self.error, os.strerror(self.error))


@contextmanager
def disk(below: Path, fails: Fails = lambda call, name: False, error: int = errno.ENOSPC) -> Iterator[Disk]:
    """While it is on, what this process writes below a folder is counted, and fails where it is to."""
    found = Disk(below, fails, error)
    whole = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace", "rename", "mkdir")}

    def opened(path: Any, flags: int, *given: Any, **named: Any) -> int:
        if flags & CREATES and isinstance(path, (str, os.PathLike)):
            found.asked("open", os.fspath(path))
        return int(whole["open"](path, flags, *given, **named))

    def of_descriptor(call: str) -> Callable[..., Any]:
        def instead(descriptor: int, *given: Any) -> Any:
            found.asked(call, os.readlink(f"/proc/self/fd/{descriptor}"))
            return whole[call](descriptor, *given)

        return instead

    def of_path(call: str, name: str) -> Callable[..., Any]:
        def instead(path: Any, *given: Any, **named: Any) -> Any:
            found.asked(call, os.fspath(given[0] if given and call == "rename" else path))
            return whole[name](path, *given, **named)

        return instead

    patches = {
        "open": opened,
        "write": of_descriptor("write"),
        "fsync": of_descriptor("fsync"),
        "replace": of_path("rename", "replace"),
        "rename": of_path("rename", "rename"),
        "mkdir": of_path("mkdir", "mkdir"),
    }
    with ExitStack() as patched:
        for name, instead in patches.items():
            patched.enter_context(mock.patch.object(os, name, instead))
        yield found
