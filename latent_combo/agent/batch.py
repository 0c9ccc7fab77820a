"""What an update is fed: transitions and random numbers.

Symbols (docs/symbols.md): S, B, N, F, A.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Transitions(NamedTuple):
    """Transitions of any leading shape (...), from the dataset or from the model."""

    feature: Tensor
    """(..., F)."""
    action: Tensor
    """(..., A)."""
    reward: Tensor
    """(...); the discounted sum of n rewards in n-step targets."""
    next_feature: Tensor
    """(..., F): the state that the target continues from."""
    discount: Tensor
    """(...): gamma, gamma^n in n-step targets, 0 where the episode ended for good."""


@dataclass(frozen=True)
class Batch:
    """Transitions for each agent of a stack; those of the dataset come first."""

    feature: Tensor
    """(S, B, F); before it is encoded, what is seen (S, B, ...)."""
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
    next_action: Tensor | None = None
    """(S, B, A): what the behaviour did in the next state; None where nothing asks for it."""
    has_next_action: Tensor | None = None
    """(S, B) float32, 1 where there is such an action: its episode goes on, and the row is the dataset's."""

    def with_targets(self, target: Tensor, rows: Tensor) -> "Batch":
        """The same with targets (S, B) of its own in some rows, (S, B) of 1 and 0: rewards that nothing follows."""
        reward = torch.where(rows > 0.0, target, self.reward)
        return replace(self, reward=reward, discount=self.discount * (1.0 - rows))

    @classmethod
    def of(cls, transitions: Transitions, real: Tensor) -> "Batch":
        """Transitions (S, B) and which of them are the dataset's, `real` (S, B)."""
        return cls(*transitions, real)

    def fixed(self) -> "Batch":
        """The same with features that no gradient goes through."""
        return replace(self, feature=self.feature.detach(), next_feature=self.next_feature.detach())


class NoiseSizes(Protocol):
    """The settings that say how many random numbers an update takes."""

    @property
    def batch(self) -> int:
        """B, transitions in an update."""

    @property
    def num_sampled_actions(self) -> int:
        """N, sampled actions per state, of the uniform and of the current policy each."""

    @property
    def softmax_draws(self) -> int:
        """k, samples per state that carry the gradient of the log-sum-exp."""


@dataclass(frozen=True)
class Noise:
    """All random numbers of one update, so that an agent in a stack can be given those of the same agent alone."""

    uniform: Tensor
    """(S, B, N, A) uniform in [-1, 1]."""
    policy: Tensor
    """(S, B, N, A) standard normal, as are the others."""
    next_action: Tensor
    """(S, B, A)."""
    actor: Tensor
    """(S, B, A)."""
    softmax: Tensor
    """(S, B, 2k) uniform in [0, 1): the k `softmax_draws` of both critics."""

    @classmethod
    def draw(cls, stack: int, config: NoiseSizes, action_dim: int, generator: torch.Generator) -> "Noise":
        """Draw for one update, on the generator's device."""
        many = (stack, config.batch, config.num_sampled_actions, action_dim)
        one = (stack, config.batch, action_dim)
        device = generator.device
        normal = torch.randn((*one[:2], config.num_sampled_actions + 2, action_dim), generator=generator, device=device)
        unit = torch.rand((*one[:2], 2 * config.softmax_draws), generator=generator, device=device)
        return cls(
            uniform=torch.empty(many, device=device).uniform_(-1.0, 1.0, generator=generator),
            policy=normal[:, :, :-2],
            next_action=normal[:, :, -2],
            actor=normal[:, :, -1],
            softmax=unit,
        )


def draw_by_weight(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """Indices (..., B) drawn by weight: from cumulative weights (..., R) and uniform numbers (..., B) in [0, 1)."""
    chosen = torch.searchsorted(cumulative, uniform * cumulative[..., -1:], right=True)
    return chosen.clamp(max=cumulative.shape[-1] - 1)
