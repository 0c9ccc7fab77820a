"""What a file of weights is called."""

from pathlib import Path

from combo_common.errors import UserError

SUFFIX = ".safetensors"


def require_new(path: Path) -> None:
    """Raise UserError where a file of weights can not have that name, or is there already."""
    if path.suffix != SUFFIX:
        raise UserError(f"{path} does not end in {SUFFIX}; name the file so")
    if path.exists():
        raise UserError(f"{path} is there already; choose another name, or remove it")
