"""A run's learning curves as one picture: whether the model learns, the values are sane, and the policy improves."""

import csv
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from combo_common.errors import UserError
from latent_combo.agent.algorithms import has_world_model
from latent_combo.diagnostics.episodes import draw_references
from latent_combo.diagnostics.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    SKY,
    VERMILION,
    Frame,
    finish,
    new_figure,
    plain,
    to_frame,
    to_png,
)
from latent_combo.evaluation.result import Result
from latent_combo.runtime.renamed import metric_now
from latent_combo.runtime.run_folder import HEADER, METRICS, SETTINGS
from latent_combo.runtime.settings_file import read_settings
from latent_combo.world_model.open_loop import MEASURES, Measure

CURVES = "curves.png"
PANEL = (5.4, 4.8)
"""Inches of a panel: on a phone's 360 pixels its text is still read."""
MOST_STEPS, MOST_LETTERS = 1 << 40, 200
Panels = list[Frame]
"""Pictures (H, W, 3) of one size; the one of returns comes first."""
Series = dict[tuple[str, str], list[tuple[int, float]]]
"""(phase, name) to (step, value) in order of time; series of a stack end in "/0", "/1" and so on."""


def read_series(path: Path) -> Series:
    """Read a run's `metrics.csv`, metrics by their names of now; a last line that was cut short is left out.

    Raises UserError if there is none, or naming the line that is damaged.
    """
    if not path.exists():
        raise UserError(f"{path.parent} has no metrics.csv; is it a run?")
    series: Series = defaultdict(list)
    number = 0
    try:
        whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        for number, row in enumerate(csv.reader(whole), start=1):
            if number == 1 and tuple(row) == HEADER:
                continue
            phase, step, name, value = row
            if not 0 <= int(step) <= MOST_STEPS or any(len(word) > MOST_LETTERS for word in row):
                raise ValueError("no step")
            if phase == "agent" and name.startswith("score/"):
                int(name.removeprefix("score/"))  # the agent's number
            series[phase, metric_now(name)].append((int(step), float(value)))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}, line {number or 1} is not {','.join(HEADER)}; remove that line") from error
    return series


def draw_curves(run: Path) -> Panels:
    """Draw what a run has logged so far; panels without anything to show say so, and without a model it has none.

    A result that can't be read is left out. Raises UserError where the log is missing or damaged.
    """
    series = read_series(run / METRICS)
    try:
        result = Result.read(run)
    except UserError:
        result = None
    of_agent, of_model = (_values, _conservatism, _policy), (_model_loss, _open_loop)
    shown = (*of_agent, *of_model) if has_model(run) else of_agent
    return [
        _panel(lambda axes: _returns(axes, series, result)),
        *(_panel(partial(draw, series=series)) for draw in shown),
    ]


def has_model(run: Path) -> bool:
    """Whether a run's algorithm has a world model; taken to be so where its settings can't be read."""
    try:
        return has_world_model(str(read_settings(run / SETTINGS).get("algorithm")))
    except UserError:
        return True


def joined(panels: Panels) -> bytes:
    """All panels in one PNG, one below the other: as wide as one, so that a phone shows them legibly."""
    return to_png(np.concatenate(panels))


def _panel(draw: Callable[[Axes], None]) -> Frame:
    figure = new_figure(*PANEL)
    draw(figure.subplots())
    return to_frame(figure)


def _plot(axes: Axes, series: Series, phase: str, name: str, label: str, **style: Any) -> None:
    """Plot one series; the mean and the range over the agents of a stack."""
    members = [values for (of, key), values in series.items() if of == phase and key.rpartition("/")[0] == name]
    members = members or ([series[phase, name]] if (phase, name) in series else [])
    if not members:
        return
    steps = [step for step, _ in members[0]]
    columns = list(zip(*([value for _, value in member] for member in members), strict=False))
    (line,) = axes.plot(steps[: len(columns)], [sum(c) / len(c) for c in columns], label=label, **style)
    if len(members) > 1:
        low, high = [min(c) for c in columns], [max(c) for c in columns]
        axes.fill_between(steps[: len(columns)], low, high, color=line.get_color(), alpha=0.2, linewidth=0)


def _model_loss(axes: Axes, series: Series) -> None:
    _plot(axes, series, "world_model", "loss", "training")
    _plot(axes, series, "world_model", "validation_loss", "held-out episodes", marker="o", markersize=3)
    losses = [value for name in ("loss", "validation_loss") for _, value in series.get(("world_model", name), [])]
    if losses and min(losses) > 0.0:  # densities of states are above 1 where the model is sure of them
        axes.set_yscale("log")
    elsewhere = any(phase == "agent" for phase, _ in series)
    empty = "fitted in another run" if elsewhere else "nothing logged yet"
    finish(axes, "World model", "step", "loss of a step", empty)


def _open_loop(axes: Axes, series: Series) -> None:
    logged = {key for phase, key in series if phase == "open_loop"}
    of_states = any(key.startswith("open_loop_nrmse_") for key in logged)  # older logs of states have PSNR, too
    measure: Measure = "nrmse" if of_states else "psnr"
    for name, label, colour in (
        ("open_loop", "model", BLUE),
        ("copy_last", "copy the last observation", ORANGE),
        ("mean_observation", "mean observation", GREY),
    ):
        points = sorted(
            (int(ahead), series["open_loop", key][-1][1])
            for key in logged
            if (ahead := key.removeprefix(f"{name}_{measure}_")) != key and ahead.isascii() and ahead.isdigit()
        )
        if points:
            axes.plot([k for k, _ in points], [error for _, error in points], marker="o", label=label, color=colour)
    finish(axes, "Open-loop prediction, held-out episodes", "steps ahead", MEASURES[measure])


def _returns(axes: Axes, series: Series, result: Result | None) -> None:
    scores = [key for key in series if key[0] == "agent" and key[1].startswith("score/")]
    keys = sorted(scores, key=lambda key: int(key[1].rpartition("/")[2]))
    agents = [] if result is None else result.agents
    scored = next((index for index, agent in enumerate(agents) if agent.return_mean is not None), None)
    for index, key in enumerate(keys):
        points, own = series[key], agents[index] if index < len(agents) else None
        label = plain(f"agent {own.label if own and own.label else index}: interim")
        (line,) = axes.plot([s for s, _ in points], [v for _, v in points], marker=".", label=label)
        if own is not None and own.return_mean is not None:
            label = f"final score, {len(own.returns)} episodes" if index == scored else ""
            star: Any = {"marker": "*", "markersize": 12, "linestyle": ""}
            axes.plot([points[-1][0] * 1.03], [own.return_mean], color=line.get_color(), label=label or None, **star)
    if result is not None and keys:
        draw_references(axes, result)
    empty = "nothing logged yet"
    if result is not None:
        empty = "no interim evaluations" if result.episodes else "no episode was played"
    finish(axes, "Return", "update", "return", empty)


def _values(axes: Axes, series: Series) -> None:
    for name, label, colour, line in (
        ("q_data", "dataset", BLUE, "-"),
        ("validation_q", "held-out pairs", SKY, "--"),
        ("validation_q_complete", "held-out pairs of complete returns", ORANGE, "--"),
        ("validation_return_complete", "those returns, of the behaviour", ORANGE, ":"),
        ("q_policy", "policy's actions", BLACK, "-"),
        ("q_model", "model's pairs", VERMILION, "-."),
        ("q_uniform", "uniform actions", GREY, ":"),
    ):
        _plot(axes, series, "agent", name, label, color=colour, linestyle=line)
    finish(axes, "Values Q(s, a)", "update", "discounted return")


def _conservatism(axes: Axes, series: Series) -> None:
    _plot(axes, series, "agent", "conservative_gap", "log-sum-exp Q - Q of the data")
    _plot(axes, series, "agent", "regulariser", "Q of the policy under rho - Q of the data")
    _plot(axes, series, "agent", "validation_gain", "Q of the mode - of the action, held out")
    _plot(axes, series, "agent", "bellman", "Bellman error, half its square")
    axes.set_yscale("symlog", linthresh=10.0)  # Bellman errors are squares
    finish(axes, "Critic's losses", "update", "in units of Q, and of its square")


def _policy(axes: Axes, series: Series) -> None:
    _plot(axes, series, "agent", "squared_distance", "|mode - action|^2 on the dataset")
    label = "the same of the policy that acts, held-out pairs"
    _plot(axes, series, "agent", "validation_squared_distance", label, linestyle="--")
    _plot(axes, series, "agent", "entropy", "entropy")
    finish(axes, "Policy", "update", "squared actions, and nats")
