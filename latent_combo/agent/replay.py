"""The two sources of a batch: the encoded dataset and what the model has imagined.

Symbols (docs/symbols.md): S, B, R, V, F, A.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latent_combo.agent.batch import Batch, Transitions
from latent_combo.agent.offline import OfflineDataset, transitions_of
from latent_combo.agent.settings import AgentConfig


@dataclass(frozen=True, kw_only=True)
class EncodedDataset(OfflineDataset):
    """The dataset as features of a world model."""

    feature: Tensor
    """(V, R, F); V encodings of the same rows, with fresh samples of the latent (and shifts of the images) each."""

    @classmethod
    def from_rows(
        cls, feature: Tensor, action: Tensor, reward: Tensor, terminal: Tensor, is_first: Tensor, config: AgentConfig
    ) -> "EncodedDataset":
        """Find the transitions of rows in Dreamer indexing; `is_first` is (R,) bool, `terminal` (R,) float32."""
        return cls(feature=feature, **transitions_of(action, reward, terminal, is_first, config))

    @property
    def views(self) -> int:
        """See `OfflineDataset.views`: the encodings."""
        return len(self.feature)

    def seen(self, row: Tensor, view: Tensor) -> Tensor:
        """See `OfflineDataset.seen`: features (..., F)."""
        return self.feature[view, row]


class ModelBuffer:
    """A ring of imagined transitions, separate for each agent of a stack; the oldest are overwritten."""

    def __init__(self, stack: int, capacity: int, feature_dim: int, action_dim: int, device: torch.device) -> None:
        self.capacity = capacity
        self.filled = False
        """Whether anything was added."""
        self.size, self.position = (torch.zeros((), dtype=torch.int64, device=device) for _ in range(2))
        """() int64: transitions that it holds of each agent, and where the next go; on the device, for CUDA graphs."""
        self._widths = (feature_dim, action_dim, 1, feature_dim, 1)
        self.rows = torch.zeros(stack, capacity, sum(self._widths), device=device)
        """(S, capacity, 2 F + A + 2): all columns side by side, so that one copy writes or reads a transition."""
        self.feature, self.action, self.reward, self.next_feature, self.discount = self._columns(self.rows)

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
        self.rows.index_copy_(1, place, torch.cat(parts, -1))
        self.position.add_(count).remainder_(self.capacity)
        self.size.add_(count).clamp_(max=self.capacity)
        self.filled = True

    def sample(self, batch: int, generator: torch.Generator) -> Transitions:
        """Uniform transitions (S, batch)."""
        stack = len(self.rows)
        # the remainder of a number so large is uniform, and asks for no number of the device
        large = torch.randint(2**62, (stack, batch), generator=generator, device=self.rows.device)
        index = large % self.size
        agent = torch.arange(stack, device=index.device)[:, None]
        return self._columns(self.rows[agent, index])

    def state_dict(self) -> dict[str, Tensor]:
        """What it holds: `rows` (S, size, 2 F + A + 2) float32, and where the next ones go."""
        return {"rows": self.rows[:, : int(self.size)], "position": self.position}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Hold what `state_dict` returned. Raises ValueError where that is of another size."""
        rows, position = state["rows"], state["position"]
        stack, size, width = rows.shape
        if (stack, width) != (len(self.rows), self.rows.shape[-1]) or not int(position) < self.capacity >= size:
            raise ValueError(f"transitions {tuple(rows.shape)} are not those of {tuple(self.rows.shape)}")
        self.rows[:, :size] = rows
        self.position.copy_(position)
        self.size.fill_(size)
        self.filled = size > 0


def real_share(rows: list[int], batch: int, device: torch.device) -> Tensor:
    """Which rows of a batch are the dataset's, (S, batch) float32: the first `rows` of each of S agents (eq. 2)."""
    return (torch.arange(batch, device=device) < torch.tensor(rows, device=device)[:, None]).float()


def mixed_batch(
    dataset: OfflineDataset,
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
