"""An episode of Minari's as one of this project's: which of its observations are read, and what is refused."""

from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from data.episode import Episode, validate
from data.rules import bounded_actions, check_terminations

IMAGES = ("image", "pixels", "rgb")
VECTORS = ("state", "observation", "vector")
"""Names under which a dictionary of observations holds them."""


def episode_of(where: str, found: Any) -> Episode:
    """An episode as minari's library gives it, in Dreamer indexing. Raises UserError for one that is not sound."""
    observation, action = found.observations, found.actions
    if not isinstance(observation, dict):
        observation = {"image" if getattr(observation, "dtype", None) == np.uint8 else "state": observation}
    seen = [next((key for key in known if key in observation), None) for known in (IMAGES, VECTORS)]
    image, state = (None if key is None else observation[key] for key in seen)
    if other := [str(key) for key in observation if key not in seen]:
        raise UserError(
            f"{where}: observations are of {', '.join(map(str, observation))}, of which {', '.join(other)} would be "
            f"left out; they may be a vector, an image, or one of either, called {' or '.join((*IMAGES, *VECTORS))}: "
            "join what the policy is to see, goals too, into one of them (latent_combo.make_episode)"
        )
    rewards, ended = np.asarray(found.rewards), np.asarray(found.terminations)
    for what, column, rows in (
        ("an image", image, len(rewards) + 1), ("a state", state, len(rewards) + 1), ("an action", action, len(rewards))
    ):  # fmt: skip
        if column is None:
            continue
        if not _numbers(column) or column.ndim < 2 or len(column) != rows:
            shape = f"{column.dtype} of {column.shape}" if isinstance(column, np.ndarray) else type(column).__name__
            raise UserError(f"{where}: {what} in each of {rows} rows is expected, but there are {shape}")
    if not all(_numbers(column) and column.shape == (len(rewards),) and len(rewards) for column in (rewards, ended)):
        raise UserError(f"{where}: rewards of {rewards.shape} and terminations of {ended.shape}, not one number a row")
    check_terminations(where, "terminations", ended)
    physics = (found.infos or {}).get("physics")
    if not _numbers(physics) or physics.ndim != 2 or len(physics) != len(rewards) + 1:
        physics = None  # another program's, of another meaning
    action = bounded_actions(where, "actions", action)
    with np.errstate(over="ignore"):
        episode = Episode.from_transitions(action, rewards, physics, state, image, terminal=bool(ended[-1]))
    validate(episode, where)
    return episode


def _numbers(column: Any) -> TypeGuard[NDArray[Any]]:
    """Whether it is an array of numbers."""
    return isinstance(column, np.ndarray) and column.dtype.kind in "fiub"
