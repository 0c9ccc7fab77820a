"""A run's learning curves as one picture: whether the model learns, the values are sane, and the policy improves."""

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from latent_combo.run.errors import UserError
from latent_combo.views.style import finish, new_figure, to_png

Series = dict[tuple[str, str], list[tuple[int, float]]]
"""(phase, name) to (step, value) in order of time; series of a stack end in "/0", "/1" and so on."""


def read_series(path: Path) -> Series:
    """Read a run's `metrics.csv`. Raises UserError if there is none."""
    if not path.exists():
        raise UserError(f"{path.parent} has no metrics.csv; is it a run?")
    series: Series = defaultdict(list)
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            series[row["phase"], row["name"]].append((int(row["step"]), float(row["value"])))
    return series


def draw_curves(run: Path) -> bytes:
    """Draw what a run has logged so far, as PNG; panels without anything to show say so."""
    series = read_series(run / "metrics.csv")
    result = json.loads((run / "result.json").read_text()) if (run / "result.json").exists() else None
    figure = new_figure(13.0, 7.2)
    panels: Any = figure.subplots(2, 3)
    _model_loss(panels[0, 0], series)
    _open_loop(panels[0, 1], series)
    _returns(panels[0, 2], series, result)
    _values(panels[1, 0], series)
    _conservatism(panels[1, 1], series)
    _policy(panels[1, 2], series)
    return to_png(figure)


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
    _plot(axes, series, "world_model", "held_out_loss", "held-out episodes", marker="o", markersize=3)
    if ("world_model", "loss") in series:
        axes.set_yscale("log")
    finish(axes, "World model", "step", "weighted negative ELBO a step, nats")


def _open_loop(axes: Axes, series: Series) -> None:
    for name, label in (("open_loop", "model"), ("copy_last", "copy the last frame"), ("mean_image", "mean image")):
        points = sorted(
            (int(key.rsplit("_", 1)[1]), values[-1][1])
            for (phase, key), values in series.items()
            if phase == "open_loop" and key.startswith(f"{name}_psnr_")
        )
        if points:
            axes.plot([k for k, _ in points], [psnr for _, psnr in points], marker="o", label=label)
    finish(axes, "Open-loop prediction, held-out episodes", "steps ahead", "PSNR, dB")


def _returns(axes: Axes, series: Series, result: dict[str, Any] | None) -> None:
    agents = sorted(key for key in series if key[0] == "agent" and key[1].startswith("score/"))
    for index, key in enumerate(agents):
        points = series[key]
        (line,) = axes.plot([s for s, _ in points], [v for _, v in points], marker=".", label=f"agent {index}, looks")
        if result is not None:
            final = result["agents"][index]["return_mean"]
            axes.plot([points[-1][0] * 1.03], [final], marker="*", markersize=12, color=line.get_color())
    if result is not None and agents:
        axes.axhline(result["dataset_return_mean"], color="black", linestyle="--", label="mean of the dataset")
        axes.axhline(result["random_return"], color="grey", linestyle=":", label="random policy")
    finish(axes, "Return (stars: final score)", "update", "return")


def _values(axes: Axes, series: Series) -> None:
    for name, label in (
        ("q_data", "dataset"),
        ("held_out_q", "held-out pairs"),
        ("q_policy", "policy's actions"),
        ("q_model", "model's pairs"),
        ("q_uniform", "uniform actions"),
    ):
        _plot(axes, series, "agent", name, label)
    finish(axes, "Values Q(s, a)", "update", "discounted return")


def _conservatism(axes: Axes, series: Series) -> None:
    _plot(axes, series, "agent", "conservative_gap", "log-sum-exp Q - Q of the dataset")
    _plot(axes, series, "agent", "bellman", "Bellman error, half its square")
    finish(axes, "Critic's losses", "update", "")


def _policy(axes: Axes, series: Series) -> None:
    _plot(axes, series, "agent", "held_out_log_prob", "log pi of held-out actions")
    _plot(axes, series, "agent", "entropy", "entropy")
    finish(axes, "Policy", "update", "nats")
