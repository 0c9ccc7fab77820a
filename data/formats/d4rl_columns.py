"""The columns of D4RL's files, each checked by itself."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from data.actions import bounded_actions
from data.notes import Notes
from data.rules import without_contacts
from data.safe.hdf5 import open_hdf5
from envs.task import Task

REQUIRED = ("observations", "actions", "rewards", "terminals")
MAX_WIDTH = 4096
"""Numbers of a row."""
PHYSICS = ("qpos", "qvel", "final_qpos", "final_qvel")
"""Columns below `infos/` with the simulator's states."""


def read_columns(path: Path) -> dict[str, NDArray[Any]]:
    """The columns that are known here, of one length. Raises UserError where the file is none, or is not sound."""
    wanted = (*REQUIRED, "timeouts", "next_observations", *(f"infos/{name}" for name in PHYSICS))
    with open_hdf5(path) as file:
        found = {key: dataset for key in wanted if (dataset := file.dataset(key)) is not None}
        if lacking := [key for key in REQUIRED if key not in found]:
            raise UserError(
                f"{path} lacks {', '.join(f'`{key}`' for key in lacking)}; D4RL's layout has {', '.join(REQUIRED)}"
            )
        for key, dataset in found.items():
            if not dataset.shape:
                raise UserError(f"{path}: `{key}` is one number, not a column; it is not D4RL's layout")
            if len(dataset.shape) > 2 or max(dataset.shape[1:], default=1) > MAX_WIDTH:
                raise UserError(
                    f"{path}: `{key}` of shape {dataset.shape} is no column of D4RL's layout; fetch it again"
                )
            if "infos/" not in key:
                _same_length(path, key, dataset, len(found["observations"]))
        return {key: dataset[()] for key, dataset in found.items()}


def checked(
    path: Path, columns: dict[str, NDArray[Any]], task: Task, notes: Notes
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """The four required columns. Raises UserError where one of them can't be right."""
    observation = vectors(path, "observations", columns["observations"], task.state_dim, task, notes)
    action = vectors(path, "actions", columns["actions"], task.action_dim, task, notes)
    reward = columns["rewards"]
    if reward.ndim == 2 and reward.shape[1] == 1:
        reward = reward[:, 0]
    with np.errstate(over="ignore"):  # what is too large is told below
        reward = reward.astype(np.float32)
    if reward.ndim != 1:
        raise UserError(f"{path}: `rewards` of shape {reward.shape} must be one number a row")
    if not (finite := np.isfinite(reward)).all():
        raise UserError(f"{path}: `rewards` hold a NaN or Inf, first in row {int(finite.argmin())}; mend or remove it")
    terminal = flags(path, "terminals", columns["terminals"])
    if len(observation) < 2:
        raise UserError(f"{path} has {len(observation)} rows; there is nothing to train on")
    return observation, bounded_actions(str(path), "actions", action, task, notes), reward, terminal


def vectors(path: Path, key: str, column: NDArray[Any], size: int, task: Task, notes: Notes) -> NDArray[np.float32]:
    """A column of finite vectors of the task's size, as float32."""
    if column.ndim != 2 or column.dtype.kind != "f":
        raise UserError(f"{path}: `{key}` is {column.dtype} of shape {column.shape}, not vectors of floats")
    if "observations" in key:
        column = without_contacts(column, task, notes)
    if column.shape[1] != size:
        raise UserError(
            f"{path}: `{key}` has {column.shape[1]} numbers a row, but {task.name} has {size}; "
            "name the --task that it is of"
        )
    with np.errstate(over="ignore"):
        column = column.astype(np.float32)
    if not (finite := np.isfinite(column).all(-1)).all():
        raise UserError(f"{path}: `{key}` holds a NaN or Inf, first in row {int(finite.argmin())}; mend or remove it")
    return column


def flags(path: Path, key: str, column: NDArray[Any]) -> NDArray[np.bool_]:
    """A column of yes and no, whatever type of number it has."""
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1 or not np.isin(column, (0, 1)).all():
        raise UserError(f"{path}: `{key}` of shape {column.shape} must be one 0 or 1 a row")
    return column.astype(bool)


def _same_length(path: Path, key: str, column: h5py.Dataset, rows: int) -> None:
    if len(column) != rows:
        raise UserError(f"{path}: `{key}` has {len(column)} rows where `observations` has {rows}; fetch it again")
