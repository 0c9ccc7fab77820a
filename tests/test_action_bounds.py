"""Actions of layouts that hold the simulator's own bounds: rescaled as they are read, and back as they are written."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

import latent_combo
from combo_common.errors import UserError
from data.actions import bounded_actions, bounds, is_scaled, simulator_actions
from data.conversion import convert
from data.episode import Episode
from data.formats.d4rl import write_d4rl
from data.formats.minari import write_minari as write_own_minari
from data.load import load_states
from data.reference import resolve
from envs.make import make
from envs.registry import get_task
from envs.task import Task
from tests.layouts import d4rl_columns, write_columns

PENDULUM = "gymnasium:Pendulum-v1"
SAID = "actions are in the bounds of gymnasium:Pendulum-v1, [-2, 2], and rescaled to [-1, 1]"


@pytest.fixture
def pendulum() -> Task:
    return get_task(PENDULUM)


def swing(task: Task, seed: int = 0) -> tuple[Episode, np.ndarray]:
    """An episode of the pendulum, in [-1, 1], and the torques (T, 1) that the simulator was given."""
    env, rng, states, rewards = make(task, "state"), np.random.default_rng(seed), [], []
    action = rng.uniform(-1.0, 1.0, (12, 1)).astype(np.float32)
    action[0], action[1] = -1.0, 1.0
    states.append(env.reset(seed=seed)[0])
    for one in action:
        seen, reward, *_ = env.step(one)
        states.append(seen)
        rewards.append(reward)
    return Episode.from_transitions(action, np.array(rewards), state=np.stack(states)), 2.0 * action


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "minari").mkdir()
    return tmp_path


def in_minari(torque: np.ndarray, episode: Episode, most: float) -> str:
    """A set whose actions are `torque`, and whose space of actions is [-most, most]."""
    import gymnasium
    import minari
    from minari.data_collector import EpisodeBuffer

    box, end = gymnasium.spaces.Box, np.arange(1, 13) == 12
    buffer = EpisodeBuffer(
        id=0, observations=episode.state, actions=torque, rewards=episode.reward[1:],
        terminations=np.zeros(12, bool), truncations=end,
    )  # fmt: skip
    name = f"test/pendulum-{most:g}/some-v0"
    minari.create_dataset_from_buffers(
        name, [buffer], observation_space=box(-np.inf, np.inf, (3,), np.float32),
        action_space=box(-most, most, (1,), np.float32), env=PENDULUM.removeprefix("gymnasium:"),
    )  # fmt: skip
    return name


def test_d4rls_files_hold_the_simulators_bounds(
    tmp_path: Path, pendulum: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    episode, torque = swing(pendulum)
    columns = d4rl_columns([episode]) | {"actions": torque}
    path = write_columns(tmp_path / "pendulum.hdf5", columns)
    np.testing.assert_allclose(load_states(str(path), pendulum, tmp_path).action, episode.action, atol=1e-7)
    assert capsys.readouterr().err == f"{path}: {SAID}\n"
    written = tmp_path / "own.hdf5"
    write_d4rl(written, [episode], pendulum, {})
    with h5py.File(written) as file:
        np.testing.assert_allclose(file["actions"][()], torque, atol=1e-6)
    np.testing.assert_allclose(load_states(str(written), pendulum, tmp_path).action, episode.action, atol=1e-7)


def test_minaris_sets_hold_the_simulators_bounds(store: Path, pendulum: Task) -> None:
    episode, torque = swing(pendulum)
    found = resolve(in_minari(torque, episode, 2.0), None, store)
    assert found.task == PENDULUM
    np.testing.assert_allclose(load_states(found.name, pendulum, store).action, episode.action, atol=1e-7)
    scaled = in_minari(episode.action[1:], episode, 1.0)  # as a wrapper of the environment has them
    np.testing.assert_array_equal(load_states(scaled, pendulum, store).action, episode.action)


def test_what_is_written_for_minari_is_read_back_as_it_was(store: Path, pendulum: Task) -> None:
    import minari

    episode, torque = swing(pendulum)
    write_own_minari("own/pendulum-v0", [episode], pendulum, "a test")
    written = minari.load_dataset("own/pendulum-v0")
    assert (float(written.action_space.low[0]), float(written.action_space.high[0])) == (-2.0, 2.0)
    np.testing.assert_allclose(next(iter(written.iterate_episodes())).actions, torque, atol=1e-6)
    np.testing.assert_allclose(load_states("own/pendulum-v0", pendulum, store).action, episode.action, atol=1e-7)


def test_conversions_go_round(store: Path, pendulum: Task) -> None:
    """Minari's, own, D4RL's and Minari's again: the same actions as at the start, and torques where these are meant."""
    episode, torque = swing(pendulum)
    name = in_minari(torque, episode, 2.0)
    for to, out in (("own", store / "own"), ("d4rl", store / "copy.hdf5"), ("minari", "copy/pendulum-v0")):
        source = resolve(name, pendulum, store).open(pendulum)
        assert convert(source, str(out), to, progress=False)[0] == 1
        name = str(out)
        np.testing.assert_allclose(load_states(name, pendulum, store).action, episode.action, atol=1e-6)
        if to == "own":
            stored = np.load(next((store / "own").glob("*.npz")))["action"]
            np.testing.assert_allclose(stored, episode.action, atol=1e-7)


def test_arrays_of_a_task_hold_the_simulators_bounds(pendulum: Task, capsys: pytest.CaptureFixture[str]) -> None:
    episode, torque = swing(pendulum)
    state, reward, no = episode.columns()["state"], episode.reward[1:], np.zeros(12, bool)
    (made,) = latent_combo.episodes_from_arrays(state[:-1], torque, reward, no, no, state[1:], task=PENDULUM)
    np.testing.assert_allclose(made.action, episode.action, atol=1e-7)
    assert SAID in capsys.readouterr().err
    one = latent_combo.make_episode(state, torque, reward, task=PENDULUM)
    np.testing.assert_allclose(one.action, episode.action, atol=1e-7)
    with pytest.raises(UserError, match=r"leaves \[-1, 1\]"):
        latent_combo.make_episode(state, torque, reward)


def test_what_is_beyond_the_bounds_is_refused_with_value_bound_and_remedy(tmp_path: Path, pendulum: Task) -> None:
    episode, torque = swing(pendulum)
    torque[5] = 2.5
    path = write_columns(tmp_path / "pendulum.hdf5", d4rl_columns([episode]) | {"actions": torque})
    with pytest.raises(
        UserError, match="`actions` leaves the bounds of gymnasium:Pendulum-v1, first in row 5: "
    ) as error:
        load_states(str(path), pendulum, tmp_path)
    assert "number 0 is 2.5, but between -2 and 2; scale the actions to the simulator's bounds" in str(error.value)
    assert "\n" not in str(error.value)
    torque[5] = 2.0 + 1e-6  # rounding
    path = write_columns(tmp_path / "rounded.hdf5", d4rl_columns([episode]) | {"actions": torque.astype(np.float64)})
    assert load_states(str(path), pendulum, tmp_path).action[6, 0] == 1.0


def test_bounds_of_each_number(pendulum: Task) -> None:
    car = replace(pendulum, name="car", action_dim=3, action_low=(-1.0, 0.0, 0.0), action_high=(1.0, 1.0, 4.0))
    raw = np.array([[-1.0, 0.0, 0.0], [0.0, 0.5, 2.0], [1.0, 1.0, 4.0], [0.25, 0.25, 3.0]])
    scaled = np.array([[-1, -1, -1], [0, 0, 0], [1, 1, 1], [0.25, -0.5, 0.5]], np.float32)
    np.testing.assert_array_equal(bounded_actions("x", "actions", raw, car), scaled)
    np.testing.assert_array_equal(simulator_actions(scaled, car), raw.astype(np.float32))
    assert not is_scaled(car) and is_scaled(get_task("hopper")) and is_scaled(get_task("walker-walk"))
    with pytest.raises(UserError, match="number 1 is -0.5, but between 0 and 1"):
        bounded_actions("x", "actions", -raw, car)
    with pytest.raises(UserError, match="`action` has 2 numbers, but car has 3; name the --task"):
        bounded_actions("x", "actions", raw[:, :2], car)


def test_rescaling_is_undone_for_any_bounds(pendulum: Task) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        low = rng.uniform(-5.0, 5.0, 4)
        high = low + rng.uniform(0.01, 10.0, 4)
        task = replace(pendulum, action_dim=4, action_low=tuple(low.tolist()), action_high=tuple(high.tolist()))
        action = rng.uniform(-1.0, 1.0, (20, 4)).astype(np.float32)
        action[0], action[1] = -1.0, 1.0
        torque = simulator_actions(action, task)
        assert (torque >= bounds(task)[0].astype(np.float32)).all() and (torque[0] < torque[1]).all()
        np.testing.assert_allclose(bounded_actions("x", "actions", torque, task), action, atol=2e-4)
