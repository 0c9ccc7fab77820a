"""Runs of algorithms that have no world model, end to end at toy size: killed, resumed, scored, drawn, exported."""

import csv
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_runs import TOY, blank_figures, short_episodes

import latent_combo
from combo_common.errors import UserError
from latent_combo import evaluate, export, report, visualise
from latent_combo import train as trainer
from latent_combo.agent.fit import AgentFit
from latent_combo.config.saved import load_config
from latent_combo.evaluation.result import Result
from latent_combo.runtime import checkpoint

SIZES = (
    *("--agent.encoder.channels", "4", "--agent.encoder.layers", "2", "--agent.encoder.projection", "8"),
    *("--agent.policy_average", "0.9", "--agent_fit.evaluations", "1"),
)
SPEED = ("per_s", "share_of_matmul")
"""What differs from one time to the next."""


class Killed(Exception):  # stands for a signal
    """What no part of a run catches."""


@pytest.fixture(autouse=True)
def _short(short: None, blank_figures: None) -> None:
    """Episodes are short, and figures blank."""


def command(module: Any, *arguments: object) -> None:
    """Call a command by its command line."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        module.main()


def train(data_dir: Path, out: Path, algorithm: str, *more: str) -> None:
    command(trainer, *TOY.split(), "--data_dir", data_dir, "--out", out, "--algorithm", algorithm, *SIZES, *more)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Iterator[Path]:
    """A finished run of drq-bc."""
    out = tmp_path_factory.mktemp("drawn") / "drq"
    with short_episodes(), blank_figures():
        train(data_dir, out, "drq-bc")
    yield out


def rows(run: Path) -> list[tuple[str, ...]]:
    """The rows of metrics.csv, without the values of what differs by time."""
    with open(run / "metrics.csv", newline="") as file:
        return [(*row[:3], "" if row[2].endswith(SPEED) else row[3]) for row in csv.reader(file)]


def agent_of(run: Path) -> dict[str, torch.Tensor]:
    agent: dict[str, torch.Tensor] = checkpoint.load(run / "checkpoints/agent", torch.device("cpu"))["fit"]["agent"]
    return agent


@pytest.mark.parametrize("algorithm", [pytest.param("cql-pixels", marks=pytest.mark.slow), "drq-bc"])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(
    algorithm: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts, step = tmp_path / "whole", tmp_path / "parts", AgentFit.take_step

    def killed(self: AgentFit, report: bool = True) -> object:
        if self.step == 6:  # with a checkpoint at 4
            shutil.copytree(parts, tmp_path / "killed")
            raise Killed
        return step(self, report)

    unscored = ("--score.episodes", "0")
    train(data_dir, whole, algorithm, *unscored)
    with monkeypatch.context() as patched:
        patched.setattr(AgentFit, "take_step", killed)
        with pytest.raises(Killed):
            train(data_dir, parts, algorithm, *unscored)
    shutil.rmtree(parts)
    (tmp_path / "killed").rename(parts)
    command(trainer, "--resume", parts)
    expected = agent_of(whole)
    assert any(name.startswith("averaged_encoder.") for name in expected)
    for name, value in agent_of(parts).items():
        assert torch.equal(value, expected[name]), name
    assert sorted(rows(parts)) == sorted(rows(whole))
    first, second = Result.read(whole), Result.read(parts)
    assert first is not None and second is not None
    assert first.agents == second.agents and first.diagnostics == second.diagnostics
    assert (first.agents[0].regulariser is None) == (algorithm == "drq-bc")


def test_a_run_says_that_it_has_no_world_model(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads((made / "result.json").read_text())
    assert said["world_model"] is None and said["pretrained_world_model"] is None
    assert said["rates"]["model_frames_per_s"] is None and said["rates"]["agent_updates_per_s"] > 0.0
    assert said["share_of_matmul"]["world_model"] is None
    assert {"q_dataset", "q_random"} <= said["diagnostics"].keys() and "q_model" not in said["diagnostics"]
    assert not list(made.glob("checkpoints/world_model*"))
    assert {path.name for path in (made / "views").iterdir()} == {"conservatism.png", "conservatism.npz"}
    result = Result.read(made)
    assert result is not None and "prediction  no world model" in str(result) and result.finished
    page = (made / "report.html").read_text()
    assert "without a world model" in page and "Not drawn" not in page and "What the model predicts" not in page
    (made / "report.html").unlink()
    command(report, made)
    assert "without a world model" in (made / "report.html").read_text()
    assert not (made / "conv").exists() and load_config(made).rssm.conv.image_size == 32
    capsys.readouterr()
    command(trainer, "--resume", made)
    assert "is finished, and stays as it is" in capsys.readouterr().out


def test_it_is_scored_and_drawn_again(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "copy"
    shutil.copytree(made, run)
    result = Result.read(made)
    assert result is not None
    command(evaluate, run, "--episodes", "1")
    assert f"agent 0: return {result.agents[0].returns[0]:.1f}" in capsys.readouterr().out
    drawn = np.load(run / "views/conservatism.npz")["value"]
    shutil.rmtree(run / "views")
    command(visualise, run)
    assert np.load(run / "views/conservatism.npz")["value"] == pytest.approx(drawn, abs=1e-5)
    capsys.readouterr()
    (run / "result.json").unlink()
    command(trainer, "--resume", run)
    told = capsys.readouterr().out
    assert "agent at update 8" in told and "world model at step" not in told


def test_its_policy_is_a_file_and_its_world_model_is_none(made: Path, tmp_path: Path) -> None:
    file = tmp_path / "policy.safetensors"
    command(export, "--policy", "--agent", "1", made, file)
    run = latent_combo.load_run(made)
    own, read = run.policy(agent=1), latent_combo.load_policy(file)
    rng = np.random.default_rng(0)
    for _ in range(4):
        seen = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
        action = own.act(seen)
        assert np.array_equal(action, read.act(seen)) and not np.array_equal(action[0], action[1])
    stack = rng.integers(0, 256, (5, 3, 32, 32, 3), dtype=np.uint8)
    of_stack = run.agents.acting(torch.from_numpy(stack).expand(2, *stack.shape)).mode[1]
    torch.testing.assert_close(run.action(torch.from_numpy(stack), agent=1), of_stack)
    none = f"{made} is a run of drq-bc, which has no world model"
    with pytest.raises(UserError, match=none):
        command(export, made, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=none):
        _ = run.world_model
    with pytest.raises(UserError, match=none):
        command(trainer, "--world-model", made, "--out", tmp_path / "other")


def test_a_fitted_world_model_is_refused(finished: Path, tmp_path: Path) -> None:
    told = "algorithm is drq-bc, which has no world model; leave world_model out"
    with pytest.raises(UserError, match=told):
        command(trainer, "--algorithm", "drq-bc", "--world-model", finished, "--out", tmp_path / "other")
    assert not (tmp_path / "other").exists()
