"""Views of one's own: a function with `@view` above it is drawn with the others, and stands in the report."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

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


OWN_VIEWS: dict[str, OwnView] = {}
"""By the names of their functions, which are those of their pictures, too."""


def view(title: str, reading: str) -> Callable[[Draw], Draw]:
    """Add the function below it to the views of every world model from now on: `draw(model, held_out) -> Figure`."""

    def add(draw: Draw) -> Draw:
        OWN_VIEWS[draw.__name__] = OwnView(title, reading, draw)
        return draw

    return add
