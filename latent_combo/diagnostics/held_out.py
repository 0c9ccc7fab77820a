"""The pieces of held-out episodes that a run is measured on and shown with, the same at every step of training."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from combo_common.seeding import numpy_generator
from data.dataset import TrajectoryDataset
from latent_combo.latents.segments import SegmentSampler, usable_rows
from latent_combo.latents.statistics import mean_observation, mean_reward, std_observation, vector_units
from latent_combo.world_model.base import Segment
from latent_combo.world_model.open_loop import PEAK, VectorUnits, horizons_within

CONTEXT = 10
"""Rows that are observed before a prediction."""
CLIP_ROWS = 50
"""Rows of a clip, the observed ones included, where an episode has as many."""
MIN_EPISODE_ROWS = CONTEXT + 15
"""Rows that the longest held-out episode must have."""


@dataclass(frozen=True)
class DiagnosticSet:
    """Segments, on the device of the model."""

    shown: Segment
    """(E, CLIP_ROWS, ...): the clips."""
    titles: tuple[str, ...]
    """What each of them is."""
    measured: Segment
    """(M, CONTEXT + the longest horizon, ...)."""
    horizons: tuple[int, ...]
    """Those HORIZONS that the episodes have room for."""
    physics: NDArray[np.float64] | None
    """(M, P): the simulator's states at the last observed rows of `measured`; None where none are recorded."""
    episodes: int
    """Held-out episodes that `measured` is of: its segments overlap, so this many are independent."""
    mean: tuple[Tensor, float]
    """Mean observation and mean reward of the training episodes."""
    scale: Tensor | float = PEAK
    """Unit of an observation's errors: the peak of images, the standard deviations of vectors."""
    vectors: VectorUnits | None = None
    """Units of the vectors beside the images; None where there are none."""

    @property
    def images(self) -> bool:
        """Whether the observations are images."""
        return self.shown.observation.dim() == 5

    @classmethod
    def choose(
        cls,
        data: TrajectoryDataset,
        train: NDArray[np.int64],
        held_out: NDArray[np.int64],
        clips: int,
        segments: int,
        seed: int,
        device: torch.device,
    ) -> "DiagnosticSet":
        """Choose `clips` episodes to show, and `segments` to measure on, or as many as there are.

        Raises UserError where all episodes are too short.
        """
        longest = int(usable_rows(data, held_out).max())
        horizons = horizons_within(max(longest, MIN_EPISODE_ROWS), CONTEXT)
        to_show = SegmentSampler(data, held_out, max(MIN_EPISODE_ROWS, min(CLIP_ROWS, longest)))
        rows = to_show.spread_rows(clips, numpy_generator(seed, "clips"))
        to_measure = SegmentSampler(data, held_out, CONTEXT + max(horizons))
        measured = to_measure.distinct_rows(segments, numpy_generator(seed, "measure"))
        return cls(
            to_show.at(rows).to(device),
            tuple(_title(data, row) for row in rows.tolist()),
            to_measure.at(measured).to(device),
            horizons,
            None if data.physics is None else data.physics[measured + CONTEXT - 1],
            len(np.unique(np.searchsorted(data.starts, measured, side="right"))),
            (mean_observation(data, train).to(device), mean_reward(data, train)),
            PEAK if data.observation.ndim == 4 else std_observation(data, train).to(device),
            vector_units(data, train, device),
        )


def _title(data: TrajectoryDataset, row: int) -> str:
    episode = int(np.searchsorted(data.starts, row, side="right")) - 1
    return f"episode {episode}, step {row - data.starts[episode]}"
