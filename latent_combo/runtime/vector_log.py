"""A vector at several steps of training, kept in one file beside the scalars' log."""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from combo_common.files import write_atomically


class VectorLog:
    """Rows (n, Z) at n steps; a step that is written again, as after a resume, replaces itself and what came later."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[list[int], NDArray[np.float32]]:
        """The steps and their rows; none where nothing was written. Raises UserError for a file that is no track."""
        if not self.path.exists():
            return [], np.zeros((0, 0), np.float32)
        try:
            with np.load(self.path, allow_pickle=False) as file:
                return file["step"].tolist(), file["row"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{self.path} can not be read ({error}); delete it and go on") from error

    def append(self, step: int, row: NDArray[np.float32]) -> None:
        """Add a row (Z,)."""
        steps, rows = self.read()
        kept = [index for index, earlier in enumerate(steps) if earlier < step]
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            step=np.array([*(steps[index] for index in kept), step]),
            row=np.concatenate([rows[kept], row[None]]) if kept else row[None],
        )
        write_atomically(self.path, buffer.getvalue())
