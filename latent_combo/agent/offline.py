"""The dataset as agents draw from it: rows of episodes and the transitions between them, however they are seen.

Symbols (docs/symbols.md): R, M of these that start a transition, V, A; ... of a state as it is seen.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latent_combo.agent.batch import Transitions, draw_by_weight
from latent_combo.agent.settings import AgentConfig

FIRST_ROWS = 25
"""Of an episode, that `AgentConfig.episode_start_fraction` means."""


@dataclass(frozen=True)
class NStepReturn:
    """What followed M rows in up to n steps of their episodes: the n-step return is `reward + discount * V(row)`."""

    row: Tensor
    """(M,) int64: the rows that values continue from."""
    reward: Tensor
    """(M,): the discounted rewards on the way there."""
    discount: Tensor
    """(M,): gamma to the number of those steps, 0 where the episode ended there for good."""

    @classmethod
    def n_step(
        cls, source: Tensor, reward: Tensor, terminal: Tensor, last: Tensor, steps: int, discount: float
    ) -> "NStepReturn":
        """Follow rows `source` (M,) for `steps`, or to the last row of their episode.

        Columns of all rows, in Dreamer indexing: `reward` (R,), `terminal` (R,) float32, `last` (R,) bool.
        """
        row, total, factor = source.clone(), torch.zeros_like(reward[source]), torch.ones_like(reward[source])
        for _ in range(steps):
            going = ~last[row]
            if not going.any():
                break
            row = row + going.long()
            total = total + torch.where(going, factor * reward[row], 0.0)
            factor = torch.where(going, factor * discount, factor)
        return cls(row, total, factor * (1.0 - terminal[row]))

    @classmethod
    def monte_carlo(
        cls, source: Tensor, reward: Tensor, terminal: Tensor, last: Tensor, discount: float
    ) -> "NStepReturn":
        """Follow rows `source` (M,) to the last row of their episode; columns as for `after`."""
        every = torch.arange(len(reward), device=reward.device)
        one = cls.n_step(every, reward, torch.zeros_like(terminal), last, 1, discount)
        row, total, factor = one.row, one.reward, one.discount
        while not last[row].all():  # twice as far at each turn
            row, total, factor = row[row], total + factor * total[row], factor * factor[row]
        return cls(row[source], total[source], factor[source] * (1.0 - terminal[row[source]]))


@dataclass(frozen=True, kw_only=True)
class OfflineDataset(ABC):
    """Rows of episodes one after another, in Dreamer indexing, and how often each transition is drawn."""

    action: Tensor
    """(R, A); `action[t]` led to row t."""
    source: Tensor
    """(M,) int64: the rows from which a transition to the next row starts."""
    td_returns: NStepReturn
    """What the critics' targets are made of."""
    monte_carlo_returns: NStepReturn
    """The discounted rewards to the end of the episode: what values start from in a warm-up, and are measured by."""
    cumulative_weight: Tensor
    """(M,) float64: running sum of how often each transition is drawn, if `weighted`."""
    least_reward: float
    """The least reward of a transition."""
    most_reward: float
    """The largest reward of a transition."""
    weighted: bool = False
    """Whether transitions are drawn by their weights, or all alike."""

    @property
    @abstractmethod
    def views(self) -> int:
        """V, ways in which a transition can be seen; a draw takes one of them."""

    @abstractmethod
    def seen(self, row: Tensor, view: Tensor) -> Tensor:
        """Rows `row` (...) as they are seen in `view` (...), of one shape: (..., ...)."""

    def seen_next(self, row: Tensor, view: Tensor) -> Tensor:
        """The same of the states that targets continue from."""
        return self.seen(row, view)

    def value_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the returns to the end of the episodes of rows as they are drawn.

        What a time limit cuts off is left out.
        """
        weight = self.cumulative_weight.diff(prepend=self.cumulative_weight.new_zeros(1)) / self.cumulative_weight[-1]
        returns = self.monte_carlo_returns.reward.double()
        mean = (weight * returns).sum()
        return float(mean), max(float((weight * (returns - mean).square()).sum().sqrt()), 1e-3)

    def highest_value(self, gamma: float) -> float:
        """What no value can exceed, since no step pays more than the best of the dataset: the sum of that for ever.

        Where all rewards are negative and episodes can end, it is the best reward itself. Infinite for a gamma of 1.
        """
        if gamma == 1.0:
            return math.inf
        ends = bool((self.td_returns.discount == 0.0).any())
        return self.most_reward if ends and self.most_reward < 0.0 else self.most_reward / (1.0 - gamma)

    def states(self, index: Tensor, view: Tensor) -> Tensor:
        """The transitions' starts (..., ...); `index` in [0, M) and `view` in [0, V) have one shape (...)."""
        return self.seen(self.source[index], view)

    def pairs(self, index: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """The transitions' starts (..., ...) and the actions taken there (..., A)."""
        row = self.source[index]
        return self.seen(row, view), self.action[row + 1]

    def next_actions(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (..., A) that followed the states which targets continue from, and whether there is one (...)."""
        row = self.td_returns.row[index]
        place = torch.searchsorted(self.source, row).clamp(max=len(self.source) - 1)  # rows stand in their order
        return self.action[(row + 1).clamp(max=len(self.action) - 1)], (self.source[place] == row).float()

    def transitions(self, index: Tensor, view: Tensor, returns: NStepReturn) -> Transitions:
        """Transitions `index` (...) seen in `view` (...), with their `td_returns` or `monte_carlo_returns`."""
        state, action = self.pairs(index, view)
        following = self.seen_next(returns.row[index], view)
        return Transitions(state, action, returns.reward[index], following, returns.discount[index])

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Indices of the given shape, uniform or by weight, and uniform views."""
        device = self.source.device
        if self.weighted:
            uniform = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
            index = draw_by_weight(self.cumulative_weight, uniform.flatten()).view(shape)
        else:
            index = torch.randint(len(self.source), shape, generator=generator, device=device)
        if self.views == 1:
            return index, torch.zeros((), dtype=torch.int64, device=device).expand(shape)
        return index, torch.randint(self.views, shape, generator=generator, device=device)


def transitions_of(
    action: Tensor, reward: Tensor, terminal: Tensor, is_first: Tensor, config: AgentConfig
) -> dict[str, Any]:
    """The fields of an `OfflineDataset`, from rows in Dreamer indexing.

    Takes `action` (R, A), `reward` (R,), `terminal` (R,) float32 and `is_first` (R,) bool.
    """
    last = torch.cat([is_first[1:], is_first.new_ones(1)])
    source = (~last).nonzero().squeeze(-1)
    weight = trajectory_weights(reward, is_first, config.trajectory_temperature)[source]
    if config.episode_start_fraction:
        weight = with_share(weight, rows_since_first(is_first)[source] < FIRST_ROWS, config.episode_start_fraction)
    return {
        "action": action,
        "source": source,
        "td_returns": NStepReturn.n_step(source, reward, terminal, last, config.target_steps, config.gamma),
        "monte_carlo_returns": NStepReturn.monte_carlo(source, reward, terminal, last, config.gamma),
        "cumulative_weight": weight.cumsum(0),
        "least_reward": float(reward[source + 1].min()),
        "most_reward": float(reward[source + 1].max()),
        "weighted": config.trajectory_temperature is not None or config.episode_start_fraction > 0.0,
    }


def weighted_return(returns: NDArray[np.float64], lengths: NDArray[np.int64], config: AgentConfig) -> float:
    """Mean return of the episodes that rows are drawn from: what imitating the drawn rows has to reach.

    Takes the returns of the episodes trained on and their numbers of transitions, (E,) each.
    """
    weight = np.ones(len(returns))
    if config.trajectory_temperature is not None:
        scaled = (returns - returns.min()) / max(float(np.ptp(returns)), 1e-8)
        weight = np.exp((scaled - 1.0) / config.trajectory_temperature)
    every, first = weight * lengths, weight * np.minimum(lengths, FIRST_ROWS)
    weight = (
        1.0 - config.episode_start_fraction
    ) * every / every.sum() + config.episode_start_fraction * first / first.sum()
    return float((weight * returns).sum() / weight.sum())


def trajectory_weights(reward: Tensor, is_first: Tensor, temperature: float | None) -> Tensor:
    """exp(return / temperature) of each row's episode (R,) float64, returns scaled to [0, 1] (Hong et al., 2023).

    The largest weight is 1. Rows are in Dreamer indexing: `reward` (R,), `is_first` (R,) bool. All weights are 1 where
    the temperature is None.
    """
    if temperature is None:
        return torch.ones_like(reward, dtype=torch.float64)
    episode = is_first.long().cumsum(0) - 1
    returns = torch.zeros(int(episode[-1]) + 1, dtype=torch.float64, device=reward.device)
    returns.index_add_(0, episode, reward.double())
    scaled = (returns - returns.min()) / (returns.max() - returns.min()).clamp(min=1e-8)
    return ((scaled - scaled.max()) / temperature).exp()[episode]


def rows_since_first(is_first: Tensor) -> Tensor:
    """How many rows of its episode come before each row: (R,) bool to (R,) int64, of rows in Dreamer indexing."""
    row = torch.arange(len(is_first), device=is_first.device)
    return row - torch.where(is_first, row, 0).cummax(0).values


def with_share(weight: Tensor, chosen: Tensor, share: float) -> Tensor:
    """Weights (M,) of a sum of 1: a part `share` of it on those that are `chosen` (M,) bool, the rest as it was."""
    apart = weight * chosen
    return (1.0 - share) * weight / weight.sum() + share * apart / apart.sum()
