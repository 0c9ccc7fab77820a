"""Weights in a safetensors file, with one JSON string that says what they are; reading it runs nothing."""

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from combo_common.errors import UserError
from combo_common.files import write_atomically
from latent_combo.runtime.tensors_file import check_header
from latent_combo.runtime.weights_name import require_new

Weights = dict[str, Tensor]
"""Tensors by name."""


def write_weights(path: Path, weights: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write one file, whole or not at all. Raises UserError where the file is there, or can't be written."""
    require_new(path)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    content = safetensors.torch.save(plain, metadata)
    write_atomically(path, content)


def read_metadata(path: Path) -> dict[str, str]:
    """The strings of a file's header. Raises UserError where it is not safetensors."""
    try:
        check_header(path)
        with safetensors.safe_open(path, "pt") as opened:
            return dict(opened.metadata() or {})
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise _unreadable(path, error) from error


def read_weights(path: Path) -> Weights:
    """The tensors of a file, on the CPU. Raises UserError where it is not safetensors."""
    try:
        check_header(path)
        return safetensors.torch.load(path.read_bytes())
    except (OSError, safetensors.SafetensorError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} can not be read as safetensors: {' '.join(str(error).split())}")
