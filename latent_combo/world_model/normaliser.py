"""The means and standard deviations of a dataset of vectors, in whose units a model of them works."""

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_STD = 1e-6
"""What varies less counts as constant, and is left in its own units."""


@dataclass(frozen=True)
class Normaliser:
    """Statistics of the training episodes' transitions."""

    observation_mean: Tensor
    """(S,)."""
    observation_std: Tensor
    """(S,); 1 for what never changes."""
    change_mean: Tensor
    """(S + 1,): of the change of the observation in a step, and of the reward."""
    change_std: Tensor
    """(S + 1,)."""

    @classmethod
    def of(cls, before: Tensor, after: Tensor, reward: Tensor) -> "Normaliser":
        """From M transitions: observations (M, S) before and after, and rewards (M,)."""
        change = torch.cat([after.double() - before.double(), reward.double()[:, None]], -1)
        figures = [f(x, 0).float() for x in (before.double(), change) for f in (torch.mean, _std)]
        return cls(*figures)


def _std(values: Tensor, dim: int) -> Tensor:
    std = values.std(dim, correction=0)
    return torch.where(std > LEAST_STD, std, 1.0)
