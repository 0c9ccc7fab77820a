"""The pictures of a comparison: every run as a point beside its interval, learning curves, and all datasets at once."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from latent_combo.comparison.markdown import PICTURES
from latent_combo.comparison.rows import Row
from latent_combo.comparison.statistics import Interval
from latent_combo.comparison.summary import Summary
from latent_combo.diagnostics.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    new_figure,
    to_png,
)

COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, BLACK)
LINES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")
"""Once the colours are used up, curves are told apart by their lines."""
ACROSS = 3
"""Panels side by side, at most."""
PANEL = (4.4, 3.6)
"""Inches of a panel."""
ROW = 0.42
"""Inches of an algorithm in a panel of points."""
LEGEND = 0.5


def pictures(rows: Sequence[Row], summary: Summary) -> dict[str, bytes]:
    """All pictures as PNG, by their names."""
    scores, curves, overall = PICTURES
    return {scores: _scores(summary), curves: _curves(rows, summary), overall: _overall(summary)}


def style(algorithm: str, algorithms: Sequence[str]) -> tuple[str, Literal["-", "--", ":"]]:
    """The colour and the line of an algorithm, the same in all pictures."""
    index = list(algorithms).index(algorithm)
    return COLOURS[index % len(COLOURS)], LINES[index // len(COLOURS) % len(LINES)]


def _grid(count: int, height: float, draw: Callable[[Axes, int], None], handles: Sequence[Line2D], title: str) -> bytes:
    """Panels in rows of `_across`, beneath a title, with one legend for all."""
    across = _across(count)
    down = -(-count // across)
    figure = new_figure(PANEL[0] * across, height * down + 2 * LEGEND)
    figure.suptitle(title)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for index, axes in enumerate(panels):
        draw(axes, index) if index < count else axes.set_axis_off()
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 2 * across), frameon=False)
    return to_png(figure)


def _across(count: int) -> int:
    """How many of so many panels stand side by side; four make a square."""
    return 2 if count == 4 else min(ACROSS, count)


def _scores(summary: Summary) -> bytes:
    """A panel for each dataset: every run as a point, the mean and its interval just below."""
    names = summary.algorithms

    def draw(axes: Axes, index: int) -> None:
        dataset = summary.datasets[index]
        for place, algorithm in enumerate(names):
            cell, (colour, _) = summary.cells[dataset, algorithm], style(algorithm, names)
            axes.scatter(
                cell.scores, np.full(len(cell.scores), place - 0.12), s=30, color=colour, alpha=0.75, linewidths=0
            )
            mean = cell.statistics["mean"]
            _interval(axes, place + 0.2, mean["value"], mean["interval"], colour)
            if cell.runs < cell.asked:
                _remark(axes, place - 0.36, f"{cell.asked - cell.runs} of {cell.asked} without a score")
        _by_algorithm(axes, names, index % _across(len(summary.datasets)) == 0)
        axes.set_title(dataset, fontsize="medium")
        axes.set_xlabel(summary.cells[dataset, names[0]].measure)

    height = 1.1 + ROW * len(names)
    title = "Every run, its algorithm's mean and 95% interval"
    return _grid(len(summary.datasets), height, draw, [], title)


def _interval(axes: Axes, place: float, value: float | None, interval: Interval | None, colour: str) -> None:
    if value is None:
        return
    if interval is not None:
        axes.plot(interval, [place, place], color=colour, linewidth=2.0, solid_capstyle="butt")
    axes.plot([value], [place], marker="|", color=colour, markersize=11, markeredgewidth=2.5)


def _remark(axes: Axes, place: float, text: str) -> None:
    axes.text(0.99, place, text, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=7, color=GREY)


def _by_algorithm(axes: Axes, names: Sequence[str], labelled: bool) -> None:
    """Algorithms from top to bottom, with their names at the left panels."""
    axes.set_yticks(range(len(names)), names if labelled else [""] * len(names))
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _curves(rows: Sequence[Row], summary: Summary) -> bytes:
    """A panel for each dataset: interim returns, a thin line for each run, the mean over runs bold."""
    names = summary.algorithms

    def draw(axes: Axes, index: int) -> None:
        dataset = summary.datasets[index]
        own = [row for row in rows if row.job.label == dataset and row.result is not None]
        for algorithm in names:
            colour, line = style(algorithm, names)
            curves = [curve for row in own if row.job.algorithm == algorithm and len(curve := _interim(row))]
            for curve in curves:
                axes.plot(*curve.T, color=colour, linewidth=0.8, alpha=0.4, marker=".", markersize=3)
            if len({tuple(curve[:, 0]) for curve in curves}) == 1:
                axes.plot(*np.mean(curves, 0).T, color=colour, linestyle=line, linewidth=2.4)
        if own and (result := own[0].result) is not None:
            axes.axhline(result.dataset_return_mean, color=BLACK, linestyle=(0, (4, 2)), linewidth=1.0)
        axes.set_title(dataset, fontsize="medium")
        axes.set_xlabel("update of the agent")
        if index % _across(len(summary.datasets)) == 0:
            axes.set_ylabel("return")
        axes.grid(alpha=0.3)
        if not axes.has_data():
            axes.text(0.5, 0.5, "no interim scores", ha="center", transform=axes.transAxes)

    handles = [
        Line2D([], [], color=style(name, names)[0], linestyle=style(name, names)[1], linewidth=2.4, label=name)
        for name in names
    ]
    handles.append(Line2D([], [], color=BLACK, linestyle=(0, (4, 2)), linewidth=1.0, label="mean of the dataset"))
    return _grid(len(summary.datasets), PANEL[1], draw, handles, "Interim scores: runs (thin) and their mean (bold)")


def _interim(row: Row) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """(N, 2): updates, and the mean return over the agents."""
    assert row.result is not None
    interim = row.result.evaluations
    return np.asarray([(step, np.mean(returns)) for step, returns in zip(interim.steps, interim.returns, strict=True)])


def _overall(summary: Summary) -> bytes:
    """Over all datasets: the statistics of normalised scores, and how probably the first algorithm is better."""
    names, first = summary.algorithms, summary.algorithms[0]
    titles = {"iqm": "IQM over datasets", "mean": "mean over datasets", "median": "median of datasets"}
    keys = [*titles, "improvement"]

    def draw(axes: Axes, index: int) -> None:
        key = keys[index]
        for place, algorithm in enumerate(names):
            found = summary.overall[algorithm].get(key) or summary.improvements.get((first, algorithm))
            if found is not None:
                _interval(axes, place, found["value"], found["interval"], style(algorithm, names)[0])
        if not axes.has_data():
            axes.text(0.5, 0.5, "no dataset has all it takes", ha="center", transform=axes.transAxes)
        _by_algorithm(axes, names, True)
        if key in titles:
            axes.set_title(titles[key], fontsize="medium")
            axes.set_xlabel("normalised score")
        else:
            axes.axvline(0.5, color=GREY, linestyle="--", linewidth=1.0)
            axes.set_xlim(-0.03, 1.03)
            axes.set_title(f"P({first} > algorithm)", fontsize="medium")
            axes.set_xlabel("probability of improvement")

    title = f"All datasets: {len(summary.over)} with normalised scores"
    return _grid(len(keys), 1.1 + ROW * len(names), draw, [], title)
