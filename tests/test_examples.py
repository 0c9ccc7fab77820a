"""Every example runs, from a folder of the user's own, and does what it says."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import latent_combo
from combo_common.errors import UserError
from data.formats.d4rl import read_d4rl
from envs.make import make
from envs.registry import get_task
from latent_combo.diagnostics import own_views
from latent_combo.diagnostics.page import write_report
from latent_combo.runtime.media import MediaWriter

EXAMPLES = Path(__file__).parent.parent / "examples"
TINY = {
    "world_model_fit": {"steps": 20, "batch": 70, "validate_every": 10},
    "ensemble": {"hidden": 16, "weight_decay": [1e-5, 1e-5, 1e-5]},
    "agent": {"batch": 16, "network": {"hidden": 16}, "actor_network": {"hidden": 16}},
    "agent_fit": {"updates": 8, "warm_up": 2, "evaluations": 1, "rollout_batch_size": 10, "rollout_every": 4},
    "score": {"episodes": 2, "episodes_during_training": 1},
    "views": {"every": 0, "clips": 1, "segments": 8, "episodes": 2},
    **{"device": "cpu", "products": "mkl"},
}
LINES = 45
"""Of an example: one screen."""


def example(name: str) -> ModuleType:
    """An example, imported as a program that is not run."""
    found = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder is empty, and nothing is filmed, which takes most of a tiny run."""

    def nothing(*given: object) -> None:
        raise UserError("nothing is filmed here")

    monkeypatch.setattr("latent_combo.diagnostics.agent.film", nothing)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of `train_from_python.py`."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(MediaWriter, "_submit", lambda gallery, work: None)
        patched.setattr("latent_combo.pipeline.measure.show_films", lambda *given: None)
        example("train_from_python").main(str(folder / "run"), data_dir=str(folder), **TINY)
    return folder / "run"


@pytest.fixture
def no_views_after() -> Iterator[None]:
    """Views that a test adds are gone after it."""
    yield
    own_views.OWN_VIEWS.clear()


def test_examples_are_short_and_say_how_they_are_run() -> None:
    files = sorted(EXAMPLES.glob("*.py"))
    assert len(files) == 7
    for file in files:
        text = file.read_text()
        assert len(text.splitlines()) <= LINES, file
        assert f"python {file.name} " in text, file


def test_train_from_python(run: Path) -> None:
    trained = latent_combo.load_run(run)
    assert trained.config.world_model_fit.steps == 20 and trained.task.name == "hopper"
    assert json.loads((run / "result.json").read_text())["episodes"] == 2


def test_a_policy_read_from_a_file_earns_what_the_run_says(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("load_a_policy").main(str(run), "policy.safetensors", steps=20)
    assert "one episode returns" in capsys.readouterr().out
    policy, config = latent_combo.load_policy("policy.safetensors"), latent_combo.load_run(run).config
    copies = [make("hopper", "state") for _ in range(config.score.episodes)]
    seen = np.stack([env.reset(seed=config.score.seed + number)[0] for number, env in enumerate(copies)])
    returns, alive = np.zeros(len(copies)), np.ones(len(copies), bool)
    while alive.any():
        for number, action in enumerate(policy.act(seen)):
            if alive[number]:
                seen[number], reward, terminated, truncated, _ = copies[number].step(action)
                returns[number] += reward
                alive[number] = not (terminated or truncated)
    (agent,) = json.loads((run / "result.json").read_text())["agents"]
    assert returns.tolist() == agent["returns"]


def test_own_dataset(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(MediaWriter, "_submit", lambda gallery, work: None)  # `test_own_view` draws
    example("own_dataset").main("mine", "runs/mine", data_dir="cache", **TINY)
    assert "random actions 2" in capsys.readouterr().out  # their mean return is 278.0
    assert latent_combo.load_run("runs/mine").config.dataset == "mine"


def test_own_task(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(MediaWriter, "_submit", lambda gallery, work: None)  # `test_own_view` draws
    monkeypatch.setattr("envs.registry._registered", {})
    example("own_task").main("mine", "runs/mine", data_dir="cache", **TINY)
    assert "random actions" in capsys.readouterr().out
    assert latent_combo.load_run("runs/mine").task.random_return is None


def test_own_reward(capsys: pytest.CaptureFixture[str]) -> None:
    example("own_reward").main("upright.hdf5", 2)
    said = capsys.readouterr().out
    assert "2 episodes in upright.hdf5" in said and "--dataset upright.hdf5" in said
    made = read_d4rl(Path("upright.hdf5"), get_task("hopper"))
    rows = np.flatnonzero(~made.is_first)
    height, pitch, speed = made.physics[rows][:, [1, 2, 6]].T  # type: ignore[index]
    np.testing.assert_allclose(made.reward[rows], height - abs(pitch) - abs(speed), rtol=1e-5)


def test_imagine(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("imagine").main(str(run), "imagined.npz", steps=3)
    assert "policy:" in capsys.readouterr().out
    imagined = np.load("imagined.npz", allow_pickle=False)
    assert imagined["observation"].shape == (4, 4, 11) and imagined["reward"].shape == (4, 3)


def test_own_view(run: Path, monkeypatch: pytest.MonkeyPatch, no_views_after: None) -> None:
    example("own_view")
    monkeypatch.setattr(sys, "argv", ["own_view.py", str(run)])
    from latent_combo import visualise

    picture = MediaWriter.picture

    def only_own(gallery: MediaWriter, tag: str, *given: Any) -> None:
        if tag == "world_model/foreseen_rewards":
            picture(gallery, tag, *given)

    monkeypatch.setattr(MediaWriter, "picture", only_own)
    monkeypatch.setattr(MediaWriter, "clip", lambda *given: None)
    monkeypatch.setattr(visualise, "show_films", lambda *given: None)
    monkeypatch.setattr(visualise, "draw_curves", lambda run: [np.zeros((1, 1, 3), np.uint8)])
    visualise.main()
    assert (run / "views" / "foreseen_rewards.png").stat().st_size > 1000
    page = (run / "report.html").read_text()
    assert "Rewards, one step ahead" in page and "Points on the line" in page
    own_views.OWN_VIEWS.clear()  # as in another process, which knows of it by what was kept beside the picture
    assert "Rewards, one step ahead" in write_report(run)
    (run / "views" / "damaged.npz").write_bytes(b"no archive")
    assert "Points on the line" in write_report(run)
