"""Writing files whole or not at all."""

import os
from pathlib import Path

from latent_combo.run.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name, flush to the disk, and rename. Raises UserError where it can't."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"can not write {path}: {error.strerror}; choose another folder or free some space") from error
