"""Checkpoints: written whole or not at all, and read without unpickling anything."""

import io
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from combo_common.errors import UserError
from combo_common.files import write_atomically

DAMAGE = (
    *(RuntimeError, EOFError, ValueError, LookupError, AttributeError),
    *(zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError),
)
"""What zipfile and torch raise on a file that isn't as it was written."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values under a temporary name, flush them to the disk, and rename.

    Raises UserError where the file can't be written; an earlier checkpoint is then untouched.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint onto a device, against its checksums. Raises UserError if it is missing, altered or damaged."""
    damaged = f"{path} is not a readable checkpoint; delete it and train that part again"
    try:
        with zipfile.ZipFile(path) as archive:  # torch reads tensors without looking at their checksums
            if archive.testzip() is not None:
                raise UserError(damaged)
        # weights_only admits tensors and plain containers, and never runs what a file says
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; has this run been trained that far?") from error
    except OSError as error:
        raise UserError(f"can not read {path}: {error.strerror or error}; mend its permissions or its disk") from error
    except DAMAGE as error:
        raise UserError(damaged) from error
    if not isinstance(state, dict):
        raise UserError(f"{path} is not a checkpoint of this program")
    return state
