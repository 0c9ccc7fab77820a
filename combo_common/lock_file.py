"""The file of a lock: who holds it, in a file that appears whole, once, and only where there is none."""

import errno
import json
import os
import secrets
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from combo_common.commands import this_command
from combo_common.processes import machine, started

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EOPNOTSUPP)
"""What file systems answer that have no hard links."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as its file says."""

    host: str
    machine: str
    """What processes are numbered by: the same only where a number means the same process (`processes.machine`)."""
    process: int
    started: str
    """When the process began, by its machine: another one of the same number began at another time."""
    since: float
    """Seconds since 1970 when it took the lock."""
    command: str
    word: str
    """No two locks have the same."""
    file: int
    """Number of the lock's file on its file system: a copy of a folder has a copy of the file."""

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.process} on {self.host} since {since} ({self.command})"


def written(path: Path, word: str) -> Holder:
    """Write who this process is into a file of its own."""
    with open(path, "x") as file:
        number = os.fstat(file.fileno()).st_ino
        holder = Holder(
            socket.gethostname(),
            machine(),
            os.getpid(),
            started(os.getpid()),
            time.time(),
            this_command(),
            word,
            number,
        )
        file.write(json.dumps(asdict(holder)))
        file.flush()
        os.fsync(file.fileno())
    return holder


def appears(own: Path, path: Path, holder: Holder) -> bool:
    """Give a file the lock's name, too, unless there is one; whether that was so."""
    try:
        os.link(own, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            # the answer of a network file system may be lost, and the link be there
            return own.stat().st_nlink == 2 or _raised(error)
        try:
            with open(path, "x") as file:
                number = os.fstat(file.fileno()).st_ino
                file.write(json.dumps(asdict(holder) | {"file": number}))
        except FileExistsError:
            return False
    return True


def _raised(error: OSError) -> bool:
    raise error


def read(path: Path) -> Holder | None:
    """Who a lock's file says that holds it; None where it is not there, or says nothing."""
    try:
        said = json.loads(path.read_text())
        return Holder(**{name: kind(said[name]) for name, kind in Holder.__annotations__.items()})
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def taken_away(path: Path, other: Holder | None) -> bool:
    """Remove a stale file, unless it has become another's meanwhile; whether it was removed."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return False
    found = read(aside)
    try:
        if (found and found.word) == (other and other.word):
            return True
        with suppress(FileExistsError):
            os.link(aside, path)
        return False
    finally:
        aside.unlink(missing_ok=True)
