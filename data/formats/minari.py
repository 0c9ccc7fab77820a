"""Minari's datasets, by the minari library."""

import re
from typing import Any

import numpy as np

from data.decoded import Decoded
from data.episode import Episode
from envs.tasks import Task
from latent_combo.run.errors import UserError

ID = re.compile(r"[\w-]+(/[\w-]+)+-v\d+")


def is_minari(name: str) -> bool:
    """Whether a name is of Minari's form, such as mujoco/hopper/medium-v0."""
    return ID.fullmatch(name) is not None


def read_minari(name: str, task: Task) -> Decoded:
    """Read a dataset, downloaded by minari if need be. Raises UserError where that fails, or it does not fit."""
    try:
        import minari
    except ImportError as error:
        raise UserError(f'{name} is a Minari id, which needs minari: pip install "latent-combo[minari]"') from error
    try:
        dataset = minari.load_dataset(name, download=True)
    except Exception as error:  # minari raises what its store, its cache and its network happen to
        raise UserError(
            f"Minari has no dataset {name} here, and it could not be fetched ({' '.join(str(error).split())}); "
            f"on a machine with a network: minari download {name}"
        ) from error
    return Decoded.of_states([_episode(name, found, task) for found in dataset.iterate_episodes()])


def _episode(name: str, found: Any, task: Task) -> Episode:
    observation, action = found.observations, found.actions
    where = f"{name}, episode {found.id}"
    for what, column, size in (("observations", observation, task.state_dim), ("actions", action, task.action_dim)):
        if not isinstance(column, np.ndarray) or column.ndim != 2 or column.shape[1] != size:
            shape = column.shape if isinstance(column, np.ndarray) else type(column).__name__
            raise UserError(f"{where}: {what} are {shape}, but {task.name} has {size} numbers; name the right --task")
    return Episode.from_transitions(
        action, found.rewards, state=observation, terminal=bool(np.asarray(found.terminations)[-1])
    )
