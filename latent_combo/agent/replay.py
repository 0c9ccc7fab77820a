"""The two sources of a batch: the encoded dataset and what the model has imagined.

Symbols (docs/symbols.md): S, B, R, M of these that start a transition, V, F, A.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latent_combo.agent.batch import Batch, Transitions, draw_by_weight
from latent_combo.agent.settings import AgentConfig


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


@dataclass(frozen=True)
class EncodedDataset:
    """The dataset as features, rows of episodes one after another, in Dreamer indexing."""

    feature: Tensor
    """(V, R, F); V encodings of the same rows, with fresh samples of the latent (and shifts of the images) each."""
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
    weighted: bool = False
    """Whether transitions are drawn by their weights, or all alike."""

    @classmethod
    def from_rows(
        cls, feature: Tensor, action: Tensor, reward: Tensor, terminal: Tensor, is_first: Tensor, config: AgentConfig
    ) -> "EncodedDataset":
        """Find the transitions of rows in Dreamer indexing; `is_first` is (R,) bool, `terminal` (R,) float32."""
        last = torch.cat([is_first[1:], is_first.new_ones(1)])
        source = (~last).nonzero().squeeze(-1)
        td_returns = NStepReturn.n_step(source, reward, terminal, last, config.target_steps, config.gamma)
        monte_carlo_returns = NStepReturn.monte_carlo(source, reward, terminal, last, config.gamma)
        weight = trajectory_weights(reward, is_first, config.trajectory_temperature)[source]
        if config.episode_start_fraction:
            weight = with_share(weight, rows_since_first(is_first)[source] < FIRST_ROWS, config.episode_start_fraction)
        weighted = config.trajectory_temperature is not None or config.episode_start_fraction > 0.0
        least_reward = float(reward[source + 1].min())
        return cls(feature, action, source, td_returns, monte_carlo_returns, weight.cumsum(0), least_reward, weighted)

    def value_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the returns to the end of the episodes of rows as they are drawn.

        What a time limit cuts off is left out.
        """
        weight = self.cumulative_weight.diff(prepend=self.cumulative_weight.new_zeros(1)) / self.cumulative_weight[-1]
        returns = self.monte_carlo_returns.reward.double()
        mean = (weight * returns).sum()
        return float(mean), max(float((weight * (returns - mean).square()).sum().sqrt()), 1e-3)

    def states(self, index: Tensor, view: Tensor) -> Tensor:
        """Features (..., F) of the transitions' starts; `index` in [0, M) and `view` in [0, V) have one shape (...)."""
        return self.feature[view, self.source[index]]

    def pairs(self, index: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Features (..., F) and the actions taken there (..., A)."""
        row = self.source[index]
        return self.feature[view, row], self.action[row + 1]

    def next_actions(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (..., A) that followed the states which targets continue from, and whether there is one (...)."""
        row = self.td_returns.row[index]
        followed = torch.zeros(len(self.action), device=self.action.device)
        followed[self.source] = 1.0
        return self.action[(row + 1).clamp(max=len(self.action) - 1)], followed[row]

    def transitions(self, index: Tensor, view: Tensor, returns: NStepReturn) -> Transitions:
        """Transitions `index` (...) seen in `view` (...), with their `td_returns` or `monte_carlo_returns`."""
        feature, action = self.pairs(index, view)
        return Transitions(
            feature, action, returns.reward[index], self.feature[view, returns.row[index]], returns.discount[index]
        )

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Indices of the given shape, uniform or by weight, and uniform views."""
        device = self.source.device
        if self.weighted:
            uniform = torch.rand(shape, generator=generator, device=device, dtype=torch.float64)
            index = draw_by_weight(self.cumulative_weight, uniform.flatten()).view(shape)
        else:
            index = torch.randint(len(self.source), shape, generator=generator, device=device)
        if len(self.feature) == 1:
            return index, torch.zeros((), dtype=torch.int64, device=device).expand(shape)
        view = torch.randint(len(self.feature), shape, generator=generator, device=device)
        return index, view


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


FIRST_ROWS = 25
"""Of an episode, that `AgentConfig.episode_start_fraction` means."""


def rows_since_first(is_first: Tensor) -> Tensor:
    """How many rows of its episode come before each row: (R,) bool to (R,) int64, of rows in Dreamer indexing."""
    row = torch.arange(len(is_first), device=is_first.device)
    return row - torch.where(is_first, row, 0).cummax(0).values


def with_share(weight: Tensor, chosen: Tensor, share: float) -> Tensor:
    """Weights (M,) of a sum of 1: a part `share` of it on those that are `chosen` (M,) bool, the rest as it was."""
    apart = weight * chosen
    return (1.0 - share) * weight / weight.sum() + share * apart / apart.sum()


class ModelBuffer:
    """A ring of imagined transitions, separate for each agent of a stack; the oldest are overwritten."""

    def __init__(self, stack: int, capacity: int, feature_dim: int, action_dim: int, device: torch.device) -> None:
        self.capacity = capacity
        self.filled = False
        """Whether anything was added."""
        self.size, self.position = (torch.zeros((), dtype=torch.int64, device=device) for _ in range(2))
        """() int64: transitions that it holds of each agent, and where the next go; on the device, for CUDA graphs."""
        self._widths = (feature_dim, action_dim, 1, feature_dim, 1)
        # All columns side by side, so that one copy writes or reads a transition.
        self._rows = torch.zeros(stack, capacity, sum(self._widths), device=device)
        self.feature, self.action, self.reward, self.next_feature, self.discount = self._columns(self._rows)

    @property
    def tensors(self) -> Transitions:
        """All that it has room for, (S, capacity)."""
        return Transitions(self.feature, self.action, self.reward, self.next_feature, self.discount)

    def _columns(self, rows: Tensor) -> Transitions:
        """Rows (..., 2 F + A + 2) as transitions (...), without a copy."""
        feature, action, reward, next_feature, discount = rows.split(self._widths, -1)
        return Transitions(feature, action, reward.squeeze(-1), next_feature, discount.squeeze(-1))

    def add(self, transitions: Transitions) -> None:
        """Append n transitions per agent, (S, n). Raises ValueError where n does not divide the capacity."""
        count = transitions.feature.shape[1]
        if self.capacity % count:
            raise ValueError(f"{count} transitions do not divide the capacity {self.capacity}")
        assert transitions.reward.shape == transitions.discount.shape == transitions.feature.shape[:2]  # (S, n)
        place = self.position + torch.arange(count, device=self.position.device)
        parts = [part if part.dim() == 3 else part[..., None] for part in transitions]
        self._rows.index_copy_(1, place, torch.cat(parts, -1))
        self.position.add_(count).remainder_(self.capacity)
        self.size.add_(count).clamp_(max=self.capacity)
        self.filled = True

    def sample(self, batch: int, generator: torch.Generator) -> Transitions:
        """Uniform transitions (S, batch)."""
        stack = len(self._rows)
        # the remainder of a number so large is uniform, and asks for no number of the device
        large = torch.randint(2**62, (stack, batch), generator=generator, device=self._rows.device)
        index = large % self.size
        agent = torch.arange(stack, device=index.device)[:, None]
        return self._columns(self._rows[agent, index])


def real_share(rows: list[int], batch: int, device: torch.device) -> Tensor:
    """Which rows of a batch are the dataset's, (S, batch) float32: the first `rows` of each of S agents (eq. 2)."""
    return (torch.arange(batch, device=device) < torch.tensor(rows, device=device)[:, None]).float()


def mixed_batch(
    dataset: EncodedDataset,
    buffer: ModelBuffer | None,
    real: Tensor,
    generator: torch.Generator,
    monte_carlo: bool = False,
    next_actions: bool = False,
) -> Batch:
    """Draw from d_f: rows that are `real` (S, batch) from the dataset, the others from the model.

    `buffer` may be None when every row is real. `monte_carlo` takes the dataset's rewards to the end of the episode,
    instead of the config's n. `next_actions` adds what the behaviour did next. Returns columns (S, batch, ...).
    """
    index, view = dataset.draw((real.shape[0], real.shape[1]), generator)
    transitions = dataset.transitions(index, view, dataset.monte_carlo_returns if monte_carlo else dataset.td_returns)
    if buffer is not None:
        # Both sources fill all rows, and `real` chooses: how many are whose differs from agent to agent of a stack.
        imagined = buffer.sample(real.shape[1], generator)
        chosen = real.bool()
        transitions = Transitions(
            *(
                torch.where(chosen.view(*chosen.shape, *[1] * (own.dim() - 2)), own, other)
                for own, other in zip(transitions, imagined, strict=True)
            )
        )
    batch = Batch.of(transitions, real)
    if not next_actions:
        return batch
    action, there = dataset.next_actions(index)
    return replace(batch, next_action=action, has_next_action=there * real)
