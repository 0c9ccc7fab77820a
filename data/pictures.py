"""Pictures of a dataset: its returns, its actions, and frames of some episodes."""

import io
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

BLUE, GREY = "#2b6cb0", "#a0aec0"


def draw_returns(title: str, counts: list[int], edges: list[float], marks: dict[str, float]) -> bytes:
    """A histogram of the episodes' returns as a PNG, with vertical lines at the marks: the mean, then references."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(edges[:-1], counts, 0.95 * np.diff(edges), align="edge", color=BLUE)
    styles = [("black", "-"), (GREY, ":"), (GREY, "--")]
    for (name, value), (colour, style) in zip(marks.items(), styles, strict=False):
        axes.axvline(value, color=colour, linestyle=style, label=f"{name} {value:.4g}")
    axes.set(xlabel="return", ylabel="episodes", title=title)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return _png(figure)


def draw_actions(title: str, counts: list[list[int]]) -> bytes:
    """How often each value of each dimension of the actions (A, bins over [-1, 1]) was taken, as a PNG."""
    shares: NDArray[Any] = np.asarray(counts) / np.sum(counts, axis=1, keepdims=True)
    figure = Figure(figsize=(7, 1.2 + 0.35 * len(shares)), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.imshow(shares, aspect="auto", extent=(-1.0, 1.0, len(shares) - 0.5, -0.5), cmap="Blues", vmin=0.0)
    axes.set(xlabel="action", ylabel="dimension", yticks=range(len(shares)), title=title)
    figure.colorbar(drawn, ax=axes, label="share of the steps")
    return _png(figure)


def draw_frames(rows: list[tuple[str, NDArray[np.uint8]]]) -> bytes:
    """A contact sheet as a PNG: captions, each over a row of frames (F, H, W, 3)."""
    columns = max(len(images) for _, images in rows)
    figure = Figure(figsize=(1.15 * columns, 1.35 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, (caption, images) in zip(grid, rows, strict=True):
        for axes in axes_row:
            axes.set_axis_off()
        for axes, image in zip(axes_row, images, strict=False):
            axes.imshow(image, interpolation="nearest")
        axes_row[0].set_title(caption, fontsize=8, loc="left")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()
