"""A dataset in memory (or on the disk, as a map) as training reads it: rows of all episodes end to end."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.episode import Episode
from data.rules import repeats_at_the_end


@dataclass(frozen=True)
class TrajectoryDataset:
    """All rows of a dataset, N in E episodes that follow one another, in Dreamer indexing."""

    observation: NDArray[Any]
    """(N, H, W, 3) uint8 images, perhaps a read-only memory map; or (N, S) float32 vectors."""
    action: NDArray[np.float32]
    """(N, A) in [-1, 1]: the action that led to the row; zero in an episode's first."""
    reward: NDArray[np.float32]
    """(N,)."""
    is_first: NDArray[np.bool_]
    """(N,)."""
    is_terminal: NDArray[np.bool_]
    """(N,)."""
    lengths: NDArray[np.int64]
    """(E,): rows of each episode, one more than its transitions."""
    physics: NDArray[np.float64] | None = None
    """(N, P), if the dataset has it."""
    endings_seen: bool = True
    """Whether rows in which episodes terminate hold what was observed there; files of old do not."""
    fingerprint: str = ""
    """SHA-256 of the files that it was read from, and of which episodes were; empty for what is no file."""
    vector: NDArray[np.float32] | None = None
    """(N, V): what is seen beside images; None where nothing is."""

    @classmethod
    def of_states(cls, episodes: list[Episode]) -> "TrajectoryDataset":
        """Episodes that have vector observations; physics are kept where all have them."""
        physics = [episode.physics for episode in episodes if episode.physics is not None]
        rows = cls(
            observation=np.concatenate([episode.columns()["state"] for episode in episodes]),
            action=np.concatenate([episode.action for episode in episodes]),
            reward=np.concatenate([episode.reward for episode in episodes]),
            is_first=np.concatenate([episode.is_first for episode in episodes]),
            is_terminal=np.concatenate([episode.is_terminal for episode in episodes]),
            lengths=np.array([episode.length + 1 for episode in episodes]),
            physics=np.concatenate(physics) if len(physics) == len(episodes) else None,
        )
        repeats = repeats_at_the_end(rows.observation, rows.lengths, rows.is_terminal)
        return replace(rows, endings_seen=not repeats)

    def episodes(self) -> Iterator[Episode]:
        """The episodes of vector observations, one after another."""
        for start, length in zip(self.starts, self.lengths, strict=True):
            rows = slice(start, start + length)
            yield Episode.from_transitions(
                self.action[rows][1:],
                self.reward[rows][1:],
                None if self.physics is None else self.physics[rows],
                self.observation[rows],
                terminal=bool(self.is_terminal[rows][-1]),
            )

    @property
    def starts(self) -> NDArray[np.int64]:
        """(E,): the first row of each episode."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def episode_returns(self) -> NDArray[np.float64]:
        """(E,): sum of the rewards of each episode."""
        return np.add.reduceat(self.reward.astype(np.float64), self.starts)
