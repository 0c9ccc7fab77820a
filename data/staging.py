"""Files and folders that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from combo_common.errors import UserError


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses while writing to `folder` into a UserError that says so."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror or error}; choose a folder that can be written to and has room"
        ) from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, sync it to the disk, and rename it."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """Give a new folder beside `folder` to write to, which takes its name if all goes well and is removed otherwise.

    Raises UserError when `folder` holds anything already, or cannot be written.
    """
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    with writing(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} exists and is not an empty folder; remove it or name another")
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(parents=True)
    try:
        yield partial
        with writing(folder):
            if folder.exists():
                folder.rmdir()
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
