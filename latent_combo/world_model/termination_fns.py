"""When a robot has fallen: the rules by which gymnasium's v4 environments end an episode, on vector observations.

They are known functions of the state, so a model of states need not learn them; rollouts that leave them out go on from
states that the task never shows, and learn to fall. Tasks of which no rule is known have terminations that are
learned (`terminal_head.py`).
"""

from collections.abc import Callable

from torch import Tensor

Ending = Callable[[Tensor], Tensor]
"""Observations that were arrived at (..., S), in the dataset's units, to whether they end the episode (...) bool."""


def never(observation: Tensor) -> Tensor:
    """The task has no end but its time limit."""
    return observation.isnan().all(-1) & False


def hopper(observation: Tensor) -> Tensor:
    """Height above 0.7 m, pitch within 0.2 rad, and all else within 100; observations are [z, pitch, ...] (11)."""
    height, pitch, rest = observation[..., 0], observation[..., 1], observation[..., 1:]
    healthy = (height > 0.7) & (pitch.abs() < 0.2) & (rest.abs() < 100.0).all(-1)
    return ~healthy


def walker2d(observation: Tensor) -> Tensor:
    """Height within (0.8, 2) m and pitch within 1 rad; observations are [z, pitch, ...] (17)."""
    height, pitch = observation[..., 0], observation[..., 1]
    healthy = (height > 0.8) & (height < 2.0) & (pitch.abs() < 1.0)
    return ~healthy


def ant(observation: Tensor) -> Tensor:
    """Height within [0.2, 1] m and all numbers finite; observations are [z, ...] (27)."""
    height = observation[..., 0]
    healthy = (height >= 0.2) & (height <= 1.0) & observation.isfinite().all(-1)
    return ~healthy


TERMINATION_FNS: dict[str, Ending] = {"none": never, "hopper": hopper, "walker2d": walker2d, "ant": ant}
"""By `Task.termination`."""
LEARNED = "learned"
"""The `Task.termination` of a task whose terminations are learned from the data."""
