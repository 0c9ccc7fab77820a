"""Statistics of a dataset's episodes."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.dataset import TrajectoryDataset
from latent_combo.latents.encode import rows_of
from latent_combo.world_model.normaliser import LEAST_STD, Normaliser


def normaliser_of(data: TrajectoryDataset, episodes: NDArray[np.int64]) -> Normaliser:
    """The units of the given episodes' transitions; for vector observations."""
    rows = np.concatenate([np.arange(row.start, row.stop - 1) for row in rows_of(data, episodes)])
    if not data.endings_seen:
        rows = rows[~data.is_terminal[rows + 1]]
    before, after, reward = data.observation[rows], data.observation[rows + 1], data.reward[rows + 1]
    return Normaliser.of(*(torch.from_numpy(column) for column in (before, after, reward)))


def mean_observation(data: TrajectoryDataset, episodes: NDArray[np.int64]) -> Tensor:
    """The mean of every 25th observation of the given episodes, (...) float32."""
    return torch.from_numpy(_some(data, episodes).mean(0, dtype=np.float64)).float()


def std_observation(data: TrajectoryDataset, episodes: NDArray[np.int64]) -> Tensor:
    """The standard deviation of the same; 1 for numbers that never change."""
    std = torch.from_numpy(_some(data, episodes).std(0, dtype=np.float64)).float()
    return torch.where(std > LEAST_STD, std, 1.0)


def _some(data: TrajectoryDataset, episodes: NDArray[np.int64]) -> NDArray[Any]:
    pieces = zip(data.starts[episodes], data.lengths[episodes], strict=True)
    rows = np.concatenate([np.arange(start, start + length, 25) for start, length in pieces])
    return np.asarray(data.observation[rows])


def mean_reward(data: TrajectoryDataset, episodes: NDArray[np.int64]) -> float:
    """Mean reward of the transitions of the given episodes."""
    return float(data.episode_returns[episodes].sum() / (data.lengths[episodes] - 1).sum())
