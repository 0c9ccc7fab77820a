"""Minari's folders, checked before its library reads them: what their metadata and HDF5 file say they hold."""

from math import prod
from pathlib import Path

from combo_common.bounded_json import parse_json, read_json
from combo_common.errors import UserError
from combo_common.reason import reason
from data.safe.hdf5 import open_hdf5

METADATA, HDF5 = "metadata.json", "main_data.hdf5"
NUMBERS = {
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *(f"float{bits}" for bits in (16, 32, 64)),
}
"""Types of spaces whose arrays are made."""
MOST_NUMBERS = 1 << 23
"""In an observation or action."""


def check_minari(folder: Path) -> None:
    """Raise UserError for files that lead out of themselves, or whose spaces only an environment would tell."""
    try:
        metadata = read_json(folder / METADATA)
        told = all(isinstance(metadata.get(f"{of}_space"), str) for of in ("observation", "action"))
        images = (
            [image for of in ("observation", "action") for image in _spaces(metadata[f"{of}_space"])] if told else []
        )
        count = metadata["total_episodes"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{folder / METADATA} is damaged ({reason(error)}); fetch the dataset again") from error
    if not told:  # minari would make the environment that the file names, whatever that runs
        raise UserError(f"{folder / METADATA} tells no spaces; fetch the dataset again, or convert it by minari itself")
    if metadata.get("data_format", "hdf5") != "hdf5":
        raise UserError(f"{folder / METADATA} says its data are no HDF5 file; fetch the dataset in that format")
    with open_hdf5(folder / HDF5) as file:
        file.check()
        if images and metadata.get("jpeg_encoding", True):
            file.check_jpegs(images)
        if not isinstance(count, int) or not 0 <= count <= len(file.names()):
            raise UserError(f"{folder / METADATA} counts {count!r:.80} episodes, not those of {HDF5}; fetch it again")


def _spaces(serialised: str) -> list[tuple[int, ...]]:
    """The shapes of the images in a space. Raises ValueError for a space whose arrays are too large or no numbers."""
    shapes = []
    waiting = [parse_json(serialised)]
    while waiting:
        space = waiting.pop()
        if not isinstance(space, dict):
            raise ValueError("a space is no object")
        inner = space.get("subspaces", [])
        waiting += list(inner.values()) if isinstance(inner, dict) else list(inner)
        if space.get("type") != "Box":
            continue
        if space.get("dtype") not in NUMBERS:
            raise ValueError(f"a space is of type {str(space.get('dtype'))[:40]}")
        shape = tuple(int(size) for size in space["shape"])
        if min(shape, default=1) < 1 or prod(shape) > MOST_NUMBERS:
            raise ValueError(f"a space is of shape {shape}")
        if space["dtype"] == "uint8" and len(shape) in (2, 3):
            shapes.append(shape)
    return shapes
