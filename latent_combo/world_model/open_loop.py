"""How well a recurrent model predicts: from a few observed frames on, without seeing, against two honest baselines."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from latent_combo.world_model.base import Segment
from latent_combo.world_model.recurrent import RecurrentWorldModel
from latent_combo.world_model.rssm import Gaussian, kl_divergence

HORIZONS = (1, 5, 15)


@dataclass(frozen=True)
class OpenLoop:
    """Prediction k steps after the last observed frame; each field maps k to a mean over sequences."""

    open_loop_psnr: dict[int, float]
    """dB, images in [0, 1], of the mean of the members' predictions."""
    copy_last_psnr: dict[int, float]
    """dB of repeating the last observed frame."""
    mean_image_psnr: dict[int, float]
    """dB of the mean image of the training episodes."""
    reward_mae: dict[int, float]
    """Mean absolute error of the members' mean prediction of a step's reward."""
    kl: dict[int, float]
    """Nats from the posterior, which sees the frame, to a member's open-loop prior, which doesn't."""


@dataclass(frozen=True)
class Dream:
    """Predictions of each of K members for B sequences of L rows, of which the first `context` were seen."""

    feature: Tensor
    """(K, B, L, F); the seen rows are filtered, the others follow the actions by the means of the member's priors."""
    prior: Gaussian
    """(K, B, L - context, Z), of the rows that were not seen."""
    posterior: Gaussian
    """(B, L, Z), of a filter that sees all rows."""

    def image(self, model: RecurrentWorldModel, t: int) -> Tensor:
        """The ensemble's prediction of row t: the mean of its members' images, (B, H, W, 3) float32 in [0, 255]."""
        members = len(self.feature)
        drawn = model.decode(rearrange(self.feature[:, :, t], "k b f -> (k b) f"))
        return rearrange(drawn, "(k b) h w c -> k b h w c", k=members).float().mean(0)


@torch.no_grad()
def dream(model: RecurrentWorldModel, segment: Segment, context: int, generator: torch.Generator) -> Dream:
    """Filter `context` rows of a segment, then let each member follow the segment's actions without looking."""
    filtered, posterior = model.observe(segment.observation, segment.action, generator)
    members, (batch, length) = model.config.rssm.members, segment.action.shape[:2]
    device = filtered.device
    member = torch.arange(members, device=device).repeat_interleave(batch)  # (K B,)
    rows = torch.arange(len(member), device=device)
    still = torch.zeros(len(member), model.config.rssm.stochastic, device=device)
    feature = filtered[:, context - 1].repeat(members, 1)
    features, priors = [], []
    for t in range(context, length):
        feature, prior = model.rssm.advance(feature, segment.action[:, t].repeat(members, 1), member, still)
        features.append(feature)
        priors.append(Gaussian(prior.mean[member, rows], prior.std[member, rows]))

    def per_member(parts: list[Tensor]) -> Tensor:
        return rearrange(torch.stack(parts, 1), "(k b) t f -> k b t f", k=members)

    seen = filtered[:, :context].expand(members, -1, -1, -1)
    return Dream(
        torch.cat([seen, per_member(features)], 2),
        Gaussian(per_member([p.mean for p in priors]), per_member([p.std for p in priors])),
        posterior,
    )


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
    dreamed = dream(model, segment, context, generator)
    last = segment.observation[:, context - 1]
    result = OpenLoop({}, {}, {}, {}, {})
    for k in horizons:
        t = context - 1 + k
        truth = segment.observation[:, t]
        result.open_loop_psnr[k] = float(psnr(dreamed.image(model, t), truth).mean())
        result.copy_last_psnr[k] = float(psnr(last, truth).mean())
        result.mean_image_psnr[k] = float(psnr(mean_image.expand_as(truth), truth).mean())
        reward = model.reward(dreamed.feature[:, :, t]).mean(0)
        result.reward_mae[k] = float((reward - segment.reward[:, t]).abs().mean())
        seen = Gaussian(dreamed.posterior.mean[:, t], dreamed.posterior.std[:, t])
        prior = Gaussian(dreamed.prior.mean[:, :, k - 1], dreamed.prior.std[:, :, k - 1])
        result.kl[k] = float(kl_divergence(seen, prior).mean())
    return result
