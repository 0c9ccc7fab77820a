"""Diagonal Gaussians over latents, or over whatever else a model predicts."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """A diagonal Gaussian; both fields have the same shape (..., Z)."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Move standard normal `noise` to this distribution."""
        return self.mean + self.std * noise


def kl_per_dimension(q: Gaussian, p: Gaussian) -> Tensor:
    """KL(q || p) in nats of each dimension on its own, (..., Z)."""
    ratio = q.std / p.std
    distance = (q.mean - p.mean) / p.std
    return 0.5 * (ratio.square() + distance.square() - 1.0 - 2.0 * ratio.log())


def kl_divergence(q: Gaussian, p: Gaussian) -> Tensor:
    """KL(q || p) in nats, summed over the last dimension: (..., Z) to (...)."""
    return kl_per_dimension(q, p).sum(-1)


def half_squared_distance(mean: Tensor, target: Tensor) -> Tensor:
    """Negative log-density of unit-variance Gaussians, less its constant: half the squared distance, of (N, ...), (N,).

    No gradient flows into the target. Images are large: this passes over them three times, and what autograd makes of
    the formula six times.
    """
    apply: Callable[..., Tensor] = _HalfSquaredDistance.apply
    return apply(mean, target)


class _HalfSquaredDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, target: Tensor) -> Tensor:
        difference = mean - target
        ctx.save_for_backward(difference)
        ctx.dtype = mean.dtype
        norms: Tensor = torch.linalg.vector_norm(difference, dim=tuple(range(1, difference.dim())))
        return 0.5 * norms.square()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        scale = gradients[0].view(-1, *[1] * (difference.dim() - 1))
        return (difference * scale).to(ctx.dtype), None


def log_prob(p: Gaussian, z: Tensor) -> Tensor:
    """Log-density of `z` under `p`, summed over the last dimension."""
    return -0.5 * (((z - p.mean) / p.std).square() + 2.0 * p.std.log() + math.log(2.0 * math.pi)).sum(-1)
