"""A dataset as stacked frames, for agents without a world model: its images stay as they are, in memory or on a GPU."""

import warnings
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from combo_common.errors import UserError
from data.dataset import TrajectoryDataset
from latent_combo.agent.frames import FrameDataset
from latent_combo.agent.offline import rows_since_first, transitions_of
from latent_combo.agent.settings import AgentConfig
from latent_combo.latents.encode import rows_of
from latent_combo.latents.feed import SHARE_OF_DEVICE, fits_on_device


def frames_of(data: TrajectoryDataset, device: torch.device) -> Tensor:
    """All images of a dataset (N, H, W, 3) uint8: on a GPU a copy, elsewhere the same memory, or the file that it maps.

    Raises UserError where a GPU has no room for them.
    """
    if device.type == "cuda" and not fits_on_device(data, device):
        raise UserError(
            f"the images take {data.observation.nbytes / 1e9:.1f} GB, more than {SHARE_OF_DEVICE:.0%} of what the GPU "
            "has free; use a smaller dataset or smaller images, or --device cpu"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a map that can't be written to, which nobody does
        return torch.from_numpy(np.ascontiguousarray(data.observation)).to(device)


def stack_frames(
    frame: Tensor, data: TrajectoryDataset, episodes: NDArray[np.int64], config: AgentConfig, held_out: bool = False
) -> FrameDataset:
    """The given episodes of a dataset, whose images are `frame` (N, H, W, 3), as an agent of the config draws them.

    Those that are `held_out` are never shifted, and their rows are all drawn alike.
    """
    config = replace(config, episode_start_fraction=0.0) if held_out else config
    rows = np.concatenate([np.arange(row.start, row.stop) for row in rows_of(data, episodes)])
    place, action, reward, terminal, is_first = (
        torch.from_numpy(column).to(frame.device)
        for column in (rows, data.action[rows], data.reward[rows], data.is_terminal[rows], data.is_first[rows])
    )
    return FrameDataset(
        frame=frame,
        place=place,
        first=torch.arange(len(rows), device=frame.device) - rows_since_first(is_first),
        frames=config.encoder.frames,
        shift=0 if held_out else config.encoder.shift(frame.shape[1]),
        **transitions_of(action, reward, terminal.float(), is_first, config),
    )
