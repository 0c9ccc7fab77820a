"""How well a model predicts: from a few observed rows on, without seeing, against two honest baselines."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latent_combo.world_model.base import Segment, WorldModel
from latent_combo.world_model.dream import dream
from latent_combo.world_model.gaussian import Gaussian, kl_divergence

HORIZONS = (1, 5, 15, 50)
"""Steps ahead; those that no held-out episode has room for are left out, and so are episodes shorter than the rest."""
PEAK = 255.0
"""Of an image."""


@dataclass(frozen=True)
class OpenLoop:
    """Prediction k steps after the last observed row; each field maps k to a mean over sequences."""

    open_loop_psnr: dict[int, float]
    """dB of the mean of the members' predictions; images have a peak of 1, vectors a standard deviation of 1."""
    copy_last_psnr: dict[int, float]
    """dB of repeating the last observed row."""
    mean_observation_psnr: dict[int, float]
    """dB of the mean observation of the training episodes."""
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


def decibels(prediction: Tensor, target: Tensor, scale: Tensor | float, dims: int) -> Tensor:
    """Signal-to-noise ratio in dB, of the mean square over the last `dims` dimensions in units of `scale`."""
    error = ((prediction.float() - target.float()) / scale).square().mean(tuple(range(-dims, 0)))
    return -10.0 * error.clamp(min=1e-10).log10()


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images (..., H, W, 3) in [0, 255], per image (...)."""
    return decibels(image, target, PEAK, dims=3)


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
) -> OpenLoop:
    """Measure a model on held-out segments of at least context + max(horizons) rows.

    `mean` is the training episodes' mean observation (...) and mean reward, and `scale` that in which errors of an
    observation are measured: the peak of images, the standard deviation of vectors.
    """
    if segment.action.shape[1] < context + max(horizons):
        raise ValueError(f"segments of {segment.action.shape[1]} rows are too short for {context} + {max(horizons)}")
    dreamed = dream(model, segment, context, generator)
    dims = segment.observation.dim() - 2
    mean_observation, mean_reward = mean
    last, last_reward = segment.observation[:, context - 1], segment.reward[:, context - 1]
    result = OpenLoop({}, {}, {}, {}, {}, {}, {})
    for k in horizons:
        t = context - 1 + k
        truth, reward = segment.observation[:, t], segment.reward[:, t]
        for figures, prediction in (
            (result.open_loop_psnr, dreamed.mean(model, t)),
            (result.copy_last_psnr, last),
            (result.mean_observation_psnr, mean_observation.expand_as(truth)),
        ):
            figures[k] = float(decibels(prediction, truth, scale, dims).mean())
        result.reward_mae[k] = float((dreamed.reward[:, :, k - 1].mean(0) - reward).abs().mean())
        result.copy_last_reward_mae[k] = float((last_reward - reward).abs().mean())
        result.mean_reward_mae[k] = float((mean_reward - reward).abs().mean())
        if dreamed.posterior is not None:
            seen = Gaussian(*(part[:, t] for part in dreamed.posterior))
            result.kl[k] = float(kl_divergence(seen, Gaussian(*(part[:, :, k - 1] for part in dreamed.prior))).mean())
    return result
