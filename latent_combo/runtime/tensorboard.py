"""What goes into TensorBoard."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from combo_common.files import writing
from latent_combo.runtime.event_files import EventFile

HYPERPARAMETERS = "_hparams_"
"""The first part of the tags of the HParams tab."""


class _Writer(SummaryWriter):
    """Torch's, whose events are written where they are added: its own thread would speak of a full disk by itself."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._events: Any = EventFile(folder, suffix)
        super().__init__(str(folder))

    def _get_file_writer(self) -> Any:
        vars(self).update(file_writer=self._events, all_writers={self._events.get_logdir(): self._events})
        return self._events


class TensorBoardLog:
    """TensorBoard events below a run's folder; may be used by several threads."""

    def __init__(self, folder: Path, suffix: str = "") -> None:
        """Open a new event file; files of an earlier time with the same `suffix`, if there is one, are replaced."""
        if suffix:
            for earlier in folder.glob(f"events*{suffix}"):
                earlier.unlink()
        self._folder = folder
        self._writer = _Writer(folder, suffix)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a point to a curve."""
        self._writer.add_scalar(tag, value, step)

    def scalars(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Add a point to each of the curves of a phase, as a `Sink` does."""
        for name, value in values.items():
            self.scalar(f"{phase}/{name}", value, step)

    def image(self, tag: str, encoded: bytes, size: tuple[int, int], step: int) -> None:
        """Add a PNG, or a GIF, which the image tab plays; `size` is height and width."""
        image = Summary.Image(height=size[0], width=size[1], colorspace=3, encoded_image_string=encoded)
        self._summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def histogram(self, tag: str, values: NDArray[np.floating], step: int) -> None:
        """Add a distribution of values (N,)."""
        self._writer.add_histogram(tag, values, step)

    def embedding(
        self,
        tag: str,
        feature: NDArray[np.float32],
        metadata: Mapping[str, Sequence[float]],
        thumbnail: NDArray[np.uint8] | None,
        step: int,
    ) -> None:
        """Put points (N, F) into the projector, with named figures (N,) and pictures (N, H, W, 3) for each.

        They replace those that an earlier board has put there.
        """
        (self._folder / "projector_config.pbtxt").unlink(missing_ok=True)
        for earlier in self._folder.glob(f"[0-9]*/{tag}"):
            shutil.rmtree(earlier.parent)
        rows = [[f"{value:.6g}" for value in row] for row in zip(*metadata.values(), strict=True)]
        pictures = None if thumbnail is None else torch.from_numpy(thumbnail).permute(0, 3, 1, 2).float() / 255.0
        with writing(self._folder):
            self._writer.add_embedding(torch.from_numpy(feature), rows, pictures, step, tag, list(metadata))

    def hyperparameters(self, settings: Mapping[str, bool | str | float], scores: Mapping[str, float]) -> None:
        """Put a run into the HParams tab: its settings, and scores by the tags of scalars that it has."""
        for summary in hparams(dict(settings), dict(scores)):
            self._summary(summary, 0)

    def _summary(self, summary: Summary, step: int) -> None:
        self._writer._get_file_writer().add_summary(summary, step)

    def flush(self) -> None:
        """Write what is waiting."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()


class NoBoard(TensorBoardLog):
    """Takes what TensorBoard would, and writes nothing."""

    def __init__(self) -> None:
        """There is no folder."""

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Nothing."""

    def image(self, tag: str, encoded: bytes, size: tuple[int, int], step: int) -> None:
        """Nothing."""

    def histogram(self, tag: str, values: NDArray[np.floating], step: int) -> None:
        """Nothing."""

    def embedding(
        self,
        tag: str,
        feature: NDArray[np.float32],
        metadata: Mapping[str, Sequence[float]],
        thumbnail: NDArray[np.uint8] | None,
        step: int,
    ) -> None:
        """Nothing."""

    def hyperparameters(self, settings: Mapping[str, bool | str | float], scores: Mapping[str, float]) -> None:
        """Nothing."""

    def flush(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
