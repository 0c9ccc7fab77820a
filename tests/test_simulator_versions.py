"""Datasets that were recorded in another version of a robot than a task is played in."""

import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from layouts import HOPPER, d4rl_columns, hop, read, write_columns, write_minari

from combo_common.errors import UserError
from data.episode import Episode
from data.formats.d4rl import write_d4rl
from data.reference import resolve
from data.source import open_source
from envs.environment_ids import same_environment
from envs.make import make
from envs.registry import get_task, task_of_environment
from latent_combo.config.command_line import parse, settings_files

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
ROBOTS = {"halfcheetah": "HalfCheetah", "hopper": "Hopper", "walker2d": "Walker2d", "ant": "Ant"}


@pytest.mark.parametrize("name", ROBOTS)
def test_a_robot_of_version_5_is_gymnasiums_own(name: str) -> None:
    more = {"include_cfrc_ext_in_observation": False} if name == "ant" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, older = gymnasium.make(f"{ROBOTS[name]}-v5", **more), make(name, "state")
    ours, rng = make(f"{name}-v5", "state"), np.random.default_rng(1)
    np.testing.assert_allclose(ours.reset(seed=5)[0], theirs.reset(seed=5)[0], atol=1e-6)
    older.reset(seed=5)
    last = (0.0, 0.0)
    for _ in range(60):
        action = rng.uniform(-1.0, 1.0, ours.task.action_dim).astype(np.float32)
        (seen, reward, ended, _, _), (expected, due, fell, *_) = ours.step(action), theirs.step(action)
        last = reward, older.step(action)[1]
        np.testing.assert_allclose(seen, expected, atol=1e-5)
        assert (reward, ended) == (pytest.approx(due, abs=1e-9), fell)
        if ended:
            break
    assert ended == (name != "halfcheetah")
    if name in ("hopper", "ant"):  # nothing is paid for health in the step in which a robot falls
        assert last[1] - last[0] == pytest.approx(1.0, abs=1e-3)


def test_versions_2_to_4_are_one_and_5_is_another() -> None:
    assert same_environment("Hopper-v2", "Hopper-v4") and same_environment("Hopper-v3", "hopper-v4")
    assert not same_environment("Hopper-v5", "Hopper-v4") and not same_environment("Hopper-v4", "Walker2d-v4")
    assert task_of_environment("HalfCheetah-v4") == "halfcheetah" and task_of_environment("Ant-v5") == "ant-v5"
    assert task_of_environment("Pusher-v5") == "gymnasium:Pusher-v5" and task_of_environment("") is None


def test_a_set_of_minaris_is_believed_about_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episodes = [hop(20, 0), hop(30, 1)]
    name = write_minari(tmp_path, episodes, environment="Hopper-v5")
    assert resolve(name, None, tmp_path).task == "hopper-v5"
    assert open_source(name, None, tmp_path).environment == "Hopper-v5"
    assert read(name, tmp_path, task=get_task("hopper-v5")).lengths.tolist() == [21, 31]
    with pytest.raises(UserError, match="recorded in Hopper-v5, but hopper is played in Hopper-v4.* --task hopper-v5$"):
        read(name, tmp_path)
    config, _ = parse(["--obs", "state", "--preset", "small", "--dataset", name, "--data-dir", str(tmp_path)])
    assert config.task == "hopper-v5"


@pytest.mark.parametrize("environment", ["Hopper-v4", None])
def test_a_set_of_the_tasks_own_environment_or_of_none_is_read(
    environment: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    name = write_minari(tmp_path, [hop(20, 0)], environment=environment)
    assert resolve(name, None, tmp_path).task == "hopper"
    assert read(name, tmp_path).lengths.tolist() == [21]


def test_minaris_own_robots_have_the_papers_settings_and_version_5(tmp_path: Path) -> None:
    arguments = ["--obs", "state", "--preset", "small", "--dataset", "mujoco/walker2d/medium-v0"]
    assert parse(arguments)[0].task == "walker2d-v5"
    assert settings_files(arguments)[0].stem == "walker2d-medium"


def test_a_file_that_says_its_task_is_believed_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.hdf5"
    write_d4rl(path, [hop(20, 0)], get_task("hopper-v5"), {"task": "hopper-v5"})
    assert read(str(path), tmp_path, task=get_task("hopper-v5")).lengths.tolist() == [21]
    with pytest.raises(UserError, match="recorded in Hopper-v5, but hopper is played in Hopper-v4"):
        read(str(path), tmp_path)
    older = write_columns(tmp_path / "hopper.hdf5", d4rl_columns([hop(20, 0)]))  # says nothing
    assert read(str(older), tmp_path, task=get_task("hopper-v5")).lengths.tolist() == [21]


@pytest.mark.parametrize("goals", [{"desired_goal": 2, "achieved_goal": 2}, {"mission": 3}])
def test_goals_of_a_dictionary_are_not_dropped(
    goals: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    name = write_minari(tmp_path, [hop(20, 0)], **goals)
    with pytest.raises(UserError, match=f"{', '.join(sorted(goals))} would be left out; .* join") as error:
        read(name, tmp_path)
    assert "\n" not in str(error.value) and "latent_combo.make_episode" in str(error.value)


def test_a_termination_within_a_set_of_minaris_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    whole: Episode = hop(20, 0, terminal=True)
    ended = whole.is_terminal.copy()
    ended[7] = True
    name = write_minari(tmp_path, [replace(whole, is_terminal=ended)], HOPPER)
    with pytest.raises(UserError, match="`terminations` says that the task ended the episode in step 7 of 20"):
        read(name, tmp_path)
