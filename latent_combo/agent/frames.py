"""Stacked frames, for agents that see images without a world model: drawn from a dataset, and kept while acting.

Symbols (docs/symbols.md): S, N, R, A; k frames of a stack, H, W.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from latent_combo.agent.offline import OfflineDataset
from latent_combo.numerics.images import shifted, take_rows

UNSEEN = -1
"""Of a stack, pixels of frames before the first."""


@dataclass(frozen=True, kw_only=True)
class FrameDataset(OfflineDataset):
    """The dataset as stacks of frames (..., k, H, W, 3) uint8, gathered as they are drawn."""

    frame: Tensor
    """(N, H, W, 3) uint8: all images of the dataset, those of other episodes, too."""
    place: Tensor
    """(R,) int64: where in `frame` the image of each row is."""
    first: Tensor
    """(R,) int64: the first row of each row's episode."""
    frames: int
    """k, frames of a stack: a row's own and those before it, the newest last; the first of an episode are repeated."""
    shift: int
    """Pixels of a random shift, at most."""

    @property
    def views(self) -> int:
        """See `OfflineDataset.views`: the shifts of a state times those of the state that follows."""
        return self._shifts**2

    @property
    def _shifts(self) -> int:
        return (2 * self.shift + 1) ** 2

    def seen(self, row: Tensor, view: Tensor) -> Tensor:
        """See `OfflineDataset.seen`: stacks (..., k, H, W, 3) uint8."""
        return self._stacked(row, view // self._shifts)

    def seen_next(self, row: Tensor, view: Tensor) -> Tensor:
        """See `OfflineDataset.seen_next`: under a shift of their own."""
        return self._stacked(row, view % self._shifts)

    def _stacked(self, row: Tensor, number: Tensor) -> Tensor:
        """The stacks that end at rows (...), under the shifts of the given numbers (...)."""
        back = torch.arange(self.frames - 1, -1, -1, device=row.device)
        rows = torch.maximum(row[..., None] - back, self.first[row][..., None])  # (..., k)
        stacks = take_rows(self.frame, self.place[rows].flatten()).view(*rows.shape, *self.frame.shape[1:])
        if self.shift == 0:
            return stacks
        width = 2 * self.shift + 1
        offset = torch.stack([number // width, number % width]).flatten(1) - self.shift
        return shifted(stacks.flatten(0, row.dim() - 1), offset).view_as(stacks)


class FrameStack:
    """What an agent knows of an episode without a world model: the last k frames; see `world_model.base.Filter`."""

    noise_dim = 0

    def __init__(self, frames: int, image_size: int, action_dim: int) -> None:
        self.shape, self.action_dim = (frames, image_size, image_size, 3), action_dim

    def initial(self, batch: int, device: torch.device) -> Tensor:
        """The stack (N, k, H, W, 3) int16 before an episode: nothing is seen yet."""
        return torch.full((batch, *self.shape), UNSEEN, dtype=torch.int16, device=device)

    def filter_step(
        self, feature: Tensor, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None
    ) -> Tensor:
        """Put images (N, H, W, 3) uint8 behind the others of stacks (N, k, H, W, 3); a first one fills its stack."""
        newest = observation[:, None].to(feature.dtype)
        return torch.cat([torch.where(feature < 0, newest, feature)[:, 1:], newest], 1)

    def stacks(self, observation: Tensor, rows: Tensor) -> Tensor:
        """The stacks (B, T, k, H, W, 3) at `rows` (T,) of whole episodes (B, L, H, W, 3) uint8."""
        back = torch.arange(self.shape[0] - 1, -1, -1, device=rows.device)
        return observation[:, (rows[:, None] - back).clamp(min=0)]
