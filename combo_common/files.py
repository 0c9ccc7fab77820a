"""Files that appear whole or not at all."""

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from combo_common.errors import UserError
from combo_common.process_marks import is_alive, is_elsewhere, own_mark

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
"""What the operating system says of a disk that takes no more."""
Buffer: TypeAlias = bytes | memoryview
"""Bytes, or memory that is contiguous."""
TEMPORARY = re.compile(r".*\.(?P<mark>\d+-\d+-[0-9a-f]{6})\.tmp(\.\w+)?", re.ASCII)
"""Names of files that are not finished."""
AGAIN = 5
"""Times that a folder is emptied which another program may still write to."""
FORGOTTEN = 24 * 3600.0
"""Seconds after which what another machine did not finish is taken for left."""


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what the operating system refuses while writing to `place` into a UserError that says so."""
    try:
        yield
    except OSError as error:
        raise refused(place, error) from error


def refused(place: Path, error: OSError) -> UserError:
    """What there is to say where the operating system refuses to write to `place`."""
    reason = " ".join(str(error.strerror or error).split())
    return UserError(f"cannot write to {place}: {reason}; choose another folder, or free some space")


def require_room(place: Path, needed: int, what: str, remedy: str) -> None:
    """Raise UserError where a disk has less room left than what is certain to be written to `place`, in bytes."""
    there = next((folder for folder in (place.absolute(), *place.absolute().parents) if folder.exists()), None)
    with suppress(OSError):
        if there is not None and (free := shutil.disk_usage(there).free) < needed:
            raise UserError(
                f"{what} need {in_units(needed)} in {place}, and {in_units(free)} are free there; free some space, or "
                f"{remedy}"
            )


def in_units(size: float) -> str:
    """Bytes for people."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, of the same suffix; what the body leaves there is flushed and renamed to `path`.

    If the body fails, the temporary file is removed and an earlier file stays as it was. Raises UserError for OSError.
    """
    with _renamed(path, path.with_name(f"{path.stem}.{own_mark()}.tmp{path.suffix}")) as temporary:
        yield temporary


@contextmanager
def replacing_unseen(path: Path, temporary_name: str) -> Iterator[Path]:
    """As `replacing`, where others look for files by part of their names: a kill leaves none that they would find."""
    with _renamed(path, path.with_name(f"{temporary_name}.{own_mark()}.tmp")) as temporary:
        yield temporary


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` for what another program writes; it is removed in the end, with all that is in it.

    What that program writes later fails, since there is no such folder. Raises UserError where none can be made.
    """
    folder = path.with_name(f"{path.stem}.{own_mark()}.tmp")
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        for _ in range(AGAIN):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break


def write_atomically(path: Path, content: bytes) -> None:
    """Write bytes under a temporary name, flush to the disk, and rename. Raises UserError where it can't.

    The temporary name ends in .tmp: whoever lists a folder's files by suffix does not find it after a power cut.
    """
    with _renamed(path, path.with_name(f"{path.name}.{own_mark()}.tmp")) as temporary:
        write_new(temporary, content)


def write_new(path: Path, *parts: Buffer) -> None:
    """Write a file, part after part; one that is there is replaced. Raises OSError."""
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        for part in parts:
            write_all(opened, part)
    finally:
        os.close(opened)


def write_all(opened: int, content: Buffer) -> None:
    """Write to an open file past any buffer, to its end. Raises OSError.

    All of this program's writing is by this, or by libraries into memory: so a test can let each write fail.
    """
    left = memoryview(content).cast("B")
    while left:
        left = left[os.write(opened, left) :]


class GrowingFile:
    """A file that content is added to; what a call of `write` was given is the operating system's when it returns."""

    def __init__(self, path: Path) -> None:
        """Open a file, which may be there. Raises UserError where that can't be."""
        self.path = path
        with writing(path):
            self._opened: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def write(self, content: bytes) -> None:
        """Add some. Raises UserError where it can't be written, or not whole."""
        assert self._opened is not None, "it is closed"
        with writing(self.path):
            write_all(self._opened, content)

    def close(self) -> None:
        """Close it; a second time does nothing."""
        opened, self._opened = self._opened, None
        if opened is not None:
            os.close(opened)


def sweep_files(folder: Path) -> None:
    """Remove what processes that are gone have not finished writing in a folder and those in it.

    Files and scratch folders of living processes stay, and so do recent ones of other machines.
    """
    found = list[Path]()
    with suppress(OSError):
        found.extend(path for path in folder.rglob("*.tmp*") if TEMPORARY.fullmatch(path.name))
    for path in found:
        with suppress(OSError):  # of one that has gone meanwhile, or can't be removed
            if _is_left(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _is_left(path: Path) -> bool:
    """Whether whoever wrote a file or folder with a mark in its name is gone. Raises OSError where it is."""
    found = TEMPORARY.fullmatch(path.name)
    if found is None or path.is_symlink():
        return False
    if is_elsewhere(found["mark"]):
        return path.stat().st_mtime < time.time() - FORGOTTEN
    return not is_alive(found["mark"])


@contextmanager
def _renamed(path: Path, temporary: Path) -> Iterator[Path]:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            opened = os.open(temporary, os.O_RDWR)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
