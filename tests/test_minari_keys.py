"""Minari's dictionaries of observations: the task says which keys are read, goals included."""

import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from combo_common.errors import UserError
from data.conversion import convert
from data.load import load_pixels, load_states
from data.reference import resolve
from envs.adapters.gymnasium import gymnasium_task
from envs.registry import get_task, register
from envs.task import Task
from tests.toy_gymnasium import FORCE, Point

minari = pytest.importorskip("minari")
SIZE, STEPS = 32, 9


class Square(Point):
    """The same, in square pictures of 32 pixels, with the goal beside them."""

    def __init__(self) -> None:
        super().__init__()
        image = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        goal = gymnasium.spaces.Box(-np.inf, np.inf, (1, 2), np.float32)
        self.observation_space = gymnasium.spaces.Dict({**self.observation_space.spaces, "camera": image, "goal": goal})

    def _observation(self) -> dict[str, np.ndarray]:
        seen = super()._observation()
        return {**seen, "camera": seen["camera"][:SIZE, :SIZE].repeat(2, 0)[:SIZE], "goal": np.full((1, 2), 0.5)}


def square(*keys: str) -> Task:
    return register(gymnasium_task(f"square-{'-'.join(keys)}", Square, keys, horizon=STEPS, image_size=SIZE))


@pytest.fixture
def recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> list[dict[str, np.ndarray]]:
    """A set of one episode, `test/square/some-v0`; gives what was observed, one row after another.

    A parameter is a step that is marked as truncated, too.
    """
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "minari").mkdir()
    env, rng = Square(), np.random.default_rng(0)
    seen, rewards, action = [env.reset(seed=0)[0]], [], rng.uniform(-FORCE, FORCE, (STEPS, 2)).astype(np.float32)
    for one in action:
        observation, reward, *_ = env.step(one)
        seen.append(observation)
        rewards.append(reward)
    last = np.isin(np.arange(1, STEPS + 1), [STEPS, getattr(request, "param", STEPS)])
    buffer = EpisodeBuffer(
        id=0, observations={key: np.stack([row[key] for row in seen]).astype(seen[0][key].dtype) for key in seen[0]},
        actions=action, rewards=rewards, terminations=np.zeros(STEPS, bool), truncations=last,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            "test/square/some-v0", [buffer], observation_space=env.observation_space, action_space=env.action_space,
            jpeg_encoding=False,
        )  # fmt: skip
    return seen


def column(seen: list[dict[str, np.ndarray]], *keys: str) -> np.ndarray:
    return np.stack([np.concatenate([row[key].ravel() for key in keys]) for row in seen]).astype(np.float32)


@pytest.mark.parametrize("keys", [("place",), ("velocity", "place"), ("place", "velocity", "goal")])
def test_vectors_of_the_keys_follow_in_the_tasks_order(
    keys: tuple[str, ...], recorded: list[dict[str, np.ndarray]], tmp_path: Path
) -> None:
    read = load_states("test/square/some-v0", square(*keys), tmp_path)
    np.testing.assert_array_equal(read.observation, column(recorded, *keys))


def test_the_image_is_the_key_that_is_named(recorded: list[dict[str, np.ndarray]], tmp_path: Path) -> None:
    task = square("camera", "place")
    read = load_pixels("test/square/some-v0", task, "full", tmp_path, progress=False)
    np.testing.assert_array_equal(read.observation, np.stack([row["camera"] for row in recorded]))
    np.testing.assert_array_equal(
        load_states("test/square/some-v0", task, tmp_path).observation, column(recorded, "place")
    )
    assert resolve("test/square/some-v0", None, tmp_path).image_size == SIZE
    with pytest.raises(UserError, match="holds images and no states; use --obs pixels"):
        load_states("test/square/some-v0", square("camera"), tmp_path)


def test_keys_that_are_not_there_and_keys_that_nobody_named_are_refused(
    recorded: list[dict[str, np.ndarray]], tmp_path: Path
) -> None:
    other = replace(square("place"), name="other", options=(("keys", "place+finish"),))
    with pytest.raises(UserError, match="other observes finish, but there are camera, goal, place, velocity; name a"):
        load_states("test/square/some-v0", other, tmp_path)
    with pytest.raises(UserError, match="say which of them .* with --task gymnasium:ID,keys=camera\\+") as error:
        load_states("test/square/some-v0", get_task("hopper"), tmp_path)
    assert "\n" not in str(error.value)


def test_a_copy_written_here_is_read_by_the_same_task(recorded: list[dict[str, np.ndarray]], tmp_path: Path) -> None:
    task = square("camera", "place", "goal")
    assert convert(
        resolve("test/square/some-v0", task, tmp_path).open(task), "copy/square-v0", "minari", "full", False
    )[0]
    for load in (
        lambda name: load_states(name, task, tmp_path),
        lambda name: load_pixels(name, task, "full", tmp_path),
    ):
        np.testing.assert_array_equal(load("copy/square-v0").observation, load("test/square/some-v0").observation)
        np.testing.assert_allclose(load("copy/square-v0").action, load("test/square/some-v0").action, atol=1e-7)


@pytest.mark.parametrize("recorded", [2], indirect=True)
def test_a_time_limit_within_an_episode_is_refused(recorded: list[dict[str, np.ndarray]], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"`truncations` says that a time limit ended .* in step 2 of {STEPS}; cut it"):
        load_states("test/square/some-v0", square("place"), tmp_path)
