"""Every scored episode of a run as a point, so that no failure hides in a mean."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from latent_combo.diagnostics.style import BLACK, BLUE, GREY, VERMILION, finish, new_figure, plain
from latent_combo.evaluation.result import Result

WIDTH, ROW, REST = 5.4, 0.6, 2.4
"""Inches: of the picture, of an agent's row, and of all that is not rows."""
MAX_JITTER = 0.28
"""How far points lie above and below the middle of their row, in rows."""


def draw_references(axes: Axes, result: Result, upright: bool = False) -> None:
    """Lines at the returns of the expert, of the dataset's mean and of a random policy, as far as they are known."""
    line = axes.axvline if upright else axes.axhline
    if result.expert_return is not None:
        line(result.expert_return, color=GREY, linestyle="-.", label="expert")
    line(result.dataset_return_mean, color=BLACK, linestyle="--", label="mean of the dataset")
    if result.random_return is not None:
        line(result.random_return, color=GREY, linestyle=":", label="random policy")


def draw_episodes(result: Result) -> Figure:
    """A row for each agent: every episode's return, in order of the seeds from top to bottom, and their mean."""
    agents = result.agents
    figure = new_figure(WIDTH, REST + ROW * len(agents))
    axes = figure.subplots()
    scored = next((row for row, agent in enumerate(agents) if agent.returns), 0)  # of a choice, one alone
    for row, agent in enumerate(agents):
        returns = np.asarray(agent.returns)
        first = row == scored
        axes.scatter(
            returns,
            row + offsets(len(returns)),
            s=26,
            color=BLUE,
            alpha=0.7,
            linewidths=0,
            label="an episode" if first else None,
        )
        mean = "mean of the agent" if first else None
        if agent.return_mean is None:
            continue
        axes.plot([agent.return_mean] * 2, [row - 0.4, row + 0.4], color=VERMILION, linewidth=2, label=mean)
    draw_references(axes, result, upright=True)
    axes.set_yticks(range(len(agents)), [named(row, agent.label) for row, agent in enumerate(agents)])
    axes.set_ylim(len(agents) - 0.5, -0.5)
    finish(axes, f"Every one of {result.episodes} scored episodes", "return", "")
    return figure


def named(row: int, label: str) -> str:
    """An agent's name, a line for each setting that it alone has."""
    return plain(f"agent {label or row}").replace(", ", "\n")


def offsets(count: int) -> NDArray[np.float64]:
    """Where the points of a row lie around its middle, the first on top: evenly, so that equal returns are all seen."""
    return np.linspace(-MAX_JITTER, MAX_JITTER, count) if count > 1 else np.zeros(count)
