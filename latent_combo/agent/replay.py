"""The two sources of a batch: the encoded dataset and what the model has imagined."""

from dataclasses import dataclass

import torch
from torch import Tensor

from latent_combo.agent.actor_critic import AgentConfig, Batch, Pool


@dataclass(frozen=True)
class EncodedDataset:
    """The dataset as features, rows of episodes one after another, in Dreamer indexing."""

    feature: Tensor
    """(V, N, F); V encodings of the same rows, with fresh samples of the latent (and shifts of the images) each."""
    action: Tensor
    """(N, A); `action[t]` led to row t."""
    reward: Tensor
    """(N,)."""
    terminal: Tensor
    """(N,) float32."""
    source: Tensor
    """(M,) int64: the rows from which a transition to the next row starts."""
    target: Tensor
    """(M,) int64: the rows that the critics' targets continue from, up to n steps on in the same episode."""
    target_reward: Tensor
    """(M,): the discounted rewards on the way from source to target."""
    target_discount: Tensor
    """(M,): gamma to the number of those steps."""

    @classmethod
    def from_rows(
        cls,
        feature: Tensor,
        action: Tensor,
        reward: Tensor,
        terminal: Tensor,
        is_first: Tensor,
        steps: int = 1,
        discount: float = 0.99,
    ) -> "EncodedDataset":
        """Find the transitions of rows in Dreamer indexing, with targets `steps` on.

        `is_first` is (N,) bool. Where an episode ends earlier, its last row is the target.
        """
        last = torch.cat([is_first[1:], is_first.new_ones(1)])
        source = (~last).nonzero().squeeze(-1)
        target, total, factor = source.clone(), torch.zeros_like(reward[source]), torch.ones_like(reward[source])
        for _ in range(steps):
            going = ~last[target]
            target = target + going.long()
            total = total + torch.where(going, factor * reward[target], 0.0)
            factor = torch.where(going, factor * discount, factor)
        return cls(feature, action, reward, terminal, source, target, total, factor)

    def states(self, index: Tensor, view: Tensor) -> Tensor:
        """Features (..., F) of the transitions' starts; `index` in [0, M) and `view` in [0, V) have one shape (...)."""
        return self.feature[view, self.source[index]]

    def pairs(self, index: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """Features (..., F) and the actions taken there (..., A)."""
        row = self.source[index]
        return self.feature[view, row], self.action[row + 1]

    def transitions(self, index: Tensor, view: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What a target is made of, for the transitions `index` seen in `view`.

        Returns feature, action, the discounted rewards up to the target's row, its feature, and the discount of its
        value, which is 0 where the episode ended there for good.
        """
        feature, action = self.pairs(index, view)
        target = self.target[index]
        discount = self.target_discount[index] * (1.0 - self.terminal[target])
        return feature, action, self.target_reward[index], self.feature[view, target], discount

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Uniform indices and views of the given shape."""
        device = self.source.device
        index = torch.randint(len(self.source), shape, generator=generator, device=device)
        view = torch.randint(len(self.feature), shape, generator=generator, device=device)
        return index, view


class ModelBuffer:
    """A ring of imagined transitions, separate for each agent of a stack; the oldest are overwritten."""

    def __init__(self, stack: int, capacity: int, feature_dim: int, action_dim: int, device: torch.device) -> None:
        self.capacity = capacity
        self.size = 0
        self.position = 0
        self.feature = torch.zeros(stack, capacity, feature_dim, device=device)
        self.action = torch.zeros(stack, capacity, action_dim, device=device)
        self.reward = torch.zeros(stack, capacity, device=device)
        self.next_feature = torch.zeros(stack, capacity, feature_dim, device=device)
        self.discount = torch.zeros(stack, capacity, device=device)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The five columns, each (S, capacity, ...)."""
        return self.feature, self.action, self.reward, self.next_feature, self.discount

    def add(self, *columns: Tensor) -> None:
        """Append n transitions per agent, columns (S, n, ...) in the order of `tensors`; n divides the capacity."""
        count = columns[0].shape[1]
        if self.capacity % count:
            raise ValueError(f"{count} transitions do not divide the capacity {self.capacity}")
        end = self.position + count
        for column, new in zip(self.tensors, columns, strict=True):
            column[:, self.position : end] = new
        self.position = end % self.capacity
        self.size = max(self.size, end)

    def sample(self, batch: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Uniform transitions (S, batch, ...), in the order of `tensors`."""
        stack = len(self.feature)
        index = torch.randint(self.size, (stack, batch), generator=generator, device=self.feature.device)
        agent = torch.arange(stack, device=index.device)[:, None]
        return tuple(column[agent, index] for column in self.tensors)


def draw_pool(dataset: EncodedDataset, stack: int, config: AgentConfig, generator: torch.Generator) -> Pool | None:
    """Pairs of the dataset for the extraction "advantage"; None for the other, which needs none."""
    if config.extraction != "advantage":
        return None
    return Pool(*dataset.pairs(*dataset.draw((stack, config.advantage_pool), generator)))


def mixed_batch(
    dataset: EncodedDataset, buffer: ModelBuffer | None, f: Tensor, batch: int, generator: torch.Generator
) -> Batch:
    """Draw from d_f: the first round(f * batch) rows from the dataset, the rest from the model (eq. 2).

    `f` is (S,); `buffer` may be None when every f is 1. Returns columns (S, batch, ...).
    """
    stack = len(f)
    index, view = dataset.draw((stack, batch), generator)
    columns: tuple[Tensor, ...] = dataset.transitions(index, view)
    real = (torch.arange(batch, device=f.device) < (f[:, None] * batch).round()).float()  # (S, batch)
    if buffer is not None:
        imagined = buffer.sample(batch, generator)
        chosen = real.bool()
        columns = tuple(
            torch.where(chosen.view(stack, batch, *[1] * (a.dim() - 2)), a, b)
            for a, b in zip(columns, imagined, strict=True)
        )
    feature, action, reward, next_feature, discount = columns
    return Batch(feature, action, reward, next_feature, discount, real)
