"""What an update is fed: transitions and random numbers.

Symbols: S agents in a stack, B rows of a batch, N actions per state, F feature size, A action size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from latent_combo.agent.settings import AgentConfig


@dataclass(frozen=True)
class Batch:
    """Transitions for each agent of a stack; those of the dataset come first."""

    feature: Tensor
    """(S, B, F)."""
    action: Tensor
    """(S, B, A)."""
    reward: Tensor
    """(S, B); the discounted sum of n rewards in n-step targets."""
    next_feature: Tensor
    """(S, B, F): the state that the target continues from."""
    discount: Tensor
    """(S, B): gamma, gamma^n in n-step targets, 0 where the episode ended for good."""
    real: Tensor
    """(S, B) float32, 1 for rows of the dataset and 0 for rows of the model."""


@dataclass(frozen=True)
class Noise:
    """All random numbers of one update, so that an agent in a stack can be given those of the same agent alone."""

    uniform: Tensor
    """(S, B, N, A) uniform in [-1, 1]."""
    policy: Tensor
    """(S, B, N, A) standard normal, as are the others."""
    following: Tensor
    """(S, B, A)."""
    actor: Tensor
    """(S, B, A)."""
    softmax: Tensor
    """(S, B, 2k) uniform in [0, 1): the k `softmax_draws` of both critics."""

    @classmethod
    def draw(cls, stack: int, config: AgentConfig, action_dim: int, generator: torch.Generator) -> "Noise":
        """Draw for one update, on the generator's device."""
        many = (stack, config.batch, config.actions, action_dim)
        one = (stack, config.batch, action_dim)
        device = generator.device
        normal = torch.randn((*one[:2], config.actions + 2, action_dim), generator=generator, device=device)
        unit = torch.rand((*one[:2], 2 * config.softmax_draws), generator=generator, device=device)
        return cls(
            uniform=torch.empty(many, device=device).uniform_(-1.0, 1.0, generator=generator),
            policy=normal[:, :, :-2],
            following=normal[:, :, -2],
            actor=normal[:, :, -1],
            softmax=unit,
        )


def draw_by_weight(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """Indices (..., B) drawn by weight: from cumulative weights (..., R) and uniform numbers (..., B) in [0, 1)."""
    chosen = torch.searchsorted(cumulative, uniform * cumulative[..., -1:], right=True)
    return chosen.clamp(max=cumulative.shape[-1] - 1)
