"""Statistics of a dataset's episodes."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.dataset import TrajectoryDataset
from latent_combo.latents.encode import rows_of
from latent_combo.world_model.normaliser import LEAST_STD, Normaliser
from latent_combo.world_model.open_loop import VectorUnits


def normaliser_of(data: TrajectoryDataset, episodes: NDArray[np.int64]) -> Normaliser:
    """The units of the given episodes' transitions: of vector observations, or of the vectors beside images."""
    seen = data.observation if data.vector is None else data.vector
    rows = np.concatenate([np.arange(row.start, row.stop - 1) for row in rows_of(data, episodes)])
    if not data.endings_seen:
        rows = rows[~data.is_terminal[rows + 1]]
    before, after, reward = seen[rows], seen[rows + 1], data.reward[rows + 1]
    return Normaliser.of(*(torch.from_numpy(column) for column in (before, after, reward)))


def reward_std(data: TrajectoryDataset, episodes: NDArray[np.int64]) -> float:
    """The standard deviation of the given episodes' rewards; 1 where they are all alike."""
    rows = np.concatenate([np.arange(row.start + 1, row.stop) for row in rows_of(data, episodes)])
    std = float(data.reward[rows].std(dtype=np.float64))
    return std if std > LEAST_STD else 1.0


def mean_observation(data: TrajectoryDataset, episodes: NDArray[np.int64]) -> Tensor:
    """The mean of every 25th observation of the given episodes, (...) float32."""
    return torch.from_numpy(_some(data, data.observation, episodes).mean(0, dtype=np.float64)).float()


def std_observation(data: TrajectoryDataset, episodes: NDArray[np.int64]) -> Tensor:
    """The standard deviation of the same; 1 for numbers that never change."""
    return _std(_some(data, data.observation, episodes))


def vector_units(data: TrajectoryDataset, episodes: NDArray[np.int64], device: torch.device) -> VectorUnits | None:
    """The mean and standard deviation of the vectors beside images, likewise; None where there are none."""
    if data.vector is None:
        return None
    some = _some(data, data.vector, episodes)
    mean = torch.from_numpy(some.mean(0, dtype=np.float64)).float()
    return VectorUnits(mean.to(device), _std(some).to(device))


def _std(rows: NDArray[Any]) -> Tensor:
    std = torch.from_numpy(rows.std(0, dtype=np.float64)).float()
    return torch.where(std > LEAST_STD, std, 1.0)


def _some(data: TrajectoryDataset, column: NDArray[Any], episodes: NDArray[np.int64]) -> NDArray[Any]:
    pieces = zip(data.starts[episodes], data.lengths[episodes], strict=True)
    rows = np.concatenate([np.arange(start, start + length, 25) for start, length in pieces])
    return np.asarray(column[rows])


def mean_reward(data: TrajectoryDataset, episodes: NDArray[np.int64]) -> float:
    """Mean reward of the transitions of the given episodes."""
    return float(data.episode_returns[episodes].sum() / (data.lengths[episodes] - 1).sum())
