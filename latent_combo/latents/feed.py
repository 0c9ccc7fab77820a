"""Batches of segments for a world model's fit: cut on the device where the data fit there, or else fed to it."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from combo_common.seeding import numpy_generator
from data.dataset import TrajectoryDataset
from latent_combo.latents.segments import SegmentSampler
from latent_combo.numerics.data_parallel import WHOLE, Share
from latent_combo.numerics.images import take_rows
from latent_combo.world_model.augment import random_shift
from latent_combo.world_model.base import Segment

SHARE_OF_DEVICE = 0.5
"""Of a GPU's free memory that a dataset's images may take."""


class SegmentFeed:
    """Draws the batch of each step: its segments are those of the seed and the step, whatever came before.

    What a CUDA graph can't do, drawing by the sampler's rules on the host, stands in `prepare`; calling the feed reads
    tensors of the device only, and can be captured.
    """

    def __init__(
        self,
        sampler: SegmentSampler,
        batch: int,
        seed: int,
        shift: int,
        generator: torch.Generator,
        share: Share = WHOLE,
    ) -> None:
        """Feed `batch` segments per step to the device of `generator`, which draws shifts of up to `shift` pixels.

        Of several processes each has its `share` of them, and draws all.
        """
        self.sampler, self.seed, self.shift, self.generator, self.share = sampler, seed, shift, generator, share
        self.whole, self.batch = batch, batch // share.processes
        self.device = generator.device
        self.on_device = self.device.type == "cuda" and fits_on_device(sampler.decoded, self.device)
        """Whether the whole dataset is on the GPU."""
        if self.on_device:
            data = sampler.decoded
            columns = (data.observation, data.action, data.reward, data.is_first, data.is_terminal, data.vector)
            self._columns = [
                torch.from_numpy(np.ascontiguousarray(column)).to(self.device)
                for column in columns
                if column is not None
            ]
            self._rows = torch.zeros(batch, dtype=torch.int64, device=self.device)
        else:
            # What is prepared is copied there, so that a graph finds it where it was.
            self._segment = sampler.at(self._draw(0)).to(self.device)
        self._worker = ThreadPoolExecutor(1) if self.device.type == "cuda" and not self.on_device else None
        self._ahead: tuple[int, Future[Segment]] | None = None

    def prepare(self, step: int) -> None:
        """Draw the batch of a step, numbered from 0."""
        if self.on_device:
            rows = torch.from_numpy(self._draw(step)).pin_memory()
            self._rows.copy_(rows, non_blocking=True)
            return
        for name, part in self._gathered(step).tensors().items():
            getattr(self._segment, name).copy_(part, non_blocking=True)

    def __call__(self) -> Segment:
        """The batch (B, L, ...) that was prepared last, its images shifted; `prepare` comes first."""
        segment = self._cut() if self.on_device else self._segment
        if self.shift == 0:
            return segment
        return replace(segment, observation=random_shift(segment.observation, self.shift, self.generator, self.share))

    def close(self) -> None:
        """End the thread that gathers ahead."""
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)

    def _draw(self, step: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        rows = self.sampler.rows(self.whole, numpy_generator(self.seed, f"segments of step {step}"))
        return rows[self.share.rank * self.batch :][: self.batch]

    def _gathered(self, step: int) -> Segment:
        """The batch of a step on the host; for a GPU in pinned memory, and the next one is begun beside."""
        if self._worker is None:
            return self.sampler.at(self._draw(step))
        if self._ahead is None or self._ahead[0] != step:
            self._ahead = (step, self._worker.submit(self._pinned, step))
        segment = self._ahead[1].result()
        self._ahead = (step + 1, self._worker.submit(self._pinned, step + 1))
        return segment

    def _pinned(self, step: int) -> Segment:
        segment = self.sampler.at(self._draw(step))
        return Segment(**{name: part.pin_memory() for name, part in segment.tensors().items()})

    def _cut(self) -> Segment:
        """Cut the drawn segments out of the columns."""
        rows = (self._rows[:, None] + torch.arange(self.sampler.length, device=self.device)).flatten()
        return Segment(*(take_rows(column, rows).unflatten(0, (self.batch, -1)) for column in self._columns))


def fits_on_device(data: TrajectoryDataset, device: torch.device) -> bool:
    """Whether the images of a dataset take at most `SHARE_OF_DEVICE` of a GPU's free memory."""
    free, _ = torch.cuda.mem_get_info(device)
    return data.observation.nbytes < SHARE_OF_DEVICE * free
