"""The two sources of a batch: the encoded dataset and what the model has imagined."""

from dataclasses import dataclass

import torch
from torch import Tensor

from latent_combo.agent.actor_critic import Batch


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

    def states(self, index: Tensor, view: Tensor) -> Tensor:
        """Features (..., F) of the transitions' starts; `index` in [0, M) and `view` in [0, V) have one shape (...)."""
        return self.feature[view, self.source[index]]

    def transitions(self, index: Tensor, view: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Feature, action, reward, next feature and terminal of the transitions `index`, seen in `view`."""
        row = self.source[index]
        following = row + 1
        return (
            self.feature[view, row],
            self.action[following],
            self.reward[following],
            self.feature[view, following],
            self.terminal[following],
        )

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
        self.terminal = torch.zeros(stack, capacity, device=device)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The five columns, each (S, capacity, ...)."""
        return self.feature, self.action, self.reward, self.next_feature, self.terminal

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
    feature, action, reward, next_feature, terminal = columns
    return Batch(feature, action, reward, next_feature, terminal, real)
