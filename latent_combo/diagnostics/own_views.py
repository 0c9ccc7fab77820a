"""Views of one's own: a function with `@view` above it is drawn with the others, and stands in the report."""

import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latent_combo.world_model.base import Segment, WorldModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[WorldModel, Segment], "Figure"]
"""Draws a fitted world model on held-out segments (B, L, ...), whose first 10 rows are context."""


@dataclass(frozen=True)
class OwnView:
    """A view that somebody added."""

    title: str
    reading: str
    """How to read it, in a sentence or two."""
    draw: Draw

    def words(self) -> dict[str, NDArray[Any]]:
        """What is kept beside the picture, so that whoever writes the report later knows it."""
        return {"title": np.array(self.title), "reading": np.array(self.reading)}


MOST_LETTERS = 10_000
"""Of a title, and of how to read a view."""
OWN_VIEWS: dict[str, OwnView] = {}
"""By the names of their functions, which are those of their pictures, too."""


def view(title: str, reading: str) -> Callable[[Draw], Draw]:
    """Add the function below it to the views of every world model from now on: `draw(model, held_out) -> Figure`."""

    def add(draw: Draw) -> Draw:
        OWN_VIEWS[draw.__name__] = OwnView(title, reading, draw)
        return draw

    return add


def _letters(kept: Any, name: str) -> int:
    """How many letters there may be at most in a text of a file, which is not unpacked for it."""
    return int(kept.zip.getinfo(f"{name}.npy").file_size) // 4


def words_of(pictures: Path) -> dict[str, tuple[str, str]]:
    """Title and reading of each view that somebody added: in this process, or when the pictures of a run were drawn."""
    found = {name: (own.title, own.reading) for name, own in OWN_VIEWS.items()}
    for file in sorted(pictures.glob("*.npz")):
        with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), np.load(file, allow_pickle=False) as kept:
            if file.is_file() and all(_letters(kept, name) <= MOST_LETTERS for name in ("title", "reading")):
                found.setdefault(file.stem, (str(kept["title"]), str(kept["reading"])))
    return found
