"""The columns of D4RL's files, each checked by itself."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from data.safe.hdf5 import open_hdf5
from envs.tasks import Task

REQUIRED = ("observations", "actions", "rewards", "terminals")
ROUNDING = 1e-5
"""How far beyond 1 an action may be by rounding; it is clipped."""
MAX_WIDTH = 4096
"""Numbers of a row."""
ANT_ALONE, ANT_WITH_CONTACTS = 27, 111
"""Observations of the ant: gymnasium's v4, and D4RL's, whose other 84 numbers, contact forces, are all zero."""
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
    path: Path, columns: dict[str, NDArray[Any]], task: Task
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """The four required columns. Raises UserError where one of them can't be right."""
    observation = vectors(path, "observations", columns["observations"], task.state_dim, task)
    action = vectors(path, "actions", columns["actions"], task.action_dim, task)
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
    beyond = np.abs(action).max(-1)
    if (worst := int(beyond.argmax())) >= 0 and beyond[worst] > 1.0 + ROUNDING:
        raise UserError(
            f"{path}: `actions` leave [-1, 1], first in row {int((beyond > 1.0 + ROUNDING).argmax())} "
            f"(by most {beyond[worst]:.3g}); scale them to [-1, 1]"
        )
    return observation, action.clip(-1.0, 1.0), reward, terminal


def vectors(path: Path, key: str, column: NDArray[Any], size: int, task: Task) -> NDArray[np.float32]:
    """A column of finite vectors of the task's size, as float32."""
    if column.ndim != 2 or column.dtype.kind != "f":
        raise UserError(f"{path}: `{key}` is {column.dtype} of shape {column.shape}, not vectors of floats")
    contacts = column.shape[1] == ANT_WITH_CONTACTS and size == ANT_ALONE
    if contacts and not column[:, ANT_ALONE:].any():
        column = column[:, :ANT_ALONE]
    if column.shape[1] != size:
        hint = "; its contact forces are not all zero, and the task observes none" if contacts else ""
        raise UserError(
            f"{path}: `{key}` has {column.shape[1]} numbers a row, but {task.name} has {size}{hint}; "
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
