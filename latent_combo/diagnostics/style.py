"""What all pictures share: colours that differ for every kind of eye, figures, and their encoding."""

import io
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Frame = NDArray[np.uint8]
"""(H, W, 3) uint8."""
Frames = NDArray[np.uint8]
"""(T, H, W, 3) uint8."""

# the palette of Okabe and Ito (2008)
BLACK, BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE = (
    "#000000",
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#E69F00",
    "#D55E00",
    "#CC79A7",
)
GREY = "#888888"
OBSERVING, DREAMING = (0, 158, 115), (213, 94, 0)
"""Border while the model sees the frames, and while it doesn't."""
EXACT = tuple(
    (int(c[1:3], 16), int(c[3:5], 16), int(c[5:7], 16))
    for c in (BLACK, "#FFFFFF", BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE, GREY)
)
"""The colours that a GIF of such pictures must keep."""
DPI = 100
TICKS, LABELS = 0.3, 0.5
"""Inches below the axes that the numbers take, and those with a label."""
MOST_DIMENSIONS = 4
"""Numbers of a vector that are drawn."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches, 100 pixels an inch."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def to_frame(figure: Figure) -> Frame:
    """Draw a figure into an array."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def to_png(figure: Figure | Frame) -> bytes:
    """Encode a figure, or a picture, as PNG."""
    frame = to_frame(figure) if isinstance(figure, Figure) else figure
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "png")
    return buffer.getvalue()


def finish(axes: Axes, title: str, x: str, y: str, empty: str = "nothing logged yet") -> None:
    """Title, labels, grid and legend, which lies below the axes; a panel without anything says why it is blank."""
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        figure = axes.get_figure(root=True)
        assert figure is not None
        below = ScaledTranslation(0.0, -LABELS if x else -TICKS, figure.dpi_scale_trans)
        axes.legend(
            fontsize="small",
            loc="upper center",
            frameon=False,
            borderaxespad=0.0,
            bbox_to_anchor=(0.5, 0.0),
            bbox_transform=axes.transAxes + below,
        )
    elif not axes.has_data():
        axes.text(0.5, 0.5, empty, ha="center", transform=axes.transAxes)


def widest(values: NDArray[np.floating[Any]], names: Sequence[str]) -> list[tuple[int, str]]:
    """Those numbers of vectors (..., D) that vary most, at most MOST_DIMENSIONS, with their names or else numbers."""
    spread = values.reshape(-1, values.shape[-1]).std(0)
    chosen = sorted(np.argsort(-spread)[:MOST_DIMENSIONS].tolist())
    return [(d, names[d] if names else f"observation {d}") for d in chosen]


def fit(picture: Frame, side: int) -> Frame:
    """Scale a picture to `side` pixels of height and width; whole factors repeat pixels, so that they stay sharp."""
    whole = side % picture.shape[0] == 0
    return np.asarray(
        Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST if whole else Image.Resampling.BILINEAR)
    )


def framed(picture: Frame, colour: tuple[int, int, int], border: int) -> Frame:
    """A picture with a border of `border` pixels."""
    height, width, _ = picture.shape
    result = np.empty((height + 2 * border, width + 2 * border, 3), np.uint8)
    result[:] = colour
    result[border : border + height, border : border + width] = picture
    return result


def plain(text: str) -> str:
    """Text that matplotlib draws as it is, where it would take what is between two dollars for a formula."""
    return text.replace("\\", "/").replace("$", r"\$")


def write(picture: Frame, x: int, y: int, text: str, colour: tuple[int, int, int] = (0, 0, 0)) -> None:
    """Write into a picture, in place; `y` is the middle of the line."""
    rows = slice(y - 10, y + 10)
    patch = Image.fromarray(picture[rows])
    ImageDraw.Draw(patch).text((x, 10), text, fill=colour, anchor="lm", font=_font())
    picture[rows] = np.asarray(patch)


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(13)  # which reads the font anew each time


def titled(frames: Frames, title: str) -> Frames:
    """Frames (T, H, W, 3) beneath a line of text."""
    line = np.full((24, frames.shape[2], 3), 255, np.uint8)
    write(line, 6, 12, title)
    return np.concatenate([np.repeat(line[None], len(frames), 0), frames], 1)
