"""A comparison of toy runs, trained in this process: by the real `train`, without any pictures."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from unittest import mock

import toy_pendulum

from combo_common.errors import UserError
from latent_combo import compare
from latent_combo import train as trainer
from latent_combo.comparison import files, run_job
from latent_combo.config.command_line import parse
from latent_combo.evaluation.result_parts import WorldModelResult

SMALL = """
    --obs state --products mkl --world-model-fit.steps 4 --world-model-fit.batch 64 --world-model-fit.patience 0
    --ensemble.hidden 16 --agent.num-agents 2 --agent.batch 16 --agent.num-sampled-actions 2 --agent.network.hidden 16
    --agent.actor-network.hidden 16 --agent-fit.updates 4 --agent-fit.warm-up 2 --agent-fit.rollout-batch-size 20
    --agent-fit.evaluations 2 --score.episodes 2 --score.episodes-during-training 1 --device cpu --views.every 0
    --views.segments 2 --views.episodes 1 --log-every 2 --save-every 2
"""


class InProcess:
    """Stands for `subprocess.Popen` of a run: trains here, and has ended when it is made."""

    started: list[list[str]] = []  # noqa: RUF012  # the arguments of all
    pid = 0

    def __init__(self, words: list[str], stdout: BinaryIO, **_: Any) -> None:
        arguments = words[words.index("latent_combo.train") + 1 :]
        self.started.append(arguments)
        try:
            trainer.train(*parse(arguments))
            self.returncode = 0
        except UserError as error:  # as combo_common.cli does
            stdout.write(f"error: {error}\n".encode())
            self.returncode = 2

    def wait(self, timeout: float) -> int:
        return self.returncode


@contextmanager
def trained_here() -> Iterator[list[list[str]]]:
    """Runs are trained in this process; the arguments of those that were begun."""
    InProcess.started.clear()
    with bare(), mock.patch.object(run_job, "subprocess", mock.Mock(wraps=subprocess, Popen=InProcess)):
        yield InProcess.started


@contextmanager
def bare() -> Iterator[None]:
    """The toy pendulum is among the tasks, and neither runs nor comparisons draw anything."""
    with (
        toy_pendulum.registered(),
        mock.patch.object(trainer, "measure_model", lambda *_: WorldModelResult()),
        mock.patch.object(trainer, "show", lambda *_: {"left": "out"}),
        mock.patch.object(trainer, "write_pages", lambda *_: None),
        mock.patch.object(files, "pictures", lambda *_: {}),
    ):
        yield


def run_compare(*arguments: object) -> None:
    """The command, with the settings of a toy run."""
    with mock.patch.object(sys, "argv", ["compare", *map(str, arguments), *SMALL.split()]):
        compare.main()


def record(folder: Path, name: str, seed: int = 0) -> Path:
    """A small dataset of the toy pendulum."""
    path = folder / f"{name}.hdf5"
    with toy_pendulum.registered():
        toy_pendulum.dataset(path, episodes=12, seed=seed)
    return path
