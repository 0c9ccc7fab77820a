"""The members' dreams: what each forward model makes of one state and one sequence of actions, side by side."""

from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from latent_combo.diagnostics.style import (
    BLACK,
    DREAMING,
    Frame,
    Frames,
    finish,
    fit,
    framed,
    new_figure,
    widest,
    write,
)
from latent_combo.world_model.base import Segment, WorldModel
from latent_combo.world_model.dream import dream

CELL = 96
BORDER = 3
LEFT = 104
TOP = 30
STEPS_SHOWN = (1, 5, 15, 40)
"""Steps ahead that stand still beneath the moving row."""


@dataclass(frozen=True)
class Dreams:
    """T rows that were not seen."""

    members: NDArray[Any]
    """(K, T, ...): each member's observation, in the dataset's units."""
    truth: NDArray[Any]
    """(T, ...)."""
    std: NDArray[np.float32]
    """(T, ...): standard deviation over the members, of images the root of the channels' mean variance, (T, H, W)."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every number, by name, to be saved."""
        return dict(vars(self))


@torch.no_grad()
def dream_apart(model: WorldModel, segment: Segment, context: int) -> Dreams:
    """Follow the first sequence of a segment with every member on its own."""
    one = segment.first(1)
    dreamed = dream(model, one, context, None)
    length = one.action.shape[1]
    members = torch.stack([dreamed.members(model, t)[:, 0] for t in range(context, length)], 1)
    variance = members.float().var(0)
    std = (variance.mean(-1) if variance.dim() == 4 else variance).sqrt()
    return Dreams(members.cpu().numpy(), one.observation[0, context:].cpu().numpy(), std.cpu().numpy())


def dreams_clip(dreams: Dreams) -> Frames:
    """Draw images: truth, members and their standard deviation as columns; the upper row moves. (T, H, W, 3)."""
    members, length = len(dreams.members), len(dreams.truth)
    peak = max(float(dreams.std.max()), 1e-6)
    heat = (matplotlib.colormaps["inferno"](dreams.std / peak)[..., :3] * 255).astype(np.uint8)
    columns = [dreams.truth, *dreams.members, heat]
    names = ["truth", *(f"member {k + 1}" for k in range(members)), f"std, max {peak / 255:.2f}"]
    side, shown = CELL + 2 * BORDER, [k for k in STEPS_SHOWN if k <= length]
    still = np.full((TOP + (1 + len(shown)) * side + 4, LEFT + len(columns) * side + 4, 3), 255, np.uint8)
    for column, name in enumerate(names):
        write(still, LEFT + column * side + 6, TOP // 2, name)
    for row, k in enumerate(shown, start=1):
        write(still, 8, TOP + row * side + side // 2, f"{k} step{'s' if k > 1 else ''}")
        _row(still, TOP + row * side, [pictures[k - 1] for pictures in columns], (255, 255, 255))
    clip = np.repeat(still[None], length, 0)
    for t, frame in enumerate(clip):
        write(frame, 8, TOP + side // 2, f"{t + 1} steps on")
        _row(frame, TOP, [pictures[t] for pictures in columns], DREAMING)
    return clip


def _row(canvas: Frame, y: int, pictures: list[Frame], colour: tuple[int, int, int]) -> None:
    side = CELL + 2 * BORDER
    for column, picture in enumerate(pictures):
        x = LEFT + column * side
        canvas[y : y + side, x : x + side] = framed(fit(picture, CELL), colour, BORDER)


def draw_dreams(dreams: Dreams, names: tuple[str, ...] = ()) -> Figure:
    """Draw vectors: a panel for each of the numbers that vary most, a line for each member."""
    shown = widest(dreams.truth, names)
    figure = new_figure(3.4 * len(shown), 3.4)
    for axes, (d, name) in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        steps = np.arange(1, len(dreams.truth) + 1)
        for k, member in enumerate(dreams.members):
            axes.plot(steps, member[:, d], color=f"C{k}", linewidth=1.0, label=f"member {k + 1}")
        axes.plot(steps, dreams.truth[:, d], color=BLACK, linestyle="--", label="truth")
        finish(axes, name, "steps ahead", "in the task's own units")
    return figure
