"""The counterfactual strip: what would have come of other actions, from one state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from latent_combo.diagnostics.style import (
    BLUE,
    GREEN,
    GREY,
    VERMILION,
    Frame,
    finish,
    fit,
    new_figure,
    widest,
    write,
)
from latent_combo.world_model.base import WorldModel

CELL = 96
LEFT = 150
RIGHT = 130
TOP = 30
GAP = 10
STEPS_SHOWN = (0, 1, 3, 5, 10, 15)
COLOURS = (BLUE, VERMILION, GREY, GREEN)


@dataclass(frozen=True)
class Counterfactual:
    """One path of T steps for each of N kinds of actions."""

    kinds: tuple[str, ...]
    start: NDArray[Any]
    """(...): what is seen at first."""
    predicted: NDArray[Any]
    """(N, T, ...): the ensemble's mean observation, in the dataset's units."""
    predicted_reward: NDArray[np.float32]
    """(N, T): the members' mean."""
    true: NDArray[Any] | None
    """(N, T, ...): what the simulator shows; None where it was not asked."""
    true_reward: NDArray[np.float32] | None
    """(N, T)."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every number, by name, to be saved."""
        return {name: np.asarray(value) for name, value in vars(self).items() if value is not None}


@torch.no_grad()
def counterfactual(
    model: WorldModel,
    feature: Tensor,
    start: Tensor,
    actions: Mapping[str, Tensor],
    true: tuple[NDArray[Any], NDArray[np.float32]] | None,
) -> Counterfactual:
    """Predict from one feature (F,), which shows `start` (...), under each kind of actions (T, A).

    `true` are the simulator's observations (N, T, ...) and rewards (N, T), if it was asked.
    """
    each = feature.expand(model.members, len(actions), -1)
    observations, rewards = [], []
    for now in torch.stack(list(actions.values())).unbind(1):
        step = model.predict_per_member(each, now)
        each = step.feature
        observations.append(model.decode(each.flatten(0, 1)).unflatten(0, each.shape[:2]).float().mean(0))
        rewards.append(step.reward.mean(0))
    predicted = torch.stack(observations, 1)
    if not start.is_floating_point():
        predicted = predicted.round().to(start.dtype)
    return Counterfactual(
        tuple(actions),
        start.cpu().numpy(),
        predicted.cpu().numpy(),
        torch.stack(rewards, 1).cpu().numpy(),
        *(true or (None, None)),
    )


def draw_counterfactual(strip: Counterfactual) -> Frame:
    """Draw images: a row of predictions for each kind of actions, the truth beneath, time from left to right."""
    length = strip.predicted.shape[1]
    shown = [k for k in STEPS_SHOWN if k <= length]
    both = strip.true is not None
    block = CELL * (2 if both else 1) + GAP
    canvas = np.full((TOP + block * len(strip.kinds), LEFT + CELL * len(shown) + RIGHT, 3), 255, np.uint8)
    for column, k in enumerate(shown):
        write(canvas, LEFT + column * CELL + 6, TOP // 2, f"{k} step{'s' if k > 1 else ''}" if k else "seen")
    write(canvas, LEFT + len(shown) * CELL + 10, TOP // 2, f"return of {length} steps")
    for index, kind in enumerate(strip.kinds):
        y = TOP + index * block
        rows = [("model", strip.predicted, strip.predicted_reward)]
        if strip.true is not None and strip.true_reward is not None:
            rows.append(("simulator", strip.true, strip.true_reward))
        write(canvas, 8, y + 16, f"{kind} actions")
        for below, (name, observed, reward) in enumerate(rows):
            top = y + below * CELL
            write(canvas, 24, top + CELL // 2, name)
            for column, k in enumerate(shown):
                x = LEFT + column * CELL
                picture = strip.start if k == 0 else observed[index, k - 1]
                canvas[top : top + CELL, x : x + CELL] = fit(picture, CELL)
            write(canvas, LEFT + len(shown) * CELL + 10, top + CELL // 2, f"{reward[index].sum():.1f}")
    return canvas


def draw_paths(strip: Counterfactual, names: tuple[str, ...] = ()) -> Figure:
    """Draw vectors: a panel for each of the numbers that vary most, a colour for each kind of actions."""
    shown = widest(strip.predicted, names)
    figure = new_figure(3.6 * len(shown), 3.6)
    steps = np.arange(strip.predicted.shape[1] + 1)
    for axes, (d, name) in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        for index, (kind, colour) in enumerate(zip(strip.kinds, COLOURS, strict=False)):
            axes.plot(steps, [strip.start[d], *strip.predicted[index, :, d]], color=colour, label=kind)
            if strip.true is not None:
                axes.plot(steps, [strip.start[d], *strip.true[index, :, d]], color=colour, linestyle=":")
        if strip.true is not None:
            axes.plot([], [], color=GREY, linestyle=":", label="dotted: in the simulator")
        axes.xaxis.get_major_locator().set_params(integer=True)
        finish(axes, name, "steps ahead", "in the task's own units")
    return figure
