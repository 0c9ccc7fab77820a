"""Drawing pieces of episodes to train on."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from combo_common.errors import UserError
from data.dataset import TrajectoryDataset
from latent_combo.world_model.base import Segment


def usable_rows(decoded: TrajectoryDataset, episode_ids: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of each episode that hold what was observed: a terminal one without its ending has one fewer."""
    ids = np.asarray(episode_ids, np.int64)
    lengths = decoded.lengths[ids]
    if decoded.endings_seen:
        return lengths
    usable: NDArray[np.int64] = lengths - decoded.is_terminal[decoded.starts[ids] + lengths - 1]
    return usable


class SegmentSampler:
    """Draws segments of L consecutive rows, in which no row of the chosen episodes is rarer than in their middle.

    Starts are uniform over all windows that overlap an episode, and windows that stick out are moved inside. Uniform
    starts inside would show an episode's first and last rows, where policies begin and terminations lie, L times less
    often than others. Segments of two rows are single transitions, each as often as any other. A share of the segments
    may begin with an episode instead.
    """

    def __init__(
        self,
        decoded: TrajectoryDataset,
        episode_ids: Sequence[int] | NDArray[np.int64],
        length: int,
        episode_start_fraction: float = 0.0,
    ) -> None:
        """Count the starts. Raises UserError when none of the episodes has `length` rows.

        A share `episode_start_fraction` of the segments begin with an episode instead, drawn uniformly from those that
        are long enough.
        """
        self.decoded, self.length, self.episode_start_fraction = decoded, length, episode_start_fraction
        ids = np.asarray(episode_ids, np.int64)
        lengths = usable_rows(decoded, ids)
        # Windows that stick out are moved inside; single transitions are all alike as they are.
        self._beyond = length - 1 if length > 2 else 0
        choices = np.where(lengths >= length, lengths - length + 1 + 2 * self._beyond, 0)
        if not choices.any():
            longest = int(lengths.max(initial=0))
            raise UserError(
                f"no episode has the {length} rows of a segment, the longest has {longest}; "
                "use longer episodes, or shorter segments"
            )
        self._starts, self._last = decoded.starts[ids], lengths - length
        self._ends = np.cumsum(choices)
        self._long = np.flatnonzero(choices)

    def sample(self, batch: int, rng: np.random.Generator) -> Segment:
        """Draw `batch` segments, (B, L, ...)."""
        return self.at(self.rows(batch, rng))

    def rows(self, batch: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw the rows of the decoded data where `batch` segments start, (B,)."""
        number = rng.integers(self._ends[-1], size=batch)
        episode = np.searchsorted(self._ends, number, side="right")
        before = np.where(episode > 0, self._ends[episode - 1], 0)
        inside = np.clip(number - before - self._beyond, 0, self._last[episode])
        if self.episode_start_fraction > 0.0:
            first = rng.random(batch) < self.episode_start_fraction
            episode = np.where(first, rng.choice(self._long, batch), episode)
            inside = np.where(first, 0, inside)
        return self._starts[episode] + inside

    def distinct_rows(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Where `count` different segments to measure on start, uniform over all that there are; fewer if need be."""
        starts = np.concatenate([self._starts[e] + np.arange(self._last[e] + 1) for e in self._long])
        return rng.permutation(starts)[:count]

    def spread_rows(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Where `count` segments to look at start: of different episodes while there are some, from start to end.

        Fewer, where there are not so many that differ.
        """
        episode = np.resize(rng.permutation(self._long), count)
        inside = np.arange(count) * self._last[episode] // max(count - 1, 1)
        rows = self._starts[episode] + inside
        return rows[np.sort(np.unique(rows, return_index=True)[1])]

    def at(self, rows: NDArray[np.int64]) -> Segment:
        """Cut the segments that start at given rows (B,) of the decoded data."""
        data = self.decoded
        return Segment(
            observation=self._gather(data.observation, rows),
            action=self._gather(data.action, rows),
            reward=self._gather(data.reward, rows),
            is_first=self._gather(data.is_first, rows),
            terminal=self._gather(data.is_terminal, rows),
            vector=None if data.vector is None else self._gather(data.vector, rows),
        )

    def _gather(self, column: NDArray[np.generic], rows: NDArray[np.int64]) -> Tensor:
        if column.ndim <= 2:
            return torch.from_numpy(column[rows[:, None] + np.arange(self.length)])
        # Whole slices of images: faster than an index for each row, and sequential reads from a memory map.
        result = np.empty((len(rows), self.length, *column.shape[1:]), column.dtype)
        for target, row in zip(result, rows.tolist(), strict=True):
            target[...] = column[row : row + self.length]
        return torch.from_numpy(result)
