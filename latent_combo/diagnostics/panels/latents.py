"""Which dimensions of the latent carry anything: their KL over training."""

import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from latent_combo.diagnostics.style import BLACK, finish, new_figure
from latent_combo.world_model.base import Segment, WorldModel
from latent_combo.world_model.gaussian import Gaussian, kl_per_dimension

ACTIVE_KL = 0.01
"""Nats from which a dimension counts as active."""
DARKEST_KL = 1e-3
"""Nats at the dark end of the map."""
Floats = NDArray[np.float32]


@torch.no_grad()
def latent_kl(model: WorldModel, segment: Segment) -> Floats | None:
    """Mean KL (Z,) in nats of the posterior to the one-step priors, over rows and members.

    None for a model without posteriors.
    """
    filtered, posterior = model.observe(segment.observation, segment.action, None, segment.vector)
    if posterior is None:
        return None
    before, action = filtered[:, :-1].flatten(0, 1), segment.action[:, 1:].flatten(0, 1)
    prior = model.member_priors(before, action)
    seen = Gaussian(*(part[:, 1:].flatten(0, 1) for part in posterior))
    return np.asarray(kl_per_dimension(seen, prior).mean((0, 1)).cpu().numpy())


def draw_latent_kl(steps: list[int], kl: Floats) -> Figure:
    """Draw KL (n, Z) at n training steps as a heat map, dimensions in the order of the last, and the active ones."""
    figure = new_figure(9.0, 4.6)
    heat, count = figure.subplots(1, 2, width_ratios=(3, 2))
    order = np.argsort(-kl[-1])
    edges = np.concatenate([[0], steps])
    shown = heat.pcolormesh(
        edges,
        np.arange(kl.shape[1] + 1),
        kl[:, order].T.clip(DARKEST_KL),
        norm=LogNorm(DARKEST_KL, max(float(kl.max()), 1e-2)),
        cmap="viridis",
    )
    heat.invert_yaxis()
    bar = figure.colorbar(shown, ax=heat, label="KL, nats (line: active)")
    bar.ax.axhline(ACTIVE_KL, color=BLACK, linewidth=1.5)
    finish(heat, "KL of each dimension", "training step of the model", "dimension, largest KL first")
    heat.grid(visible=False)
    active = (kl > ACTIVE_KL).sum(1)
    count.plot(steps, active, color=BLACK, marker="o", markersize=4)
    count.annotate(
        f"{active[-1]} of {kl.shape[1]}", (steps[-1], active[-1]), (-6, 8), textcoords="offset points", ha="right"
    )
    count.set_ylim(0, kl.shape[1] * 1.08)
    finish(count, f"Active units (KL above {ACTIVE_KL} nats)", "training step of the model", "dimensions")
    return figure
