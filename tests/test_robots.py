"""Every task's environment by the same rules, and the rewards of those that are our own."""

import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from data.formats.d4rl import read_d4rl, write_d4rl
from data.simulate.relabelling import relabel
from envs.builtin import BUILTIN as TASKS
from envs.make import make
from envs.registry import get_task

NAMES = sorted(set(TASKS) - {"walker-walk"})


@pytest.fixture(autouse=True)
def door(request: pytest.FixtureRequest) -> None:
    if "sawyer" in request.node.name:
        pytest.importorskip("metaworld")


@pytest.mark.parametrize("name", NAMES)
def test_a_task_keeps_gymnasiums_contract_and_its_own_sizes(name: str) -> None:
    task, env = get_task(name), make(name, "state")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unbounded observations and missing specs
        check_env(env, skip_render_check=True)
    state, info = env.reset(seed=0)
    assert state.shape == (task.state_dim,) and state.dtype == np.float32
    assert info["physics"].shape == (task.physics_dim,) == (len(task.physics_names),)
    assert env.action_space.shape == (task.action_dim,) and len(set(task.state_names)) == task.state_dim
    assert len(set(task.physics_names)) == task.physics_dim and set(task.unbounded_angles) <= set(task.physics_names)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_and_a_recorded_state_tell_all_that_follows(name: str) -> None:
    task, rng = get_task(name), np.random.default_rng(0)
    env, other = make(name, "state"), make(name, "state")
    np.testing.assert_array_equal(env.reset(seed=3)[0], other.reset(seed=3)[0])
    same_start = name in ("sawyer-door", "sawyer-door-dense")  # the door stands in one place, and is closed
    assert np.array_equal(other.reset(seed=4)[0], env.reset(seed=3)[0]) == same_start
    actions = rng.uniform(-1, 1, (8, task.action_dim)).astype(np.float32)
    for action in actions[:3]:
        _, _, _, _, info = env.step(action)
    other.set_physics(info["physics"])
    np.testing.assert_array_equal(other.physics_state(), info["physics"])
    np.testing.assert_allclose(other.state(), info["state"], atol=1e-5)
    for action in actions[3:]:
        (ours, paid, *_), (theirs, due, *_) = env.step(action), other.step(action)
        # the solver starts from other forces, so what follows is the same within its tolerance
        np.testing.assert_allclose(ours, theirs, atol=2e-2, rtol=1e-2)
        assert paid == pytest.approx(due, abs=0.05)


@pytest.mark.parametrize(("name", "theirs"), [("halfcheetah", "HalfCheetah-v4"), ("hopper", "Hopper-v4"),
                                               ("walker2d", "Walker2d-v4"), ("ant", "Ant-v4")])  # fmt: skip
def test_d4rls_robots_are_gymnasiums_version_4(name: str, theirs: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is a version 5
        reference = gymnasium.make(theirs)
    task, env, rng = get_task(name), make(name, "state"), np.random.default_rng(1)
    ours, _ = env.reset(seed=5)
    expected, _ = reference.reset(seed=5)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    for _ in range(30):
        action = rng.uniform(-1, 1, task.action_dim).astype(np.float32)
        ours, reward, terminated, _, _ = env.step(action)
        expected, due, ended, _, _ = reference.step(action)
        np.testing.assert_allclose(ours, expected, atol=1e-5)
        assert (reward, terminated) == (pytest.approx(due, abs=1e-9), ended)
        if ended:
            break
    assert task.horizon == reference.spec.max_episode_steps


def scripted(name: str, seed: int):
    """Meta-World's own policy before the door; returns the environment and what it went through."""
    from metaworld.policies.sawyer_door_open_v3_policy import SawyerDoorOpenV3Policy

    from data.episode import Episode

    env, policy = make(name, "state"), SawyerDoorOpenV3Policy()
    state, info = env.reset(seed=seed)
    states, physics, actions, rewards = [state], [info["physics"]], [], []
    truncated = False
    while not truncated:
        actions.append(np.clip(policy.get_action(env._env._get_obs()), -1, 1).astype(np.float32))
        state, reward, _, truncated, info = env.step(actions[-1])
        states.append(state)
        physics.append(info["physics"])
        rewards.append(reward)
    return Episode.from_transitions(np.stack(actions), np.array(rewards), np.stack(physics), np.stack(states))


def test_an_expert_opens_the_sawyer_door_in_time() -> None:
    for seed in (0, 2):
        episode = scripted("sawyer-door", seed)
        assert episode.length == 50 and set(episode.reward.tolist()) == {0.0, 1.0}
        opened = int(np.flatnonzero(episode.reward)[0])
        assert 10 <= opened <= 30 and episode.state[-1, 13] > 1.3  # rad


def test_opening_the_sawyer_door_relabelled_is_closed_at_first_and_then_not(tmp_path: Path) -> None:
    recorded = scripted("sawyer-door-dense", 0)
    assert recorded.reward.min() >= 0.0 and recorded.reward.max() == pytest.approx(1.0)
    close = get_task("sawyer-door-close")
    (made,) = relabel(iter([recorded]), close)
    closed = recorded.state[1:, 13] < 0.05
    np.testing.assert_array_equal(made.reward[1:], closed.astype(np.float32))
    assert made.reward[1] == 1.0 and made.reward[-1] == 0.0
    np.testing.assert_allclose(made.state, recorded.state, atol=1e-4)
    (opened,) = relabel(iter([recorded]), get_task("sawyer-door"))
    assert opened.reward[-1] == 1.0 and not (opened.reward * made.reward).any()
    write_d4rl(tmp_path / "door.hdf5", [made], close, {"task": close.name})
    read = read_d4rl(tmp_path / "door.hdf5", close)
    np.testing.assert_array_equal(read.physics, recorded.physics)


def test_the_sawyer_door_that_is_to_be_closed_stands_open() -> None:
    env = make("sawyer-door-close", "state")
    angles = [float(env.reset(seed=seed)[0][13]) for seed in range(5)]
    assert all(1.15 < angle < 1.55 for angle in angles) and len(set(angles)) == 5
    _, reward, *_ = env.step(np.zeros(4, np.float32))
    assert reward == 0.0
    physics = env.physics_state()
    physics[9] = 0.0  # the door's hinge
    env.set_physics(physics)
    assert env.step(np.zeros(4, np.float32))[1] == 1.0
