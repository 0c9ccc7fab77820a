"""How well a recurrent model predicts: from a few observed frames on, without seeing, against two honest baselines."""

from dataclasses import dataclass

import torch
from torch import Tensor

from latent_combo.world_model.base import Segment
from latent_combo.world_model.recurrent import RecurrentWorldModel
from latent_combo.world_model.rssm import Gaussian, kl_divergence

HORIZONS = (1, 5, 15)


@dataclass(frozen=True)
class OpenLoop:
    """Prediction k steps after the last observed frame; each field maps k to a mean over sequences."""

    open_loop_psnr: dict[int, float]
    """dB, images in [0, 1]."""
    copy_last_psnr: dict[int, float]
    """dB of repeating the last observed frame."""
    mean_image_psnr: dict[int, float]
    """dB of the mean image of the training episodes."""
    reward_mae: dict[int, float]
    """Mean absolute error of the predicted reward of a step."""
    kl: dict[int, float]
    """Nats from the posterior, which sees the frame, to the open-loop prior, which doesn't."""


@torch.no_grad()
def dream(
    model: RecurrentWorldModel, segment: Segment, context: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, list[Gaussian], Gaussian]:
    """Filter `context` rows of a segment, then follow its actions without looking.

    The dream goes by the means of the priors of one member, drawn for each sequence: a prediction, not a sample.
    Returns the features of all rows, filtered (B, L, F) and open loop (B, L, F; the same for the first `context`
    rows), the priors of the L - context dreamed rows, (B, Z) each, and the posteriors (B, L, Z).
    """
    filtered, posterior = model.observe(segment.observation, segment.action, generator)
    batch, length = segment.action.shape[:2]
    device = filtered.device
    member = torch.randint(model.config.rssm.members, (batch,), device=device, generator=generator)
    rows = torch.arange(batch, device=device)
    feature = filtered[:, context - 1]
    dreamed, chosen = [], []
    still = torch.zeros(batch, model.config.rssm.stochastic, device=device)
    for t in range(context, length):
        feature, priors = model.rssm.advance(feature, segment.action[:, t], member, still)
        dreamed.append(feature)
        chosen.append(Gaussian(priors.mean[member, rows], priors.std[member, rows]))
    return filtered, torch.cat([filtered[:, :context], torch.stack(dreamed, 1)], 1), chosen, posterior


def psnr(image: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images (..., H, W, 3) in [0, 255], per image (...)."""
    error = ((image.float() - target.float()) / 255.0).square().mean((-3, -2, -1))
    return -10.0 * error.clamp(min=1e-10).log10()


@torch.no_grad()
def open_loop(
    model: RecurrentWorldModel,
    segment: Segment,
    mean_image: Tensor,
    context: int,
    generator: torch.Generator,
    horizons: tuple[int, ...] = HORIZONS,
) -> OpenLoop:
    """Measure a model on held-out segments of at least context + max(horizons) rows; `mean_image` is (H, W, 3)."""
    if segment.action.shape[1] < context + max(horizons):
        raise ValueError(f"segments of {segment.action.shape[1]} rows are too short for {context} + {max(horizons)}")
    _, feature, priors, posterior = dream(model, segment, context, generator)
    last = segment.observation[:, context - 1]
    result = OpenLoop({}, {}, {}, {}, {})
    for k in horizons:
        t = context - 1 + k
        truth = segment.observation[:, t]
        result.open_loop_psnr[k] = float(psnr(model.decode(feature[:, t]), truth).mean())
        result.copy_last_psnr[k] = float(psnr(last, truth).mean())
        result.mean_image_psnr[k] = float(psnr(mean_image.expand_as(truth), truth).mean())
        result.reward_mae[k] = float((model.reward(feature[:, t]) - segment.reward[:, t]).abs().mean())
        seen = Gaussian(posterior.mean[:, t], posterior.std[:, t])
        result.kl[k] = float(kl_divergence(seen, priors[k - 1]).mean())
    return result
