"""The composite clip of an episode: truth, posterior, open loop and error, over what the model says of itself."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from latent_combo.diagnostics.panels.belief import Belief, Floats
from latent_combo.diagnostics.style import (
    BLACK,
    BLUE,
    DPI,
    DREAMING,
    GREEN,
    GREY,
    OBSERVING,
    PURPLE,
    VERMILION,
    Frame,
    Frames,
    fit,
    framed,
    to_frame,
    widest,
    write,
)

CELL = 96
"""Screen pixels of one picture."""
THUMBNAILS = 6
LABELS = 116
BORDER = 4
GAP = 12
STRIP = LABELS + CELL + 2 * BORDER + GAP
"""Left edge of the time axis."""
WIDTH = STRIP + THUMBNAILS * CELL + GAP
HEADER = 26
TIMELINE = 74
"""Height of one timeline."""
AXIS = 34
"""Below the last of them."""


@dataclass(frozen=True)
class Line:
    """A curve of a timeline."""

    name: str
    values: Floats
    """(L,)."""
    colour: str
    low: Floats | None = None
    """(L,): lower edge of a band around it, and upper edge."""
    high: Floats | None = None


@dataclass(frozen=True)
class Timeline:
    """A panel over time."""

    title: str
    lines: tuple[Line, ...]
    from_zero: bool = False
    """The axis begins at 0."""


def composite_clip(belief: Belief, title: str, names: tuple[str, ...] = ()) -> Frames:
    """One frame a row of the episode, (L, H, W, 3): what is seen now, the whole stretch as a strip, and timelines.

    The border is green where the model sees, and vermilion where it dreams. Vectors are drawn as timelines; `names`
    are those of their numbers.
    """
    length = len(belief.reward)
    images = belief.truth.ndim == 4
    pictures = [belief.truth, belief.posterior, belief.open_loop, belief.error] if images else []
    timelines = ([] if images else _vectors(belief, names)) + _own_words(belief)
    top = HEADER + len(pictures) * (CELL + 2 * BORDER)
    still = np.full((top + len(timelines) * TIMELINE + AXIS, WIDTH, 3), 255, np.uint8)
    still[top:] = _timelines(timelines, length, belief.context)
    _header(still, title, belief.context)
    for index, (name, rows) in enumerate(zip(("truth", "posterior", "open loop", "error"), pictures, strict=False)):
        y = HEADER + index * (CELL + 2 * BORDER)
        write(still, 8, y + CELL // 2 + BORDER, name)
        for k in range(THUMBNAILS):
            x = STRIP + k * CELL
            still[y + BORDER : y + BORDER + CELL, x : x + CELL] = fit(rows[_time(k, length)], CELL)
    return np.stack([_at(still, t, pictures, timelines, top, belief.context) for t in range(length)])


def _time(thumbnail: int, length: int) -> int:
    """The row that a thumbnail shows: the middle of the stretch that it covers."""
    return int((thumbnail + 0.5) * length / THUMBNAILS)


def _x(t: float, length: int) -> int:
    return STRIP + round((t + 0.5) / length * THUMBNAILS * CELL)


def _own_words(belief: Belief) -> list[Timeline]:
    predicted = belief.predicted_reward
    reward = Timeline(
        "reward a step",
        (
            Line("truth", belief.reward, BLACK),
            Line(f"{len(predicted)} heads", predicted.mean(0), BLUE, predicted.min(0), predicted.max(0)),
        ),
    )
    timelines = [reward, Timeline("disagreement", (Line("std of members", belief.disagreement, PURPLE),), True)]
    if np.isfinite(belief.kl).any():
        timelines.append(Timeline("KL, nats", (Line("posterior, prior", belief.kl, VERMILION),), True))
    return timelines


def _vectors(belief: Belief, names: tuple[str, ...]) -> list[Timeline]:
    return [
        Timeline(
            name,
            (
                Line("posterior", belief.posterior[:, d], GREEN),
                Line("truth", belief.truth[:, d], BLACK),  # over it: where the latent is the observation, they agree
                Line("open loop", belief.open_loop[:, d], BLUE),
                Line("error", belief.error[:, d], GREY),
            ),
        )
        for d, name in widest(belief.truth, names)
    ]


def _timelines(timelines: list[Timeline], length: int, context: int) -> Frame:
    """All panels, as wide as the clip; their names stand to the left of them."""
    height = len(timelines) * TIMELINE + AXIS
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI)
    for index, timeline in enumerate(timelines):
        bottom = AXIS + (len(timelines) - 1 - index) * TIMELINE
        axes = figure.add_axes((STRIP / WIDTH, bottom / height, THUMBNAILS * CELL / WIDTH, (TIMELINE - 12) / height))
        _timeline(axes, timeline, length, context)
        if index == len(timelines) - 1:
            axes.set_xlabel("steps into the clip", fontsize=9, labelpad=1)
        else:
            axes.tick_params(labelbottom=False)
        y = (bottom + TIMELINE - 14) / height
        figure.text(8 / WIDTH, y, timeline.title, fontsize=10, va="top")
        for below, line in enumerate(timeline.lines, start=1):
            y_line = y - below * min(15, 44 // len(timeline.lines)) / height
            figure.text(30 / WIDTH, y_line, line.name, fontsize=8.5, va="top")
            swatch = ([8 / WIDTH, 24 / WIDTH], [y_line - 7 / height] * 2)
            figure.add_artist(Line2D(*swatch, color=line.colour, linewidth=2.5, transform=figure.transFigure))
    return to_frame(figure)


def _timeline(axes: Axes, timeline: Timeline, length: int, context: int) -> None:
    steps = np.arange(length)
    axes.axvspan(-0.5, context - 0.5, color=np.array(OBSERVING) / 255, alpha=0.12, linewidth=0)
    axes.axvspan(context - 0.5, length - 0.5, color=np.array(DREAMING) / 255, alpha=0.07, linewidth=0)
    for line in timeline.lines:
        if line.low is not None and line.high is not None:
            axes.fill_between(steps, line.low, line.high, color=line.colour, alpha=0.25, linewidth=0)
        axes.plot(steps, line.values, color=line.colour, linewidth=1.3)
    axes.set_xlim(-0.5, length - 0.5)
    if timeline.from_zero:
        axes.set_ylim(bottom=0.0)
    axes.locator_params(axis="y", nbins=3)
    axes.tick_params(labelsize=8, length=2, pad=2)


def _header(picture: Frame, title: str, context: int) -> None:
    write(picture, 8, HEADER // 2, title)
    write(picture, STRIP, HEADER // 2, f"sees {context} steps", OBSERVING)
    write(picture, STRIP + 130, HEADER // 2, "then dreams", DREAMING)


def _at(still: Frame, t: int, pictures: list[Frames], timelines: list[Timeline], top: int, context: int) -> Frame:
    """The clip's frame at row t: the pictures of now, the cursor, and the values at it."""
    frame = still.copy()
    colour = OBSERVING if t < context else DREAMING
    for index, (rows, border) in enumerate(zip(pictures, (OBSERVING, OBSERVING, colour, colour), strict=False)):
        y = HEADER + index * (CELL + 2 * BORDER)
        frame[y : y + CELL + 2 * BORDER, LABELS : LABELS + CELL + 2 * BORDER] = framed(
            fit(rows[t], CELL), border, BORDER
        )
    x = _x(t, len(timelines[0].lines[0].values))
    frame[HEADER : len(still) - AXIS, x : x + 2] = colour
    for index, timeline in enumerate(timelines):
        for below, line in enumerate(timeline.lines, start=1):
            y = top + index * TIMELINE + 20 + below * min(15, 44 // len(timeline.lines))
            if np.isfinite(line.values[t]):
                write(frame, LABELS + 30, y, f"{line.values[t]:.2f}")
    return frame
