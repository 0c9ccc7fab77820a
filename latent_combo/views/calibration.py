"""Whether the ensemble's disagreement knows the model's error (the paper's Figure 2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from latent_combo.views.style import BLACK, BLUE, GREY, VERMILION, finish, new_figure
from latent_combo.world_model.base import WorldModel
from latent_combo.world_model.gaussian import Gaussian, log_prob
from latent_combo.world_model.open_loop import decibels

Floats = NDArray[np.float64]
STYLES = ((BLUE, "o"), (VERMILION, "s"), (GREY, "^"))
"""Colour and marker of each kind of actions."""
MEASURES = {"max_variance": "Max Var", "log_prob_std": "Std of log-likelihoods", "mean_std": "Std of means"}


@dataclass(frozen=True)
class Calibration:
    """N paths of k steps under one kind of actions."""

    max_variance: Floats
    """(N,): max over members of the Frobenius norm of the predicted covariance (MOPO's), its mean over the steps."""
    log_prob_std: Floats
    """(N,): standard deviation over members of the log-likelihood of a sampled next latent (LOMPO's), likewise."""
    mean_std: Floats
    """(N,): root mean square over dimensions of the standard deviation over members of their means, likewise."""
    error: Floats
    """(N,): root mean square error of the predicted observation after k steps, images in [0, 1]."""


@dataclass(frozen=True)
class Agreement:
    """How a measure and the error go together, over all points, both scaled to [0, 1]."""

    slope: float
    intercept: float
    r_squared: float
    """Of the linear fit: the squared correlation."""
    rank_correlation: float
    """Spearman's."""


@torch.no_grad()
def calibrate(
    model: WorldModel,
    feature: Tensor,
    action: Tensor,
    truth: Tensor,
    scale: Tensor | float,
    generator: torch.Generator,
) -> Calibration:
    """Imagine N paths from features (N, F) under actions (N, k, A), and compare with what came out.

    `truth` (N, ...) is the true observation after the k steps, `scale` the unit of its errors. Disagreement is measured
    along one sampled path, as rollouts go; the prediction is the mean of the members' own paths.
    """
    at = feature
    each = feature.expand(model.members, -1, -1)
    variances, likelihoods, means = [], [], []
    for now in action.unbind(1):
        prior = model.step_members(at.expand(model.members, -1, -1), now).prior
        variances.append(prior.std.square().norm(dim=-1).amax(0))
        member = torch.randint(model.members, (len(at),), generator=generator, device=at.device)
        rows = torch.arange(len(at), device=at.device)
        noise = torch.randn(prior.mean.shape[1:], generator=generator, device=at.device)
        drawn = Gaussian(prior.mean[member, rows], prior.std[member, rows]).sample(noise)
        likelihoods.append(log_prob(prior, drawn).std(0))
        means.append(prior.mean.var(0).mean(-1).sqrt())
        at = model.imagine_step(at, now, generator).feature
        each = model.step_members(each, now).feature
    predicted = model.decode(each.flatten(0, 1)).unflatten(0, each.shape[:2]).float().mean(0)
    error = 10.0 ** (-decibels(predicted, truth, scale, truth.dim() - 1) / 20.0)
    columns = (*(torch.stack(part).mean(0) for part in (variances, likelihoods, means)), error)
    return Calibration(*(column.double().cpu().numpy() for column in columns))


def agreement(measure: Floats, error: Floats) -> Agreement:
    """Regress scaled errors on a scaled measure (N,); a constant one has no correlation, and counts as 0."""
    x, y = _scaled(measure), _scaled(error)
    if np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return Agreement(0.0, float(y.mean()), 0.0, 0.0)
    line = stats.linregress(x, y)
    return Agreement(
        float(line.slope), float(line.intercept), float(line.rvalue) ** 2, float(stats.spearmanr(x, y).statistic)
    )


def agreements(points: Mapping[str, Calibration]) -> dict[str, Agreement]:
    """The agreement of each measure over the points of all kinds of actions together."""
    error = np.concatenate([p.error for p in points.values()])
    return {name: agreement(_all(points, name), error) for name in MEASURES}


def _all(points: Mapping[str, Calibration], name: str) -> Floats:
    columns: list[Floats] = [getattr(p, name) for p in points.values()]
    return np.concatenate(columns)


def _scaled(values: Floats) -> Floats:
    """To [0, 1]."""
    return np.asarray((values - values.min()) / max(float(np.ptp(values)), 1e-12))


def _range(values: Floats) -> str:
    return f"scaled from [{values.min():.3g}, {values.max():.3g}]"


def draw_calibration(points: Mapping[str, Calibration], steps: int) -> Figure:
    """Draw each measure against the error, a colour for each kind of actions."""
    figure = new_figure(14.0, 4.9)
    found = agreements(points)
    error = _range(_all(points, "error"))
    for axes, (name, title) in zip(figure.subplots(1, len(MEASURES)), MEASURES.items(), strict=True):
        _scatter(axes, points, name, found[name])
        ahead = f"{steps} step{'s' if steps > 1 else ''}"
        finish(axes, "", f"{title}, {_range(_all(points, name))}", f"true error after {ahead}, {error}", loc="best")
        figures = f"R² {found[name].r_squared:.2f}, rank correlation {found[name].rank_correlation:.2f}"
        axes.set_title(f"{title}\n{figures}")
    return figure


def _scatter(axes: Axes, points: Mapping[str, Calibration], name: str, found: Agreement) -> None:
    x, y = _scaled(_all(points, name)), _scaled(_all(points, "error"))
    ends = np.cumsum([len(p.error) for p in points.values()])
    for (kind, of_kind), end, (colour, marker) in zip(points.items(), ends, STYLES, strict=False):
        part = slice(end - len(of_kind.error), end)
        alone = agreement(x[part], y[part]).rank_correlation
        label = f"{kind} actions (rank {alone:.2f})"
        axes.scatter(x[part], y[part], s=12, marker=marker, color=colour, alpha=0.6, linewidths=0, label=label)
    ends_of_line = np.array([0.0, 1.0])
    axes.plot(ends_of_line, found.intercept + found.slope * ends_of_line, color=BLACK, label="linear fit")
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
