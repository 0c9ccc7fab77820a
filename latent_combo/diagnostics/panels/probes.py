"""What features say of the simulator's state, by linear probes."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from latent_combo.diagnostics.style import BLUE, finish, new_figure

Floats = NDArray[np.float64]
RIDGE = 1e-3
"""Penalty, as a share of the number of rows, on the weights of standardised features."""


def probe(feature: Floats, target: Floats, held_out_feature: Floats, held_out_target: Floats) -> Floats:
    """R² (D,) on held-out rows of ridge regressions from features (N, F) to targets (N, D).

    1 is a perfect reading; 0 and below is no better than the mean.
    """
    mean, std = feature.mean(0), feature.std(0) + 1e-6
    x, held_out_x = (feature - mean) / std, (held_out_feature - mean) / std
    centre = target.mean(0)
    gram = x.T @ x + RIDGE * len(x) * np.eye(x.shape[1])
    predicted = held_out_x @ np.linalg.solve(gram, x.T @ (target - centre)) + centre
    residual = np.square(held_out_target - predicted).sum(0)
    total = np.square(held_out_target - held_out_target.mean(0)).sum(0)
    return np.asarray(1.0 - residual / np.maximum(total, 1e-12))


def real_vs_imagined_accuracy(
    real: Floats, imagined: Floats, held_out_real: Floats, held_out_imagined: Floats
) -> float:
    """Share of held-out rows that a linear probe of features and their squares puts on the right side.

    Takes features (N, F) that followed recorded transitions, and those that the model imagined in their place. 0.5 is
    chance, where they come from one distribution; near 1 the model's states can be told by themselves, and critics may
    be conservative about that instead of about actions.
    """

    def rows(one: Floats, other: Floats) -> tuple[Floats, Floats]:
        both = np.concatenate([one, other])
        sides = np.repeat([1.0, -1.0], [len(one), len(other)])[:, None]
        return np.concatenate([both, np.square(both)], 1), sides

    (x, side), (held_out_x, held_out_side) = rows(real, imagined), rows(held_out_real, held_out_imagined)
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, held_out_x = (x - mean) / std, (held_out_x - mean) / std
    weights = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ side)
    return float(((held_out_x @ weights) * held_out_side > 0.0).mean())


def probed_figures(
    state: Floats, names: tuple[str, ...], unbounded_angles: tuple[str, ...]
) -> tuple[Floats, tuple[str, ...]]:
    """What is read of states (N, D): the numbers of the given names, those of `unbounded_angles` by sine and cosine."""
    columns, labels = [], []
    for column, name in zip(state.T, names, strict=True):
        columns += [np.sin(column), np.cos(column)] if name in unbounded_angles else [column]
        labels += [f"{name}, sine", f"{name}, cosine"] if name in unbounded_angles else [name]
    return np.stack(columns, 1), tuple(labels)


def draw_probes(r_squared: Floats, names: tuple[str, ...]) -> Figure:
    """Draw R² (D,) as bars; what is below 0 is drawn as 0, and its figure written."""
    figure = new_figure(9.0, 0.9 + 0.26 * len(names))
    axes = figure.subplots()
    places = np.arange(len(names))
    axes.barh(places, r_squared.clip(0.0, 1.0), color=BLUE)
    for place, value in zip(places, r_squared, strict=True):
        axes.text(max(0.0, float(value)) + 0.01, float(place), f"{value:.2f}", va="center", fontsize=9)
    axes.set_yticks(places, names)
    axes.set_xlim(0.0, 1.1)
    axes.invert_yaxis()
    finish(axes, "What a linear probe reads from the features of held-out episodes", "R²", "")
    return figure
