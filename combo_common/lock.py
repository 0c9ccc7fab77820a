"""A lock that is a file: it keeps other processes out, here and on other machines that share the folder.

The file says who holds it, and its holder touches it now and then. It appears by a hard link, or where there are none
by being created exclusively; both work on network file systems, where `flock` may not. A process that is killed leaves
its file, which the next one takes over: at once where it can see that the holder is gone, and otherwise when nobody has
touched the file for `STALE` seconds, by the clock of the file system.
"""

import fcntl
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from combo_common.errors import UserError
from combo_common.files import writing
from combo_common.lock_file import Holder, appears, read, taken_away, written
from combo_common.processes import is_running, machine, started

HEARTBEAT = 15.0
"""Seconds between two touches of a file by its holder."""
STALE = 180.0
"""Seconds without a touch after which a holder on another machine counts as gone; some file systems tell late."""
PATIENCE, BRIEFLY = 5.0, 0.02
"""Seconds that others may take to take a lock, and between two looks at whether they have."""
POLL = 0.5
"""Seconds between two looks of who waits."""
_held: set[str] = set()
"""The words of this process's own locks."""


class Lock:
    """One lock. It is held within the body of `with`."""

    def __init__(self, path: Path, what: str) -> None:
        """Name the lock's file, and for errors what it guards."""
        self.path, self.what = path, what
        self.holder: Holder | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        """Take the lock, or raise UserError that says who holds it.

        A holder on another machine is given `STALE` seconds to touch its file, and counts as gone if it does not.
        """
        other = self.attempt()
        if other is not None and other.machine not in ("", machine()):
            print(f"{self.what} was in use by {other}; waiting for a sign of it", file=sys.stderr, flush=True)
            other = self._watched(other)
        if other is not None:
            raise UserError(f"{self.what} is in use by {other}; wait for it, or end it")
        return self

    def _watched(self, other: Holder | None) -> Holder | None:
        """Wait until a holder elsewhere has touched its file, and return it; or take the lock and return None."""
        seen, until = self._touched(), time.monotonic() + 2.0 * STALE  # whatever the file system's clock says
        while other is not None and self._touched() == seen and time.monotonic() < until:
            time.sleep(POLL)
            other = self.attempt()
        return other

    def _touched(self) -> int:
        """When the file was touched, in ns; 0 where it is not there."""
        try:
            return self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def attempt(self) -> Holder | None:
        """Take the lock; or say who holds it. Raises UserError where the file can't be written."""
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(self.path.parent):
                word = secrets.token_hex(8)
                own = self.path.with_name(f"{self.path.name}.{word}")
                try:
                    holder = written(own, word)
                    for _ in range(3):  # a stale one may be taken over by others, too
                        if appears(own, self.path, holder):
                            self._hold(holder)
                            return None
                        other = self._other(now=own.stat().st_mtime)
                        if other is not None:
                            return other
                finally:
                    own.unlink(missing_ok=True)
        raise UserError(f"{self.path} comes and goes, so that {self.what} can not be taken; try again")

    def require_held(self) -> None:
        """Raise UserError where another process has taken the lock over, since this one seemed to be gone."""
        if self.holder is not None and (now := read(self.path)) is not None and now.word != self.holder.word:
            raise UserError(f"{self.what} was taken over by {now}, for this process did not answer; it ends here")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of it."""
        holder, self.holder = self.holder, None
        self._ended.set()
        if holder is None or holder.process != os.getpid():  # a fork of the holder holds nothing
            return
        _held.discard(holder.word)
        now = read(self.path)
        if now is not None and now.word == holder.word:
            with suppress(OSError):
                self.path.unlink()

    def _hold(self, holder: Holder) -> None:
        self.holder = holder
        _held.add(holder.word)
        self._ended = threading.Event()
        threading.Thread(target=_touch, args=(self.path, holder, self._ended), daemon=True).start()

    def _other(self, now: float) -> Holder | None:
        """Who holds the file; None where that is nobody any more, whose file is then gone."""
        try:
            about = self.path.stat()
        except FileNotFoundError:
            return None
        other, age = read(self.path), now - about.st_mtime
        if other is None:  # it is being written by one without links, or damaged
            if age <= STALE:
                return Holder("an unknown host", "", 0, "", about.st_mtime, f"{self.path} can not be read", "", 0)
            gone = "nobody who can be read"
        elif not _is_gone(other, about.st_ino, age):
            return other
        else:
            gone = str(other)
        if taken_away(self.path, other):
            print(f"note: {self.what} was left locked by {gone}, which is gone; this process goes on", file=sys.stderr)
        return None


@contextmanager
def waiting_for(path: Path, what: str) -> Iterator[None]:
    """Hold a lock within the body; where another process holds it, a line says so, and this one waits."""
    lock, told = Lock(path, what), False
    while (other := lock.attempt()) is not None:
        if not told:
            print(f"{what} is in use by {other}; waiting for it", file=sys.stderr, flush=True)
            told = True
        time.sleep(POLL)
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _is_gone(holder: Holder, file: int, age: float) -> bool:
    """Whether a holder holds no more a lock whose file has a number, and was touched `age` seconds ago."""
    if holder.machine == machine():
        if holder.process == os.getpid() and holder.started == started(os.getpid()):
            return holder.word not in _held or holder.file != file  # let go of, or a copy
        if not is_running(holder.process, holder.started):
            return True
        return holder.file != file and age > 2 * HEARTBEAT  # a copy of a folder whose run goes on: nobody touches it
    return age > STALE


def _touch(path: Path, holder: Holder, ended: threading.Event) -> None:
    """Say now and then that the holder is there."""
    while not ended.wait(HEARTBEAT):
        now = read(path)
        if now is not None and now.word != holder.word:
            return
        with suppress(OSError):
            os.utime(path)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let processes of one machine take locks of a folder one after another, where the file system has `flock`.

    One that stands still there is waited for `PATIENCE` seconds at most: what follows is safe, if not quite, without.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        for _ in range(int(PATIENCE / BRIEFLY)):
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(BRIEFLY)
            except OSError:
                break
        yield
    finally:
        os.close(opened)
