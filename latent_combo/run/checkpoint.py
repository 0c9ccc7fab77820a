"""Checkpoints: written whole or not at all, and read without unpickling anything."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from latent_combo.run.errors import UserError
from latent_combo.run.files import write_atomically


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values under a temporary name, flush them to the disk, and rename.

    Raises UserError where the file can't be written; an earlier checkpoint is then untouched.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint onto a device. Raises UserError if it is missing or damaged."""
    try:
        # weights_only admits tensors and plain containers, and never runs what a file says
        state = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; has this run been trained that far?") from error
    except (OSError, RuntimeError, EOFError, ValueError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is not a readable checkpoint; delete it and resume from an earlier one") from error
    if not isinstance(state, dict):
        raise UserError(f"{path} is not a checkpoint of this program")
    return state
