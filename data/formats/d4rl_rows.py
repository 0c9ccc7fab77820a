"""D4RL's rows of transitions as episodes in Dreamer indexing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.dataset import TrajectoryDataset
from data.rules import repeats_at_the_end


def to_episodes(
    observation: NDArray[np.float32],
    action: NDArray[np.float32],
    reward: NDArray[np.float32],
    terminal: NDArray[np.bool_],
    end: NDArray[np.bool_],
    next_observations: NDArray[np.float32] | None,
    known: NDArray[np.bool_],
    physics: tuple[NDArray[Any], ...] | None,
) -> TrajectoryDataset:
    """Rows in Dreamer indexing: an episode of T transitions has T + 1, the last of them what it ended in.

    Where that is not `known` (M,), as in a file without `next_observations`, a timeout loses its last transition, and
    a terminal row, whose value nobody asks for, repeats the last observation (`TrajectoryDataset.endings_seen`).
    """
    ends = np.flatnonzero(end)
    starts = np.concatenate([[0], ends[:-1] + 1])
    kept = ends - starts + 1 - (~known[ends] & ~terminal[ends])
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
        stop = ends[episode]
        if next_observations is not None and known[stop]:
            result["observation"][last] = next_observations[stop]
        else:
            result["observation"][last] = observation[min(first + count, stop)]
        result["action"][at + 1 : last + 1] = action[first : first + count]
        result["reward"][at + 1 : last + 1] = reward[first : first + count]
        result["is_first"][at] = True
        result["is_terminal"][last] = terminal[ends[episode]]
        if physics is not None:
            result["physics"][here] = physics[0][first : first + count]
            ended = known[stop] or terminal[stop]
            result["physics"][last] = physics[1][episode] if ended else physics[0][stop]
        at += length
    unseen = repeats_at_the_end(result["observation"], lengths, result["is_terminal"])
    return TrajectoryDataset(**result, lengths=lengths.astype(np.int64), endings_seen=not unseen)
