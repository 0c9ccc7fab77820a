"""How well a model predicts: from a few observed rows on, without seeing, against two honest baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from latent_combo.world_model.base import Segment, WorldModel
from latent_combo.world_model.dream import dream
from latent_combo.world_model.gaussian import Gaussian, kl_divergence

HORIZONS = (1, 5, 15, 50)
"""Steps ahead; those that no held-out episode has room for are left out, and so are episodes shorter than the rest."""
PEAK = 255.0
"""Of an image."""


Measure = Literal["psnr", "nrmse"]
MEASURES: Mapping[Measure, str] = {
    "psnr": "PSNR, dB (higher is better)",
    "nrmse": "normalised RMSE (lower is better)",
}
"""How errors of observations are measured: images by the peak signal-to-noise ratio, vectors by the root mean square
error in units of the standard deviations of their numbers, 0 for a perfect prediction, and 1 for about the mean's."""


VECTOR_FIGURES = ("vector_open_loop", "vector_copy_last", "vector_mean")


@dataclass(frozen=True)
class VectorUnits:
    """Statistics of the vectors beside the images of the training episodes."""

    mean: Tensor
    """(V,)."""
    std: Tensor
    """(V,); 1 for what never changes."""


@dataclass(frozen=True)
class OpenLoop:
    """Prediction k steps after the last observed row; each field but the first maps k to a figure over sequences."""

    measure: Measure
    """Of the next three: "psnr", a mean over images, or "nrmse", over all sequences and numbers of a vector."""
    open_loop: dict[int, float]
    """Of the mean of the members' predictions."""
    copy_last: dict[int, float]
    """Of repeating the last observed row."""
    mean_observation: dict[int, float]
    """Of the mean observation of the training episodes."""
    reward_mae: dict[int, float]
    """Mean absolute error of the members' mean prediction of a step's reward."""
    copy_last_reward_mae: dict[int, float]
    """The same of repeating the last observed reward."""
    mean_reward_mae: dict[int, float]
    """The same of the training episodes' mean reward."""
    kl: dict[int, float]
    """Nats from the posterior, which sees the row, to a member's prior at the end of its path of means, which doesn't:
    one path, and not the k-step marginal, so that it grows faster than that would. A model without posteriors has
    none."""
    vector_open_loop: dict[int, float] = field(default_factory=dict)
    """The normalised RMSE of the members' mean prediction of the vectors beside images; empty without such, as are the
    next two."""
    vector_copy_last: dict[int, float] = field(default_factory=dict)
    """The same of repeating the last observed vector."""
    vector_mean: dict[int, float] = field(default_factory=dict)
    """The same of the mean vector of the training episodes."""

    def figures(self) -> dict[str, dict[int, float]]:
        """All figures by their names, for logs and results, such as `open_loop_psnr` or `vector_open_loop_nrmse`."""
        measures = dict.fromkeys(("open_loop", "copy_last", "mean_observation"), self.measure)
        measures |= dict.fromkeys(VECTOR_FIGURES, "nrmse")
        left_out = ("measure", *(() if self.vector_open_loop else VECTOR_FIGURES))
        return {
            f"{name}_{measures[name]}" if name in measures else name: values
            for name, values in vars(self).items()
            if name not in left_out
        }


def mean_square(prediction: Tensor, target: Tensor, scale: Tensor | float, dims: int) -> Tensor:
    """Mean square error over the last `dims` dimensions, in units of the square of `scale`."""
    return ((prediction.float() - target.float()) / scale).square().mean(tuple(range(-dims, 0)))


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images (..., H, W, 3) in [0, 255], per image (...)."""
    return -10.0 * mean_square(image, target, PEAK, dims=3).clamp(min=1e-10).log10()


def nrmse(vector: Tensor, target: Tensor, scale: Tensor | float) -> Tensor:
    """Root mean square error of vectors (..., S), each number in units of `scale` (S,), over all of them: ()."""
    return mean_square(vector, target, scale, dims=vector.dim()).sqrt()


def horizons_within(rows: int, context: int) -> tuple[int, ...]:
    """Those HORIZONS that segments of this many rows have room for."""
    return tuple(k for k in HORIZONS if context + k <= rows)


@torch.no_grad()
def open_loop(
    model: WorldModel,
    segment: Segment,
    mean: tuple[Tensor, float],
    context: int,
    generator: torch.Generator,
    horizons: Sequence[int] = HORIZONS,
    scale: Tensor | float = PEAK,
    vectors: VectorUnits | None = None,
) -> OpenLoop:
    """Measure a model on held-out segments of at least context + max(horizons) rows.

    `mean` is the training episodes' mean observation (...) and mean reward, and `scale` the standard deviations (S,) of
    vectors; images are measured by their peak. `vectors` are the units of the vectors beside the images, if any.
    """
    if segment.action.shape[1] < context + max(horizons):
        raise ValueError(f"segments of {segment.action.shape[1]} rows are too short for {context} + {max(horizons)}")
    dreamed = dream(model, segment, context, generator)
    images = segment.observation.dim() == 5
    mean_observation, mean_reward = mean
    last, last_reward = segment.observation[:, context - 1], segment.reward[:, context - 1]
    result = OpenLoop("psnr" if images else "nrmse", {}, {}, {}, {}, {}, {}, {})
    for k in horizons:
        t = context - 1 + k
        truth, reward = segment.observation[:, t], segment.reward[:, t]
        for figures, prediction in (
            (result.open_loop, dreamed.mean(model, t)),
            (result.copy_last, last),
            (result.mean_observation, mean_observation.expand_as(truth)),
        ):
            figures[k] = float(psnr(prediction, truth).mean() if images else nrmse(prediction, truth, scale))
        if vectors is not None and segment.vector is not None:
            expected = dreamed.mean_vector(model, t)
            assert expected is not None, "a model of vectors predicts them"
            true = segment.vector[:, t]
            result.vector_open_loop[k] = float(nrmse(expected, true, vectors.std))
            result.vector_copy_last[k] = float(nrmse(segment.vector[:, context - 1], true, vectors.std))
            result.vector_mean[k] = float(nrmse(vectors.mean.expand_as(true), true, vectors.std))
        result.reward_mae[k] = float((dreamed.reward[:, :, k - 1].mean(0) - reward).abs().mean())
        result.copy_last_reward_mae[k] = float((last_reward - reward).abs().mean())
        result.mean_reward_mae[k] = float((mean_reward - reward).abs().mean())
        if dreamed.posterior is not None:
            seen = Gaussian(*(part[:, t] for part in dreamed.posterior))
            result.kl[k] = float(kl_divergence(seen, Gaussian(*(part[:, :, k - 1] for part in dreamed.prior))).mean())
    return result
