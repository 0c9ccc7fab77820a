"""D4RL's rows of transitions as episodes in Dreamer indexing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.dataset import TrajectoryDataset


def to_episodes(
    observation: NDArray[np.float32],
    action: NDArray[np.float32],
    reward: NDArray[np.float32],
    terminal: NDArray[np.bool_],
    end: NDArray[np.bool_],
    next_observations: NDArray[np.float32] | None,
    physics: tuple[NDArray[Any], ...] | None,
) -> TrajectoryDataset:
    """Rows in Dreamer indexing: an episode of T transitions has T + 1, the last of them what it ended in.

    Without `next_observations`, that is unknown: a timeout then loses its last transition, and a terminal row, whose
    value nobody asks for, repeats the last observation (`TrajectoryDataset.endings_seen` says so).
    """
    ends = np.flatnonzero(end)
    starts = np.concatenate([[0], ends[:-1] + 1])
    kept = ends - starts + 1 - (np.zeros(len(ends), int) if next_observations is not None else ~terminal[ends])
    chosen = np.flatnonzero(kept > 0)
    lengths = kept[chosen] + 1
    rows = int(lengths.sum())
    result: dict[str, Any] = {
        "observation": np.empty((rows, observation.shape[1]), np.float32),
        "action": np.zeros((rows, action.shape[1]), np.float32),
        "reward": np.zeros(rows, np.float32),
        "is_first": np.zeros(rows, bool),
        "is_terminal": np.zeros(rows, bool),
        "physics": None if physics is None else np.empty((rows, physics[0].shape[1])),
    }
    at = 0
    for episode, length in zip(chosen, lengths, strict=True):
        first, count = starts[episode], length - 1
        here, last = slice(at, at + count), at + count
        result["observation"][here] = observation[first : first + count]
        if next_observations is not None:
            result["observation"][last] = next_observations[first + count - 1]
        else:
            result["observation"][last] = observation[min(first + count, ends[episode])]
        result["action"][at + 1 : last + 1] = action[first : first + count]
        result["reward"][at + 1 : last + 1] = reward[first : first + count]
        result["is_first"][at] = True
        result["is_terminal"][last] = terminal[ends[episode]]
        if physics is not None:
            result["physics"][here] = physics[0][first : first + count]
            result["physics"][last] = physics[1][episode]
        at += length
    unseen = next_observations is None and bool(result["is_terminal"].any())
    return TrajectoryDataset(**result, lengths=lengths.astype(np.int64), endings_seen=not unseen)
