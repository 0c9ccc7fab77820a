"""Diagonal Gaussians over latents, or over whatever else a model predicts."""

import math
from typing import NamedTuple

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


def log_prob(p: Gaussian, z: Tensor) -> Tensor:
    """Log-density of `z` under `p`, summed over the last dimension."""
    return -0.5 * (((z - p.mean) / p.std).square() + 2.0 * p.std.log() + math.log(2.0 * math.pi)).sum(-1)
