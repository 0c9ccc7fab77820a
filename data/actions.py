"""Actions as they are kept elsewhere, in a simulator's bounds, and here, in [-1, 1]: one rule for every layout.

D4RL's and Minari's columns, and arrays that a user says are of a task, hold what the simulator was given: between its
`Task.action_low` and `action_high`. This project's folders, and those of DreamerV2, V-D4RL and LOMPO, hold [-1, 1], as
agents act. Symbols: T transitions, A action size.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from data.notes import Notes
from data.rules import check_sizes
from envs.task import Task

BOUND = 1.0
"""Of the actions of agents, which are scaled to [-1, 1]."""
ROUNDING = 1e-5
"""How far beyond its bound an action in [-1, 1] may be: that is the rounding of floats, and is clipped."""


def bounded_actions(
    where: str, key: str, action: NDArray[Any], task: Task | None = None, notes: Notes | None = None
) -> NDArray[np.float32]:
    """Actions (T, A) in [-1, 1] as float32, of which rounding beyond the bound is clipped.

    With a `task` they come in its simulator's bounds, and are rescaled, which is noted where these are not [-1, 1]:
    a = (u - (high + low) / 2) / ((high - low) / 2). What is no number is left alone. Raises UserError, with the value,
    the bound and the remedy, for what is further beyond, and for actions that are not of the task's size.
    """
    if task is None or is_scaled(task):
        return _clipped(where, key, action)
    check_sizes(where, task, action=action)
    middle, half = _middle_and_half(task)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (action.astype(np.float64) - middle) / half
    beyond = np.argwhere(np.isfinite(scaled) & (np.abs(scaled) > BOUND + ROUNDING))
    if len(beyond):
        row, number = beyond[0]
        raise UserError(
            f"{where}: `{key}` leaves the bounds of {task.name}, first in row {row}: number {number} is "
            f"{action[row, number]:.7g}, but between {(middle - half)[number]:g} and {(middle + half)[number]:g}; "
            "scale the actions to the simulator's bounds, or name the --task that they are of"
        )
    if notes is not None:
        line = f"actions are in the bounds of {task.name}, {_written(task)}, and rescaled to [{-BOUND:g}, {BOUND:g}]"
        notes.counts.setdefault(line, 1)
    return _clipped(where, key, scaled)


def simulator_actions(action: NDArray[np.float32], task: Task) -> NDArray[np.float32]:
    """Actions (T, A) in [-1, 1] as the simulator is given them, as float32 and within its bounds."""
    if is_scaled(task):
        return action
    middle, half = _middle_and_half(task)
    scaled = (middle + half * action.astype(np.float64)).astype(np.float32)
    low, high = bounds(task)
    return np.clip(scaled, low.astype(np.float32), high.astype(np.float32))


def bounds(task: Task) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and the highest actions of a task's simulator, (A,) each."""
    low = np.array(task.action_low or (-BOUND,) * task.action_dim)
    return low, np.array(task.action_high or (BOUND,) * task.action_dim)


def is_scaled(task: Task) -> bool:
    """Whether the simulator's own actions are in [-1, 1]."""
    low, high = bounds(task)
    return bool((low == -BOUND).all() and (high == BOUND).all())


def _middle_and_half(task: Task) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = bounds(task)
    return (high + low) / 2.0, (high - low) / 2.0


def _written(task: Task) -> str:
    """The bounds of a task, in words."""
    low, high = bounds(task)
    if (low == low[0]).all() and (high == high[0]).all():
        return f"[{low[0]:g}, {high[0]:g}]"
    return f"from [{', '.join(f'{x:g}' for x in low)}] to [{', '.join(f'{x:g}' for x in high)}]"


def _clipped(where: str, key: str, action: NDArray[Any]) -> NDArray[np.float32]:
    """Actions of [-1, 1] as float32. Raises UserError for what is beyond by more than rounding."""
    size = np.abs(action.astype(np.float64))
    size[~np.isfinite(size)] = 0.0
    if size.size and size.max() > BOUND + ROUNDING:
        row = np.argwhere(size > BOUND + ROUNDING)[0][0]
        raise UserError(
            f"{where}: `{key}` leaves [{-BOUND:g}, {BOUND:g}], first in row {row}; the largest is {size.max():.7g} in "
            f"size; scale the actions to [{-BOUND:g}, {BOUND:g}]"
        )
    with np.errstate(over="ignore"):
        return np.where(size > BOUND, np.sign(action), action).astype(np.float32)
