"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from combo_common.errors import UserError


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what the operating system refuses while writing to `place` into a UserError that says so."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write to {place}: {reason}; choose another folder, or free some space") from error


@contextmanager
def replacing(path: Path, temporary_name: str | None = None) -> Iterator[Path]:
    """A temporary path beside `path`, of the same suffix; what the body leaves there is flushed and renamed to `path`.

    Where others look for files by part of their names, a `temporary_name` keeps a file that a kill left from them. If
    the body fails, the temporary file is removed and an earlier file stays as it was. Raises UserError for OSError.
    """
    with _renamed(path, path.with_name(temporary_name or f"{path.stem}.tmp{path.suffix}")) as temporary:
        yield temporary


def write_atomically(path: Path, content: bytes) -> None:
    """Write bytes under a temporary name, flush to the disk, and rename. Raises UserError where it can't.

    The temporary name ends in .tmp: whoever lists a folder's files by suffix does not find it after a power cut.
    """
    with _renamed(path, path.with_name(f"{path.name}.tmp")) as temporary:
        temporary.write_bytes(content)


@contextmanager
def _renamed(path: Path, temporary: Path) -> Iterator[Path]:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
