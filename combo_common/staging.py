"""Folders that appear whole or not at all, and what killed processes have left of them."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from combo_common.errors import UserError
from combo_common.files import FORGOTTEN, write_atomically, writing
from combo_common.process_marks import MARK, is_alive, is_elsewhere, own_mark

PARTIAL = ".partial-"
"""What stands between a folder's name and the mark of the process that writes it."""
ORIGIN = "origin.txt"
"""What a folder that can be continued is made of; it is not in the folder in the end."""


class NoLocksError(OSError):
    """A folder can't be locked."""


@contextmanager
def staged_folder(folder: Path, origin: str | None = None) -> Iterator[Path]:
    """Give a new folder beside `folder` to write to, which takes its name if all goes well and is removed otherwise.

    What processes that are gone have left of the same folder is removed first. With an `origin`, which says all that
    the content follows from, what they left of the same origin is given instead, with its files, to be continued; and
    it stays there if the body is interrupted, other than by a UserError. Raises UserError when `folder` holds anything
    already, or cannot be written.
    """
    partial = folder.with_name(f"{folder.name}{PARTIAL}{own_mark()}")
    with writing(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} exists and is not an empty folder; remove it or name another")
        if origin is None or not _adopted(folder, partial, origin):
            sweep(folder.parent, folder.name)
            partial.mkdir(parents=True)
        sweep(folder.parent, folder.name, but=partial)
        lock = None
        with suppress(NoLocksError):  # then its mark and its age tell
            lock = _locked(partial)
        if origin is not None:
            write_atomically(partial / ORIGIN, origin.encode())
    kept = False
    try:
        yield partial
        with writing(folder):
            (partial / ORIGIN).unlink(missing_ok=True)
            if folder.exists():
                folder.rmdir()
            partial.rename(folder)
    except Exception:
        raise
    except BaseException:
        kept = origin is not None
        raise
    finally:
        if not kept:
            shutil.rmtree(partial, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def sweep(parent: Path, name: str | None = None, but: Path | None = None) -> None:
    """Remove the partial folders of processes that are gone: those of one folder's name, or all that are in `parent`.

    Those of living processes stay, also of processes elsewhere that hold a lock on them.
    """
    for left in _abandoned(parent, name):
        if left != but:
            shutil.rmtree(left, ignore_errors=True)


def _adopted(folder: Path, partial: Path, origin: str) -> bool:
    """Give what a process that is gone has left of an origin the name of this process's own, and say if there was."""
    for left in _abandoned(folder.parent, folder.name):
        with suppress(OSError, UnicodeDecodeError):  # of another origin, or taken by another process a moment ago
            if (left / ORIGIN).read_text() == origin:
                if left != partial:
                    left.rename(partial)
                for half in partial.glob("*.tmp"):  # of a file that was being written
                    half.unlink()
                return True
    return False


def _abandoned(parent: Path, name: str | None) -> list[Path]:
    """Partial folders of processes that are gone."""
    found = []
    with suppress(OSError):
        for path in sorted(parent.iterdir()):
            of, _, mark = path.name.rpartition(PARTIAL)
            ours = bool(of) and MARK.fullmatch(mark) is not None and name in (None, of)
            if ours and path.is_dir() and not path.is_symlink() and not _is_written(path, mark):
                found.append(path)
    return found


def _is_written(partial: Path, mark: str) -> bool:
    """Whether a process still writes a partial folder."""
    mine = mark in (own_mark(), str(os.getpid()))  # which may have had a namesake: then only the lock tells
    if not mine and not is_elsewhere(mark) and is_alive(mark):
        return True
    try:
        lock = _locked(partial)
    except NoLocksError:  # then a process elsewhere shows by what it writes
        return mark == own_mark() or (is_elsewhere(mark) and _changed(partial) > time.time() - FORGOTTEN)
    if lock is not None:
        os.close(lock)
    return lock is None


def _changed(folder: Path) -> float:
    """When something in a folder was written last. Raises OSError."""
    return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))


def _locked(folder: Path) -> int | None:
    """An open lock on a folder, which ends with its process; None where another has it.

    Raises NoLocksError where the file system has no locks of folders, as NFS.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        return None
    except OSError as error:
        os.close(opened)
        raise NoLocksError(error.errno, str(error)) from error
    return opened
