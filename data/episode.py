"""An episode in Dreamer indexing: `action[t]` led to row t.

Row 0 is the start: a zero action, zero reward, `is_first`. So T transitions make T + 1 rows. Symbols: A action size,
S size of the vector observation, P size of the simulator's state, H x W the image.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError

DTYPES: dict[str, type[np.generic]] = {
    "action": np.float32,
    "reward": np.float32,
    "discount": np.float32,
    "is_first": np.bool_,
    "is_last": np.bool_,
    "is_terminal": np.bool_,
    "image": np.uint8,
    "state": np.float32,
    "physics": np.float64,
}
NDIMS = {"action": 2, "image": 4, "state": 2, "physics": 2}
"""Number of axes, time included; 1 for the others."""
OPTIONAL = ("image", "state", "physics")


@dataclass(frozen=True)
class Episode:
    """One episode of T transitions, T + 1 rows."""

    action: NDArray[np.float32]
    """(T+1, A) in [-1, 1]."""
    reward: NDArray[np.float32]
    """(T+1,): what the transition into the row paid."""
    discount: NDArray[np.float32]
    """(T+1,) in [0, 1]: 0 where the task ended, otherwise 1."""
    is_first: NDArray[np.bool_]
    """(T+1,): row 0 only."""
    is_last: NDArray[np.bool_]
    """(T+1,): the last row only, whether a time limit or the task ended the episode."""
    is_terminal: NDArray[np.bool_]
    """(T+1,): the last row at most, and only if the task ended the episode; a time limit does not."""
    image: NDArray[np.uint8] | None = None
    """(T+1, H, W, 3)."""
    state: NDArray[np.float32] | None = None
    """(T+1, S): the vector observation."""
    physics: NDArray[np.float64] | None = None
    """(T+1, P): the simulator's own state."""

    @classmethod
    def from_transitions(
        cls,
        actions: NDArray[np.floating[Any]],
        rewards: NDArray[np.floating[Any]],
        physics: NDArray[np.floating[Any]] | None = None,
        state: NDArray[np.floating[Any]] | None = None,
        image: NDArray[np.uint8] | None = None,
        terminal: bool = False,
    ) -> "Episode":
        """Make an episode from T actions (T, A) and rewards (T,), and the T + 1 states before, between and after.

        `terminal` says that the task ended it, not a time limit.
        """
        transitions = len(actions)
        rows = np.arange(transitions + 1)
        is_terminal = (rows == transitions) & terminal
        start = np.zeros((1, actions.shape[1]), np.float32)
        with np.errstate(over="ignore"):  # what float32 does not hold becomes infinite, which `validate` refuses
            actions, rewards = actions.astype(np.float32), rewards.astype(np.float32)
            state = None if state is None else state.astype(np.float32)
        return cls(
            action=np.concatenate([start, actions]),
            reward=np.concatenate([np.zeros(1, np.float32), rewards]),
            discount=1.0 - is_terminal.astype(np.float32),
            is_first=rows == 0,
            is_last=rows == transitions,
            is_terminal=is_terminal,
            image=image,
            state=state,
            physics=None if physics is None else physics.astype(np.float64),
        )

    @property
    def length(self) -> int:
        """Number of transitions T."""
        return len(self.action) - 1

    @property
    def episode_return(self) -> float:
        """Sum of the rewards."""
        return float(self.reward.sum(dtype=np.float64))

    def columns(self) -> dict[str, NDArray[Any]]:
        """Give the arrays that there are, by key."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {key: array for key, array in named.items() if array is not None}


def validate(episode: Episode, where: str) -> None:
    """Check types, lengths, ranges and flags. Raises UserError naming `where` (the file), the key and the reason."""
    columns = episode.columns()
    rows = len(columns["action"]) if columns["action"].ndim else 0
    for key, array in columns.items():
        if array.dtype != DTYPES[key]:
            raise _invalid(where, key, f"is {array.dtype}, not {np.dtype(DTYPES[key])}")
        if array.ndim != NDIMS.get(key, 1):
            raise _invalid(where, key, f"has shape {array.shape}, not {NDIMS.get(key, 1)} axes")
        if len(array) != rows:
            raise _invalid(where, key, f"has {len(array)} rows where `action` has {rows}")
        if array.dtype.kind == "f" and not (finite := _rowwise(np.isfinite(array))).all():
            raise _invalid(where, key, f"holds a NaN or Inf, first in row {np.argmin(finite)}")
    if rows < 2:
        raise _invalid(where, "action", f"has {rows} rows; an episode has at least 2, its start and one transition")
    if episode.image is not None and episode.image.shape[-1] != 3:
        raise _invalid(where, "image", f"has {episode.image.shape[-1]} channels, not 3")
    if not (within := _rowwise(np.abs(episode.action) <= 1.0)).all():
        raise _invalid(where, "action", f"leaves [-1, 1], first in row {np.argmin(within)}")
    if ((episode.discount < 0.0) | (episode.discount > 1.0)).any():
        raise _invalid(where, "discount", "leaves [0, 1]")
    _validate_flags(episode, where)


def _validate_flags(episode: Episode, where: str) -> None:
    row = np.arange(episode.length + 1)
    if episode.action[0].any() or episode.reward[0] != 0.0:
        raise _invalid(where, "action", "and `reward` must be zero in row 0: action[t] is the one that led to row t")
    if (episode.is_first != (row == 0)).any():
        raise _invalid(where, "is_first", "must be true in row 0 and only there")
    if (episode.is_last != (row == episode.length)).any():
        raise _invalid(where, "is_last", "must be true in the last row and only there")
    if episode.is_terminal[:-1].any():
        raise _invalid(where, "is_terminal", "may be true in the last row only")


def _rowwise(holds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether a condition (T+1, ...) holds in all of a row, (T+1,)."""
    result: NDArray[np.bool_] = np.all(holds.reshape(len(holds), -1), axis=1)
    return result


def _invalid(where: str, key: str, reason: str) -> UserError:
    return UserError(f"{where}: `{key}` {reason}; mend or remove the episode and make the dataset again")
