"""Recordings of tasks that are not the project's, and by policies that are the user's."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray
from toy_gymnasium import Point

from combo_common.errors import UserError
from data import collect
from data.formats.native import Dataset
from data.load import load_pixels, load_states
from data.reference import resolve
from data.simulate.relabelling import relabel
from envs import registry
from envs.adapters.gymnasium import gymnasium_task
from envs.registry import register
from envs.task import Task
from latent_combo.config.layers import Layers


@pytest.fixture
def point(monkeypatch: pytest.MonkeyPatch) -> Task:
    monkeypatch.setattr(registry, "_registered", {})
    return register(gymnasium_task("point", Point, ("place", "velocity", "camera"), horizon=20, image_size=16))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["data.collect", *map(str, arguments)])
    collect.main()


def test_a_task_without_physics_is_recorded_as_images_and_states_and_trains_from_both(
    point: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "point-random"
    run(monkeypatch, "point", "random", out, "--episodes", 3, "--processes", 1)
    assert "(random unknown, expert unknown)" in capsys.readouterr().out
    manifest = Dataset(out).manifest
    assert (manifest.physics_dim, manifest.state_dim, manifest.image_size) == (None, 4, 16)
    assert manifest.random_return is None and manifest.expert_return is None
    images = load_pixels(str(out), point, "fast", tmp_path / "data", progress=False)
    states = load_states(str(out), point, tmp_path / "data", progress=False)
    assert images.observation.shape == (manifest.transitions + manifest.episodes, 16, 16, 3)
    assert states.observation.shape == (manifest.transitions + manifest.episodes, 4)
    np.testing.assert_array_equal(images.action, states.action)


class Undrawn(Point):
    """Has vectors, and no pictures: Gymnasium's interface asks for none."""

    def render(self) -> NDArray[np.uint8]:
        raise NotImplementedError  # as `gymnasium.Env` does where a class says nothing of it


class Failing(Undrawn):
    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        raise RuntimeError("motor 3 is hot")


def test_vectors_of_an_environment_that_draws_nothing_are_recorded_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    undrawn = register(gymnasium_task("undrawn", Undrawn, ("place", "velocity"), horizon=20))
    for out in (tmp_path / "folder", tmp_path / "file.hdf5"):
        run(monkeypatch, "undrawn", "random", out, "--episodes", 3, "--processes", 1)
        states = load_states(str(out), undrawn, tmp_path / "data", progress=False)
        assert states.observation.shape == (states.lengths.sum(), 4) and len(states.lengths) >= 3
    assert "undrawn draws no pictures: vectors alone are recorded, for --obs state" in capsys.readouterr().out
    manifest = Dataset(tmp_path / "folder").manifest
    assert (manifest.image_size, manifest.state_dim, manifest.look) == (None, 4, None)
    with pytest.raises(UserError, match="holds states and no images; use --obs state"):
        load_pixels(str(tmp_path / "folder"), undrawn, "fast", tmp_path / "data", progress=False)


def test_an_environment_that_raises_while_it_is_recorded_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    register(gymnasium_task("failing", Failing, ("place", "velocity"), horizon=20))
    with pytest.raises(
        UserError,
        match=r"^the episode of seed \d+ failed in failing: RuntimeError: motor 3 is hot \(test_collect_own",
    ):
        run(monkeypatch, "failing", "random", tmp_path / "out", "--episodes", 3, "--processes", 1)
    assert not (tmp_path / "out").exists()


def test_a_dataset_of_a_task_that_nothing_registered_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    register(gymnasium_task("undrawn", Undrawn, ("place", "velocity"), horizon=20))
    run(monkeypatch, "undrawn", "random", tmp_path / "mine", "--episodes", 3, "--processes", 1)
    monkeypatch.setattr(registry, "_registered", {})
    said = "is of the task 'undrawn', which is not known here; name it with --task, such as my_module:my_task"
    with pytest.raises(UserError, match=said):
        resolve(str(tmp_path / "mine"), None, tmp_path).open()
    with pytest.raises(UserError, match=said):
        Layers.of([f"--dataset={tmp_path / 'mine'}", "--obs=state"])


POLICY = """
import numpy as np

def home(state, env):
    return np.clip(-2.0 * state[:2] - 4.0 * state[2:], -1.0, 1.0)

def wide(state, env):
    return np.full(2, 3.0)

def broken(state, env):
    return state["place"]
"""


def test_a_policy_of_ones_own_is_recorded(point: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy.py"
    policy.write_text(POLICY)
    run(monkeypatch, "point", "own", tmp_path / "own", "--episodes", 2, "--policy", f"{policy}:home", "--processes", 1)
    dataset = Dataset(tmp_path / "own")
    assert dataset.manifest.split == "own" and "home" in dataset.manifest.behaviour["learner"]
    for episode in dataset:
        assert episode.state is not None
        np.testing.assert_allclose(
            episode.action[1:], np.clip(-2.0 * episode.state[:-1, :2] - 4.0 * episode.state[:-1, 2:], -1, 1), rtol=1e-5
        )
        assert episode.reward[-1] > 0.95  # it is where it was to go


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("wide", r"the policy returned \[3. 3.\]; it is to return 2 numbers in \[-1, 1\]"),
        ("broken", "the policy failed: IndexError"),
        ("missing", "has no function 'missing'"),
    ],
)
def test_a_policy_that_does_not_act_is_refused(
    function: str, said: str, point: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.py"
    policy.write_text(POLICY)
    with pytest.raises(UserError, match=said):
        run(monkeypatch, "point", "own", tmp_path / "own", "--policy", f"{policy}:{function}", "--processes", 1)
    assert not (tmp_path / "own").exists()


def test_a_policy_and_the_split_of_ones_own_go_together(
    point: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="--policy and the split own go together"):
        run(monkeypatch, "point", "medium", tmp_path / "own", "--policy", "policy.py:home")
    with pytest.raises(UserError, match="--policy and the split own go together"):
        run(monkeypatch, "point", "own", tmp_path / "own")


def tenfold() -> Any:
    """A robot in MuJoCo whose observations are wrapped: its positions and velocities do not tell them."""
    return gymnasium.wrappers.TransformObservation(
        gymnasium.make("InvertedPendulum-v5"), lambda seen: 10.0 * seen, None
    )


def test_a_recording_keeps_the_vectors_that_physics_do_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    task = register(gymnasium_task("tenfold", tenfold, horizon=20))
    out = tmp_path / "tenfold-random"
    run(monkeypatch, "tenfold", "random", out, "--episodes", 3, "--processes", 1)
    states = load_states(str(out), task, tmp_path / "data", progress=False)
    physics = np.concatenate([episode.physics for episode in Dataset(out) if episode.physics is not None])
    np.testing.assert_allclose(states.observation, 10.0 * physics, rtol=1e-6)
    (again,) = relabel([next(iter(Dataset(out)))], task)
    np.testing.assert_array_equal(again.state, states.observation[: again.length + 1])
    with pytest.raises(UserError, match="lacks the vector observations of tenfold, which its physics do not tell"):
        next(relabel([replace(next(iter(Dataset(out))), state=None)], task))
