"""Whether the ensemble's disagreement knows the model's error (the paper's Figure 2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from latent_combo.diagnostics.style import BLACK, BLUE, GREY, VERMILION, finish, new_figure
from latent_combo.world_model.base import WorldModel
from latent_combo.world_model.gaussian import Gaussian, log_prob
from latent_combo.world_model.open_loop import mean_square

Floats = NDArray[np.float64]
STYLES = ((BLUE, "o"), (VERMILION, "s"), (GREY, "^"))
"""Colour and marker of each kind of actions."""
ERRORS = {"observation_error": "error of the observation", "latent_error": "error of the latent"}
SAME_ERROR_R2 = 0.999
"""Share of variance from which on two errors are one in different units."""
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
    observation_error: Floats
    """(N,): root mean square error of the predicted observation after k steps, images in [0, 1]; what the decoder can't
    draw is part of it."""
    latent_error: Floats
    """(N,): root mean square distance between the mean predicted feature and that of a filter that saw the k steps."""


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
    vectors: Tensor | None = None,
) -> Calibration:
    """Imagine N paths from features (N, F) under actions (N, k, A), and compare with what came out.

    `truth` (N, k, ...) are the true observations on the way, `scale` the unit of their errors, and `vectors` (N, k, V)
    what was seen beside images, if anything. Disagreement is measured
    along one sampled path, as rollouts go, at each of its states with a sample of the next latent of its own; the
    prediction is the mean of the members' own paths. The filter takes means.
    """
    at = seen = feature
    each = feature.expand(model.members, -1, -1)
    variances, likelihoods, means = [], [], []
    for step, (now, observation) in enumerate(zip(action.unbind(1), truth.unbind(1), strict=True)):
        prior = model.member_priors(at, now)
        variances.append(prior.std.square().norm(dim=-1).amax(0))
        member = torch.randint(model.members, (len(at),), generator=generator, device=at.device)
        rows = torch.arange(len(at), device=at.device)
        noise = torch.randn(prior.mean.shape[1:], generator=generator, device=at.device)
        drawn = Gaussian(prior.mean[member, rows], prior.std[member, rows]).sample(noise)
        likelihoods.append(log_prob(prior, drawn).std(0))
        means.append(prior.mean.var(0).mean(-1).sqrt())
        at = model.imagine_step(at, now, generator).feature
        each = model.predict_per_member(each, now).feature
        seen = model.filter_step(seen, observation, now, None, None if vectors is None else vectors[:, step])
    predicted = model.decode(each.flatten(0, 1)).unflatten(0, each.shape[:2]).float().mean(0)
    observation_error = mean_square(predicted, truth[:, -1], scale, truth.dim() - 2).sqrt()
    latent_error = (each.mean(0) - seen).square().mean(-1).sqrt()
    disagreements = (torch.stack(part).mean(0) for part in (variances, likelihoods, means))
    columns = (*disagreements, observation_error, latent_error)
    return Calibration(*(column.double().cpu().numpy() for column in columns))


def agreement(measure: Floats, error: Floats) -> Agreement:
    """Regress scaled errors on a scaled measure (N,); a constant one has no correlation, and counts as 0."""
    x, y = _scaled(measure), _scaled(error)
    if np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return Agreement(0.0, float(y.mean()), 0.0, 0.0)
    correlation = _correlation(x, y)
    slope = correlation * float(y.std() / x.std())
    return Agreement(slope, float(y.mean() - slope * x.mean()), correlation**2, _correlation(ranks(x), ranks(y)))


def ranks(values: Floats) -> Floats:
    """Ranks (N,) from 1 on; equal values share the mean of theirs."""
    _, of, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((count.cumsum() - (count - 1) / 2.0)[of])


def _correlation(x: Floats, y: Floats) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def correlations(points: Mapping[str, Calibration]) -> dict[str, float]:
    """How each measure agrees with each error: R² and rank over all points, and the rank within each kind."""
    figures: dict[str, float] = {}
    for error in ERRORS:
        for measure in MEASURES:
            found = agreement(_all(points, measure), _all(points, error))
            name = f"{measure}_{error}"
            figures |= {f"{name}_r_squared": found.r_squared, f"{name}_rank": found.rank_correlation}
            for kind, alone in points.items():
                within = agreement(getattr(alone, measure), getattr(alone, error))
                figures[f"{name}_rank_{kind}"] = within.rank_correlation
    return figures


def _all(points: Mapping[str, Calibration], name: str) -> Floats:
    columns: list[Floats] = [getattr(p, name) for p in points.values()]
    return np.concatenate(columns)


def _scaled(values: Floats) -> Floats:
    """To [0, 1]."""
    return np.asarray((values - values.min()) / max(float(np.ptp(values)), 1e-12))


def _range(values: Floats) -> str:
    return f"scaled from [{values.min():.3g}, {values.max():.3g}]"


def errors_apart(points: Mapping[str, Calibration]) -> dict[str, str]:
    """The ERRORS that say different things: a latent that is the observation itself has but one."""
    observation, latent = _all(points, "observation_error"), _all(points, "latent_error")
    same = agreement(observation, latent).r_squared > SAME_ERROR_R2
    return {name: title for name, title in ERRORS.items() if not (same and name == "latent_error")}


def draw_calibration(points: Mapping[str, Calibration], steps: int, source: str) -> Figure:
    """Draw each measure (columns) against each error (rows), a colour and marker for each kind of actions.

    `source` says which states the paths start from.
    """
    errors = errors_apart(points)
    figure = new_figure(14.0, 4.8 * len(errors))
    figure.suptitle(f"{steps} step{'s' if steps > 1 else ''} ahead, from {source}", fontsize=11)
    panels = figure.subplots(len(errors), len(MEASURES), squeeze=False)
    for row, (error, error_title) in zip(panels, errors.items(), strict=True):
        for axes, (measure, title) in zip(row, MEASURES.items(), strict=True):
            x, y = _all(points, measure), _all(points, error)
            found = agreement(x, y)
            _scatter(axes, points, measure, error, found)
            finish(axes, "", f"{title}, {_range(x)}", f"{error_title}, {_range(y)}")
            axes.set_title(f"{title}\nR² {found.r_squared:.2f}, rank correlation {found.rank_correlation:.2f}")
    return figure


def _scatter(axes: Axes, points: Mapping[str, Calibration], measure: str, error: str, found: Agreement) -> None:
    x, y = _scaled(_all(points, measure)), _scaled(_all(points, error))
    ends = np.cumsum([len(getattr(p, error)) for p in points.values()])
    for (kind, of_kind), end, (colour, marker) in zip(points.items(), ends, STYLES, strict=False):
        part = slice(end - len(getattr(of_kind, error)), end)
        label = f"{kind} actions (rank {agreement(x[part], y[part]).rank_correlation:.2f})"
        axes.scatter(x[part], y[part], s=12, marker=marker, color=colour, alpha=0.6, linewidths=0, label=label)
    ends_of_line = np.array([0.0, 1.0])
    axes.plot(ends_of_line, found.intercept + found.slope * ends_of_line, color=BLACK, label="linear fit")
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-0.03, 1.03)
