"""What a run is going to need is said before it starts; too little memory, or disk, is a line that names a setting."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy_pendulum
from test_run_killed import balance

from combo_common.cli import run_cli
from combo_common.errors import UserError
from combo_common.files import in_units
from combo_common.memory import out_of_memory
from data.load import load_pixels
from envs.registry import get_task
from latent_combo.agent.fit import AgentFit
from latent_combo.agent.replay import ModelBuffer
from latent_combo.config.command_line import parse
from latent_combo.config.schema import Config
from latent_combo.pipeline import needs
from latent_combo.pipeline.needs import Part, Place
from latent_combo.train import train
from latent_combo.world_model.fit import Fit

CPU_ERROR = RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of a run of COMBO on states."""
    with toy_pendulum.registered():
        balance(tmp_path, "unused")
        arguments = ("--agent.num_agents", "3", "--agent_fit.rollout_batch_size", "20", "--views.every", "0")
        told = ("--dataset", str(tmp_path / "toy-pendulum.hdf5"), "--data_dir", str(tmp_path))
        run = ("--obs", "state", "--device", "cpu", "--products", "mkl", "--world_model_fit.steps", "2")
        small = (
            "--agent_fit.updates",
            "2",
            "--agent_fit.warm_up",
            "1",
            "--ensemble.hidden",
            "16",
            "--agent.batch",
            "16",
        )
        return parse([*run, *told, *arguments, *small, "--out", str(tmp_path / "run")])[0]


def limited(monkeypatch: pytest.MonkeyPatch, free: int, whole: int) -> None:
    monkeypatch.setattr(needs, "free_memory", lambda: free)
    monkeypatch.setattr(needs, "whole_memory", lambda: whole)


class BegunError(Exception):
    """Raised in the place of training."""


def test_what_is_known_before_the_start_is_what_is_taken(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: dict[str, float] = {}
    memories, buffers = needs.memories, list[ModelBuffer]()

    def noted(*given: object) -> list[Place]:
        places = memories(*given)  # type: ignore[arg-type]
        found.update({part.name: part.size for place in places for part in place.parts})
        return places

    def begun(self: AgentFit, report: bool = True) -> object:
        assert self.buffer is not None
        buffers.append(self.buffer)
        raise BegunError

    monkeypatch.setattr(needs, "memories", noted)
    monkeypatch.setattr(AgentFit, "take_step", begun)
    monkeypatch.setattr("latent_combo.train.measure_model", lambda *given: None)
    with toy_pendulum.registered(), pytest.raises(BegunError):
        train(config)
    assert found["what agents imagine"] == buffers[0].rows.nbytes
    assert "GB of memory" in (line := capsys.readouterr().out) or "MB of memory" in line


def test_what_certainly_does_not_fit_is_refused_before_anything_is_written(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, free=10_000, whole=20_000)
    with toy_pendulum.registered(), pytest.raises(UserError) as refused:
        train(config)
    line = str(refused.value)
    assert "needed for what agents imagine, and there are 20.0 kB of memory; lower --agent_fit.roll" in line
    assert not Path(config.out).exists()


def test_what_may_not_fit_is_a_warning_that_names_the_setting(capsys: pytest.CaptureFixture[str]) -> None:
    parts = [Part("one", 3e9, "lower --one"), Part("two", 2e9, "lower --two", certain=True)]
    Place("memory", 4e9, 9e9, parts).check()
    assert (
        "may need more memory than is free (5.0 GB of 4.0 GB); most is for one: lower --one" in capsys.readouterr().err
    )
    Place("memory", 6e9, 9e9, parts).check()
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match=r"2.0 GB are needed for two, and there are 1.0 GB of memory; lower --two"):
        Place("memory", 1e9, 1e9, parts).check()
    assert [in_units(size) for size in (4, 4e6, 4.25e9)] == ["0.0 kB", "4.0 MB", "4.2 GB"]


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    config: Config, data_dir: Path, tmp_path: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=9e9, free=1_000))
    with (
        toy_pendulum.registered(),
        pytest.raises(
            UserError, match="needed for checkpoints of the world model, and there are 1.0 kB of disk free at /.*; l"
        ),
    ):
        train(config)
    assert not Path(config.out).exists()
    folder = tmp_path / "data"
    (folder / "tiny").parent.mkdir()
    (folder / "tiny").symlink_to(data_dir / "tiny")
    with pytest.raises(UserError, match="the decoded images need 2.6 MB in .*, and 1.0 kB are free there; free some"):
        load_pixels("tiny", get_task("walker-walk"), "fast", folder, progress=False)
    assert not list(folder.glob("decoded/*"))


@pytest.mark.parametrize(
    ("owner", "name", "error", "words"),
    [
        (Fit, "take_step", CPU_ERROR, "out of memory while fitting the world model: lower --world_model_fit.batch or"),
        (AgentFit, "take_step", MemoryError(), "while training the agents: lower --agent_fit.rollout_batch_size or"),
        (
            AgentFit,
            "take_step",
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried"),
            "out of memory of the GPU while training the agents",
        ),
    ],
)
def test_too_little_memory_is_a_line_that_names_settings(
    owner: type, name: str, error: Exception, words: str, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: object, report: bool = True) -> object:
        raise error

    monkeypatch.setattr(owner, name, fails)
    monkeypatch.setattr("latent_combo.train.measure_model", lambda *given: None)
    with toy_pendulum.registered(), pytest.raises(UserError) as told:
        train(config)
    assert words in str(told.value) and "\n" not in str(told.value)


def test_errors_of_memory_are_told_from_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert all(map(out_of_memory, (CPU_ERROR, MemoryError(), OSError(12, "Cannot allocate memory"))))
    assert not any(map(out_of_memory, (RuntimeError("shapes differ"), OSError(28, "No space"), ValueError("memory"))))

    def main() -> None:
        raise CPU_ERROR

    with pytest.raises(SystemExit) as ended:
        run_cli(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: out of memory: end other programs, or take less data at a time\n"


@pytest.mark.parametrize(("preset", "largest"), [("paper", "a step of the world model"), ("small", "the encoded data")])
def test_a_run_on_images_says_what_it_needs(
    preset: str, largest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limited(monkeypatch, free=10**8, whole=10**12)
    config = parse(["--preset", preset, "--device", "cpu", "--score.episodes", "1", "--out", str(tmp_path)])[0]
    data: Any = SimpleNamespace(action=np.zeros((100_000, 1)), observation=np.zeros((1, 3), np.uint8))
    needs.check_needs(config, get_task(config.task), data, torch.device("cpu"), tmp_path)
    said = capsys.readouterr()
    assert re.match(rf"needs +[0-9.]+ GB of memory \({largest}.* free; [0-9.]+ [MG]B of disk \(", said.out)
    assert f"most is for {largest}: lower --" in said.err
