"""Metrics of a run: a tidy CSV, TensorBoard's scalars, and other sinks of the same."""

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from combo_common.errors import UserError
from combo_common.files import GrowingFile, write_atomically, writing
from latent_combo.runtime import sinks
from latent_combo.runtime.event_files import FILES, purge
from latent_combo.runtime.renamed import metric_now
from latent_combo.runtime.run_folder import HEADER, METRICS, TENSORBOARD
from latent_combo.runtime.sinks import Sink
from latent_combo.runtime.tensorboard import HYPERPARAMETERS, NoBoard, TensorBoardLog

NOTHING = -1
"""Before the first step."""


@dataclass(frozen=True)
class Kept:
    """What a resumed run keeps of its log: all that it does not log again, by the last step that stays."""

    scalars: Mapping[str, int]
    """By phase."""
    drawn: Mapping[str, int]
    """Of pictures, clips and distributions, by the first part of their tags."""

    def scalar(self, phase: str, step: int) -> bool:
        """Whether a scalar stays; those of phases that are not named do."""
        return step <= self.scalars.get(phase, math.inf)

    def value(self, value: Summary.Value, step: int) -> bool:
        """Whether a value of TensorBoard's stays. A run's hyperparameters are logged at its end, and so again."""
        group = value.tag.partition("/")[0]
        if group == HYPERPARAMETERS:
            return False
        return self.scalar(group, step) if value.HasField("simple_value") else step <= self.drawn.get(group, math.inf)


class MetricsLog:
    """Writes `metrics.csv` (a row per value) and TensorBoard events below a run's folder, and to other sinks."""

    def __init__(
        self,
        folder: Path,
        resume: Kept | None = None,
        labels: Sequence[str] | None = None,
        names: Sequence[str] = (sinks.TENSORBOARD,),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the log; with `resume`, all that does not stay is dropped from CSV and TensorBoard first.

        `labels` (S,) are what all but the CSV call the agents; that has their numbers. `names` are those of the setting
        `log`, and `settings` what external sinks keep of the run's. Raises UserError where one can't be opened.
        """
        self._labels, self.folder = labels, folder
        path = folder / METRICS
        had = last_steps(path) if resume is not None else {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            kept = _rows_kept(path, resume) if resume is not None and path.exists() else []
            write_atomically(path, as_csv([HEADER, *kept]))
            self._file = GrowingFile(path)
        except OSError as error:
            raise UserError(f"can not write {path}: {error.strerror}; choose another --out") from error
        if resume is not None:
            purge(folder / TENSORBOARD, resume.value)
        self.board: TensorBoardLog = TensorBoardLog(folder / TENSORBOARD) if sinks.TENSORBOARD in names else NoBoard()
        self._sinks: list[Sink] = [self.board, *sinks.open_sinks(names, folder, settings or {}, had)]

    def write(self, phase: str, step: int, metrics: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Log scalars, and vectors (S,) as one series per agent; returns what was read. Only this reads tensors."""
        names: list[str] = []
        tags: list[str] = []
        values: list[Tensor] = []
        for name, value in metrics.items():
            flat = torch.as_tensor(value, dtype=torch.float32).detach().reshape(-1)
            single = not isinstance(value, Tensor) or value.dim() == 0
            numbers = [str(index) for index in range(len(flat))]
            labels = numbers if self._labels is None or len(self._labels) != len(flat) else self._labels
            names += [name] if single else [f"{name}/{number}" for number in numbers]
            tags += [name] if single else [f"{name}/{label}" for label in labels]
            values.append(flat)
        # one transfer, so gather where the tensors are, not where the plain numbers are
        device = next((v.device for v in values if v.device.type != "cpu"), torch.device("cpu"))
        read: list[float] = torch.cat([v.to(device) for v in values]).tolist() if values else []
        rows = [(phase, step, name, f"{number:.8g}") for name, number in zip(names, read, strict=True)]
        self._file.write(as_csv(rows))  # before the sinks: what a kill leaves out of them is given once, or not at all
        for sink in self._sinks:
            sink.scalars(phase, step, dict(zip(tags, read, strict=True)))
        return dict(zip(names, read, strict=True))

    def flush(self) -> None:
        """Write what is waiting, as before a checkpoint, after which nothing up to its step is logged again."""
        for sink in self._sinks:
            sink.flush()

    def sync(self) -> None:
        """Let what was flushed of CSV and TensorBoard reach the disk, in any thread. Raises UserError if it can't."""
        self.board.flush()
        for path in (self.folder / METRICS, *(self.folder / TENSORBOARD).glob(FILES)):
            with writing(path), open(path, "rb") as file:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Flush and close all."""
        self._file.close()
        for sink in self._sinks:
            sink.close()


def as_csv(rows: Iterable[Sequence[object]]) -> bytes:
    """Lines of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def last_steps(path: Path) -> dict[str, int]:
    """The last step of each phase that a CSV has; none of a file that is not there, or is damaged."""
    steps = dict[str, int]()
    with suppress(OSError, ValueError), open(path, newline="") as file:
        for phase, step, _, _ in list(csv.reader(file))[1:]:
            steps[phase] = max(int(step), steps.get(phase, NOTHING))
    return steps


def _rows_kept(path: Path, resume: Kept) -> list[tuple[str, int, str, str]]:
    """The rows that stay, metrics by their names of now; a last line that was cut short is dropped."""
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    try:
        rows = [(phase, int(step), metric_now(name), value) for phase, step, name, value in list(csv.reader(whole))[1:]]
    except ValueError as error:
        raise UserError(f"{path} has a row that is not {','.join(HEADER)}; mend or delete it, and resume") from error
    return [row for row in rows if resume.scalar(row[0], row[1])]
