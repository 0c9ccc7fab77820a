"""An episode of Minari's as one of this project's: which of its observations are read, and what is refused."""

from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from data.actions import bounded_actions
from data.episode import Episode, validate
from data.notes import Notes
from data.rules import check_terminations
from envs.task import Task

IMAGES = ("image", "pixels", "rgb")
VECTORS = ("state", "observation", "vector")
"""Names under which a dictionary of observations holds them."""
FRAME_AXES = 4
"""Of images (T+1, H, W, C)."""


def episode_of(where: str, found: Any, task: Task | None, scaled: bool, notes: Notes | None) -> Episode:
    """An episode as minari's library gives it, in Dreamer indexing; `scaled` says that its actions are in [-1, 1].

    Raises UserError for one that is not sound.
    """
    action = found.actions
    image, state = _observed(where, found.observations, task)
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
    truncated = np.asarray(found.truncations)
    if _numbers(truncated) and truncated.shape == (len(rewards),) and (cut := np.flatnonzero(truncated[:-1])).size:
        raise UserError(
            f"{where}: `truncations` says that a time limit ended the episode in step {cut[0] + 1} of {len(rewards)}; "
            "cut it into two episodes there"
        )
    physics = (found.infos or {}).get("physics")
    if not _numbers(physics) or physics.ndim != 2 or len(physics) != len(rewards) + 1:
        physics = None  # another program's, of another meaning
    action = bounded_actions(where, "actions", action, None if scaled else task, notes)
    with np.errstate(over="ignore"):
        episode = Episode.from_transitions(action, rewards, physics, state, image, terminal=bool(ended[-1]))
    validate(episode, where)
    return episode


def _observed(where: str, observation: Any, task: Task | None) -> tuple[Any, Any]:
    """The image and the vector of all rows, either of which may be None; of a dictionary the keys that a task names.

    Vectors of several keys follow one another in the task's order, as in play. Raises UserError for keys that are not
    there, and for those that would be dropped because nobody named any.
    """
    if not isinstance(observation, dict):
        return (observation, None) if getattr(observation, "dtype", None) == np.uint8 else (None, observation)
    named = [] if task is None else [key for key in dict(task.options).get("keys", "").split("+") if key]
    if named and all(key in observation for key in named):
        return _named(where, observation, named)
    if named and task is not None and not set(observation) <= {*IMAGES, *VECTORS}:
        missing = next(key for key in named if key not in observation)
        raise UserError(
            f"{where}: {task.name} observes {missing}, but there are {', '.join(map(str, observation))}; name a --task "
            "of keys that are there"
        )
    seen = [next((key for key in known if key in observation), None) for known in (IMAGES, VECTORS)]
    if other := [str(key) for key in observation if key not in seen]:
        keys = "+".join(map(str, observation))
        raise UserError(
            f"{where}: observations are of {', '.join(map(str, observation))}, of which {', '.join(other)} would be "
            f"left out; say which of them the policy is to see, goals too, with --task gymnasium:ID,keys={keys}, or "
            f"join them into one called {' or '.join((*IMAGES, *VECTORS))} (latent_combo.make_episode)"
        )
    return tuple(None if key is None else observation[key] for key in seen)  # type: ignore[return-value]


def _named(where: str, observation: dict[str, Any], keys: list[str]) -> tuple[Any, Any]:
    """The image and the joined vectors of the keys that are named, as the environment observes them."""
    columns = {key: observation[key] for key in keys}
    for key, column in columns.items():
        if not _numbers(column) or not len(column) or len(column) != len(next(iter(columns.values()))):
            shape = f"{column.dtype} of {column.shape}" if isinstance(column, np.ndarray) else type(column).__name__
            raise UserError(f"{where}: {key} is {shape}, not numbers in each row of {keys[0]}; name other keys")
    images = [column for column in columns.values() if column.dtype == np.uint8 and column.ndim == FRAME_AXES]
    vectors = [column for column in columns.values() if column.dtype != np.uint8 or column.ndim != FRAME_AXES]
    if len(images) > 1:
        raise UserError(f"{where}: several of {', '.join(keys)} are images; name one of them")
    joined = np.concatenate([column.reshape(len(column), -1) for column in vectors], axis=1) if vectors else None
    return (images[0] if images else None), joined


def _numbers(column: Any) -> TypeGuard[NDArray[Any]]:
    """Whether it is an array of numbers."""
    return isinstance(column, np.ndarray) and column.dtype.kind in "fiub"
