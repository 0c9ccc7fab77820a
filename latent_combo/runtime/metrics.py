"""Metrics of a run: a tidy CSV, and TensorBoard's scalars."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from combo_common.errors import UserError
from combo_common.files import write_atomically
from latent_combo.runtime.event_files import purge
from latent_combo.runtime.renamed import metric_now
from latent_combo.runtime.run_folder import HEADER, METRICS, TENSORBOARD
from latent_combo.runtime.tensorboard import HYPERPARAMETERS, TensorBoardLog

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
    """Writes `metrics.csv` (a row per value) and TensorBoard events below a run's folder."""

    def __init__(self, folder: Path, resume: Kept | None = None, labels: Sequence[str] | None = None) -> None:
        """Open the log; with `resume`, all that does not stay is dropped from both first.

        `labels` (S,) are what TensorBoard calls the agents; the CSV has their numbers.
        """
        self._labels = labels
        path = folder / METRICS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            kept = _rows_kept(path, resume) if resume is not None and path.exists() else []
            start = io.StringIO()
            csv.writer(start, lineterminator="\n").writerows([HEADER, *kept])
            write_atomically(path, start.getvalue().encode())
            self._file = open(path, "a", newline="")  # noqa: SIM115  # closed by close()
        except OSError as error:
            raise UserError(f"can not write {path}: {error.strerror}; choose another --out") from error
        self._csv = csv.writer(self._file, lineterminator="\n")
        if resume is not None:
            purge(folder / TENSORBOARD, resume.value)
        self.board = TensorBoardLog(folder / TENSORBOARD)

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
        for name, tag, number in zip(names, tags, read, strict=True):
            self._csv.writerow((phase, step, name, f"{number:.8g}"))
            self.board.scalar(f"{phase}/{tag}", number, step)
        self._file.flush()
        return dict(zip(names, read, strict=True))

    def flush(self) -> None:
        """Write what is waiting, as before a checkpoint, after which nothing up to its step is logged again."""
        self._file.flush()
        self.board.flush()

    def close(self) -> None:
        """Flush and close both."""
        self._file.close()
        self.board.close()


def _rows_kept(path: Path, resume: Kept) -> list[tuple[str, int, str, str]]:
    """The rows that stay, metrics by their names of now; a last line that was cut short is dropped."""
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    try:
        rows = [(phase, int(step), metric_now(name), value) for phase, step, name, value in list(csv.reader(whole))[1:]]
    except ValueError as error:
        raise UserError(f"{path} has a row that is not {','.join(HEADER)}; mend or delete it, and resume") from error
    return [row for row in rows if resume.scalar(row[0], row[1])]
