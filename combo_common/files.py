"""Writing files whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from combo_common.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, of the same suffix; what the body leaves there is flushed and renamed to `path`.

    If the body fails, the temporary file is removed and an earlier file stays as it was. Raises UserError for OSError.
    """
    temporary = path.with_name(f"{path.stem}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"can not write {path}: {reason}; choose another folder or free some space") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write bytes under a temporary name, flush to the disk, and rename. Raises UserError where it can't."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
