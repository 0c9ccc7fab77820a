"""A run that is killed, wherever it stands, and goes on, is that of one go: its log has each value once."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_pendulum
from tensorboard.backend.event_processing.event_accumulator import (
    HISTOGRAMS,
    IMAGES,
    SCALARS,
    STORE_EVERYTHING_SIZE_GUIDANCE,
    EventAccumulator,
)
from test_checkpoint import same

from latent_combo import train as trainer
from latent_combo.agent.fit import AgentFit
from latent_combo.config.command_line import parse
from latent_combo.config.schema import Config
from latent_combo.evaluation.result import Result
from latent_combo.runtime import checkpoint
from latent_combo.runtime.media import MediaWriter
from latent_combo.runtime.run_folder import AGENT, LOCK, WORLD_MODEL
from latent_combo.runtime.saver import Saver
from latent_combo.train import train
from latent_combo.world_model.fit import Fit

SMALL = """
    --obs state --algorithm combo --products mkl --validation_fraction 0.1 --world_model_fit.steps 12
    --world_model_fit.batch 64 --world_model_fit.validate_every 6 --world_model_fit.patience 0 --ensemble.hidden 16
    --agent.num_agents 2 --agent.batch 16 --agent.num_sampled_actions 2 --agent.network.hidden 16
    --agent.actor_network.hidden 16 --agent_fit.updates 12 --agent_fit.warm_up 4 --agent_fit.rollout_batch_size 20
    --agent_fit.rollout_every 5
    --agent_fit.evaluations 3 --score.episodes 2 --score.processes 1 --score.episodes_during_training 1
    --device cpu --views.every 4 --views.clips 1 --views.segments 8 --views.episodes 2 --log_every 2 --save_every 4
"""
SPEED = ("per_s", "share_of_matmul")
"""What differs from one time to the next."""


class Killed(Exception):  # stands for a signal
    """What no part of a run catches."""


def balance(folder: Path, out: str) -> Config:
    """The config of a run on the clumsy policy's data."""
    path = folder / "toy-pendulum.hdf5"
    if not path.exists():
        toy_pendulum.dataset(path)
    return parse([*SMALL.split(), "--dataset", str(path), "--data_dir", str(folder), "--out", str(folder / out)])[0]


def after(calls: int, whole: Callable[..., Any], run: Path) -> Callable[..., Any]:
    """The same function, killed at its next call after so many; a copy of the run has what is in its files then."""
    count = iter(range(1_000_000))

    def part(*given: Any, **named: Any) -> Any:
        if next(count) == calls:
            shutil.copytree(run, run.with_suffix(".killed"))
            raise Killed
        return whole(*given, **named)

    return part


def save_at_once(patched: pytest.MonkeyPatch) -> None:
    """Let checkpoints be on the disk when they were asked for: no copy of the folder is to be taken meanwhile."""
    save = Saver.save

    def whole(saver: Saver, *given: Any) -> None:
        save(saver, *given)
        saver.wait()

    patched.setattr(Saver, "save", whole)


def logged(run: Path) -> dict[str, list[tuple[int, float | None]]]:
    """By tag of TensorBoard: steps and values in order of the steps, without the values of what differs by time."""
    board = EventAccumulator(str(run / "tensorboard"), size_guidance=STORE_EVERYTHING_SIZE_GUIDANCE)
    board.Reload()
    found: dict[str, list[tuple[int, float | None]]] = {}
    for tag in board.Tags()[SCALARS]:
        values = ((event.step, None if tag.endswith(SPEED) else event.value) for event in board.Scalars(tag))
        found[tag] = sorted(values, key=lambda pair: pair[0])
    for tag in board.Tags()[HISTOGRAMS]:
        found[tag] = sorted((event.step, event.histogram_value.sum) for event in board.Histograms(tag))
    for tag in board.Tags()[IMAGES]:
        found[tag] = sorted((event.step, None) for event in board.Images(tag))
    hyperparameters = [tag for tag in board.summary_metadata if tag.startswith("_hparams_")]
    return found | {tag: [] for tag in hyperparameters}


def rows(run: Path) -> list[tuple[str, ...]]:
    """The rows of metrics.csv, without the values of what differs by time."""
    with open(run / "metrics.csv", newline="") as file:
        return [(*row[:3], "" if row[2].endswith(SPEED) else row[3]) for row in csv.reader(file)]


def saved(run: Path, phase: str) -> dict[str, Any]:
    """A phase's last checkpoint, without what differs by time."""
    state = checkpoint.load(run / phase, torch.device("cpu"))
    return {name: part for name, part in state.items() if name not in ("seconds", "meter")}


def test_a_run_that_is_killed_everywhere_has_the_log_of_one_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_log(gallery: MediaWriter, tag: str, step: int, *given: object, **named: object) -> None:
        gallery.board.image(tag, b"", (1, 1), step)

    save_at_once(monkeypatch)
    monkeypatch.setattr(MediaWriter, "picture", only_log)
    monkeypatch.setattr(MediaWriter, "clip", only_log)
    monkeypatch.setattr("latent_combo.diagnostics.agent.film", lambda *given: (np.zeros((1, 16, 16, 3), np.uint8), 1))
    monkeypatch.setattr("latent_combo.pipeline.measure.draw_curves", lambda run: [np.zeros((1, 1, 3), np.uint8)])
    with toy_pendulum.registered():
        train(balance(tmp_path, "whole"))
        config = balance(tmp_path, "parts")
        kills: list[tuple[Any, str, int]] = [
            (Fit, "take_step", 7),  # at step 8, with a checkpoint at 4
            (Fit, "take_step", 3),  # again, before the next
            (trainer, "encode", 0),
            (checkpoint, "save", 0),  # of the agent, which then begins again
            (AgentFit, "take_step", 6),
            (trainer, "dataset_returns", 0),  # with a score, but without a result
            (trainer, "seconds_of", 0),  # with a result, but not its last part
        ]
        for number, (owner, name, calls) in enumerate(kills):
            with monkeypatch.context() as patched:
                patched.setattr(owner, name, after(calls, getattr(owner, name), tmp_path / "parts"))
                with pytest.raises(Killed):
                    train(config, resume=number > 0)
            shutil.rmtree(tmp_path / "parts")  # which was closed properly
            (tmp_path / "parts.killed").rename(tmp_path / "parts")
        train(config, resume=True)
    whole, parts = logged(tmp_path / "whole"), logged(tmp_path / "parts")
    assert {"agent/score/0", "open_loop/reward_mae_5", "world_model/loss", "result/return_mean"} <= whole.keys()
    assert {"values/dataset_pairs", "world_model/horizon", "_hparams_/session_start_info"} <= whole.keys()
    assert [step for step, _ in whole["world_model/horizon"]] == [4, 8, 12]
    assert parts.keys() == whole.keys()
    for tag, values in whole.items():
        assert parts[tag] == values, tag
    states = [[saved(tmp_path / out, phase) for phase in (WORLD_MODEL, AGENT)] for out in ("whole", "parts")]
    assert same(*states)
    results = [Result.read(tmp_path / out) for out in ("whole", "parts")]
    assert results[0] is not None and results[1] is not None
    assert (results[0].resumed, results[1].resumed, results[1].changes) == (0, len(kills), [])
    assert [agent.returns for agent in results[0].agents] == [agent.returns for agent in results[1].agents]
    assert results[0].evaluations == results[1].evaluations and results[0].diagnostics == results[1].diagnostics
    assert all(rate for rate in results[1].rates.values())
    assert not list((tmp_path / "parts").rglob("*.partial")) and not (tmp_path / "parts" / LOCK).exists()
    assert len(rows(tmp_path / "parts")) == len(set(rows(tmp_path / "parts")))
    assert sorted(rows(tmp_path / "parts")) == sorted(rows(tmp_path / "whole"))
