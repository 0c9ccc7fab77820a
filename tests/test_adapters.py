"""Tasks that adapters make: what they observe, how they act, and what is recorded of them."""

import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from toy_gymnasium import FORCE, Point, Vectors

from combo_common.errors import UserError
from data.simulate.rollout import PolicySpec, play
from envs.adapters.gymnasium import gymnasium_task
from envs.make import make
from envs.pixels import fitted
from envs.registry import get_task
from envs.task import Task


def point(keys: tuple[str, ...] = ("place", "velocity", "camera")) -> Task:
    return gymnasium_task("point", Point, keys, horizon=30, image_size=16)


def test_keys_of_a_dict_are_observed_in_the_order_in_which_they_are_named() -> None:
    env = make(point(("velocity", "place")))
    state, _ = env.reset(seed=0)
    assert env.task.state_names == ("velocity 0", "velocity 1", "place 0", "place 1")
    np.testing.assert_array_equal(state[:2], 0.0)
    np.testing.assert_allclose(state[2:], env._env.place, rtol=1e-6)


def test_a_dict_without_names_of_keys_is_refused_and_so_is_a_key_that_there_is_not() -> None:
    with pytest.raises(UserError, match="a Dict of camera, place, velocity; say which of them"):
        gymnasium_task("point", Point, horizon=30)
    with pytest.raises(UserError, match="no key 'speed'; there are camera, place, velocity"):
        gymnasium_task("point", Point, ("speed",), horizon=30)
    with pytest.raises(UserError, match="has no time limit; give its horizon"):
        gymnasium_task("point", Vectors)


def test_actions_are_rescaled_to_the_bounds() -> None:
    env = make(point())
    env.reset(seed=0)
    env.step(np.array([1.0, -0.25], np.float32))
    np.testing.assert_allclose(env._env.taken[0], [FORCE, -0.25 * FORCE])
    assert env.task.action_low == (-FORCE, -FORCE) and env.task.action_high == (FORCE, FORCE)


def test_an_image_among_the_keys_is_the_pixels_and_is_averaged_to_a_square() -> None:
    env = make(point(), "pixels", image_size=16)
    pixels, _ = env.reset(seed=0)
    assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, fitted(env._env._picture(), 16))


def test_pictures_of_any_size_become_squares_whose_pixels_are_means_of_areas() -> None:
    wide = np.zeros((2, 4, 3), np.uint8)
    wide[:, 2:] = 200
    np.testing.assert_array_equal(fitted(wide, 2)[..., 0], [[0, 200], [0, 200]])
    np.testing.assert_array_equal(fitted(np.full((5, 7, 1), 9, np.uint8), 3), np.full((3, 3, 3), 9))
    checkered = (np.indices((8, 8)).sum(0) % 2 * 100).astype(np.uint8)[..., None]
    np.testing.assert_array_equal(fitted(checkered, 4), np.full((4, 4, 3), 50))


def test_what_cannot_be_set_back_is_recorded_with_its_images_and_states() -> None:
    (episode,) = play(point(), PolicySpec(), [3])
    assert episode.physics is None
    assert episode.image is not None and episode.image.shape == (episode.length + 1, 16, 16, 3)
    assert episode.state is not None and episode.state.shape == (episode.length + 1, 4)
    (again,) = play(point(), PolicySpec(), [3])
    np.testing.assert_array_equal(episode.image, again.image)


@pytest.mark.parametrize(
    "name", ["dmc:reacher-easy", "dmc:finger-turn_hard", "dmc:point_mass-hard", "gymnasium:Hopper-v5"]
)
def test_an_episode_goes_on_from_a_recorded_state_as_it_went_on_itself(name: str) -> None:
    """What an episode's start draws of the model, such as a target or a gain, is part of the recorded state."""
    env, other, rng = make(name), make(name), np.random.default_rng(0)
    env.reset(seed=1)
    other.reset(seed=2)
    actions = rng.uniform(-1.0, 1.0, (6, env.task.action_dim)).astype(np.float32)
    for action in actions[:3]:
        state, _, _, _, info = env.step(action)
    assert info["physics"].shape == (env.task.physics_dim,) == (len(env.task.physics_names),)
    np.testing.assert_allclose(other.observe_physics(info["physics"]), state, atol=1e-5)
    for action in actions[3:]:
        one, two = env.step(action), other.step(action)
        np.testing.assert_allclose(one[0], two[0], atol=1e-5)
        assert one[1] == pytest.approx(two[1], abs=1e-6)


def test_a_reachers_target_is_drawn_where_it_was_recorded() -> None:
    env, other = make("dmc:reacher-easy", "pixels", image_size=64), make("dmc:reacher-easy", "pixels", image_size=64)
    first, info = env.reset(seed=1)
    elsewhere, _ = other.reset(seed=2)
    assert (first != elsewhere).any()
    np.testing.assert_array_equal(other.render_physics(info["physics"]), first)
    env.close()
    other.close()


def test_the_suites_task_by_its_adapter_is_the_projects_own() -> None:
    own, adapted = make("walker-walk"), make("dmc:walker-walk,action_repeat=2")
    np.testing.assert_array_equal(own.reset(seed=5)[0], adapted.reset(seed=5)[0])
    action = np.linspace(-1.0, 1.0, 6, dtype=np.float32)
    one, two = own.step(action), adapted.step(action)
    np.testing.assert_array_equal(one[0], two[0])
    assert one[1] == two[1] and own.task.physics_dim == adapted.task.physics_dim == 18
    assert adapted.task.horizon == 500 and get_task("dmc:walker-walk").action_repeat == 2


def test_an_episode_of_the_suite_is_as_long_as_the_suites() -> None:
    env = make("dmc:ball_in_cup-catch")
    assert (env.task.horizon, env.task.action_repeat) == (250, 4)
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(250)]
    assert ends == [(False, False)] * 249 + [(False, True)]


def test_a_camera_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    env = make("dmc:cheetah-run,camera=top", "pixels")
    with pytest.raises(UserError, match=r"there is no camera 'top'; there are side, back"):
        env.reset(seed=0)


def test_a_task_of_meta_world_goes_on_from_a_recorded_state_and_its_script_does_it() -> None:
    pytest.importorskip("metaworld")
    env, other = make("metaworld:drawer-open"), make("metaworld:drawer-open")
    env.reset(seed=1)
    other.reset(seed=2)
    for _ in range(4):
        state, _, _, _, info = env.step(env.scripted_action())
    np.testing.assert_allclose(other.observe_physics(info["physics"]), state, atol=1e-6)
    rewards = []
    for _ in range(60):
        action = env.scripted_action()
        one, two = env.step(action), other.step(action)
        np.testing.assert_allclose(one[0], two[0], atol=1e-5)
        assert one[1] == pytest.approx(two[1], abs=1e-6)
        rewards.append(one[1])
    assert rewards[0] < 0.5 < rewards[-1] <= 1.0
    with pytest.raises(UserError, match="no task 'drawr-open'; did you mean drawer-open"):
        get_task("metaworld:drawr-open")


def test_a_recorded_state_is_drawn_before_any_episode_was_started() -> None:
    """As where recordings are drawn: no episode is started there."""
    pytest.importorskip("metaworld")
    env = make("metaworld:drawer-open", "pixels", image_size=32)
    first, info = env.reset(seed=3)
    other = make("metaworld:drawer-open", "state", image_size=32)
    np.testing.assert_array_equal(other.render_physics(info["physics"]), first)
    np.testing.assert_allclose(other.state(), info["state"], atol=1e-6)
    env.close()
    other.close()


def test_meta_worlds_sparse_reward_is_success() -> None:
    pytest.importorskip("metaworld")
    env = make("metaworld:drawer-open,reward=sparse")
    env.reset(seed=1)
    rewards = [env.step(env.scripted_action())[1] for _ in range(60)]
    assert rewards[0] == 0.0 and rewards[-1] == 1.0 and set(rewards) == {0.0, 1.0}
    assert env.task.rewards_success


def test_makers_are_pickled_to_other_processes() -> None:
    import pickle

    task = gymnasium_task("point", partial(Vectors), horizon=30)
    sent = pickle.loads(pickle.dumps(task))  # noqa: S301  # our own
    assert make(sent).reset(seed=0)[0].shape == (4,)


def test_an_episode_that_is_longer_than_the_suites_goes_on_and_is_not_another_one() -> None:
    env = make("dmc:cartpole-swingup,horizon=130")
    env.reset(seed=0)
    played = [env.step(np.full(1, 0.3, np.float32)) for _ in range(130)]
    assert [row[3] for row in played] == [False] * 129 + [True]
    states = np.stack([row[0] for row in played])
    changes = np.abs(np.diff(states[:, 1:3], axis=0)).max(axis=1)  # of the pole's cosine and sine
    assert changes[-10:].max() < 2.0 * changes[60:-10].max()
    assert all(row[1] is not None for row in played)


def test_a_robot_of_meta_world_pays_after_a_recorded_state_what_it_paid() -> None:
    """Some of its "initial" positions move with the hand, and are no copies."""
    pytest.importorskip("metaworld")
    env, other = make("metaworld:door-lock"), make("metaworld:door-lock")
    env.reset(seed=3)
    other.reset(seed=11)
    for _ in range(15):
        _, _, _, _, info = env.step(env.scripted_action())
    other.set_physics(info["physics"])
    for _ in range(10):
        action = env.scripted_action()
        assert env.step(action)[1] == pytest.approx(other.step(action)[1], abs=1e-6)


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        ("dmc:hopper-hop", True),  # touch
        ("dmc:finger-spin", True),
        ("dmc:cheetah-run", False),
        ("gymnasium:Humanoid-v5", True),  # forces of the actuators
        ("gymnasium:Hopper-v5", False),
    ],
)
def test_what_physics_do_not_tell_is_recorded(name: str, recorded: bool) -> None:
    assert get_task(name).records_state == recorded


def test_a_camera_is_turned_by_how_it_is_made_and_not_by_where_it_first_draws() -> None:
    """The fish's eye turns with the fish, whose starts are turned by any angle."""
    task = get_task("dmc:fish-swim,camera=eye,image_size=16")
    starts = make(task, "pixels")
    pictures = [starts.reset(seed=seed)[0] for seed in range(4)]
    up = []
    for seed in range(4):
        starts.reset(seed=seed)
        up.append(float(starts._simulator()[1].cam("eye").xmat[7]))
    starts.close()
    for seed in range(4):
        env = make(task, "pixels")
        np.testing.assert_array_equal(env.reset(seed=seed)[0], pictures[seed])
        env.close()
    assert min(up) < -0.1 < max(up), "else nothing is tested"


TERRAIN = """
<mujoco><asset><hfield name="hills" nrow="8" ncol="8" size="1 1 1 0.1"/></asset><worldbody>
<light pos="0 0 5"/><camera name="top" pos="0 -3 3" xyaxes="1 0 0 0 1 1"/><geom type="hfield" hfield="hills"/>
</worldbody></mujoco>
"""


def test_a_terrain_that_a_start_draws_anew_is_what_is_drawn() -> None:
    import mujoco

    from envs.rendering import Renderer

    model = mujoco.MjModel.from_xml_string(TERRAIN)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)

    def hills(seed: int) -> None:
        model.hfield_data[:] = np.random.default_rng(seed).uniform(0.0, 1.0, 64)

    hills(0)
    kept = Renderer(model, 64, "fast", "top")
    first = kept.render(data)
    hills(1)
    anew = Renderer(model, 64, "fast", "top")
    np.testing.assert_array_equal(kept.render(data), anew.render(data))
    assert (kept.render(data) != first).any()
    kept.close()
    anew.close()


@pytest.mark.parametrize("name", ["dmc:cartpole-swingup", "metaworld:drawer-open", "gymnasium:Hopper-v5"])
def test_a_task_that_was_asked_for_by_its_name_alone_is_drawn(name: str) -> None:
    """In a new process: MuJoCo draws by the library that is chosen before it is imported, by whoever comes first."""
    if name.startswith("metaworld"):
        pytest.importorskip("metaworld")
    code = (
        "from envs.registry import get_task; from envs.make import make; "
        f"print(make(get_task({name!r}), 'pixels', image_size=16).reset(seed=0)[0].shape)"
    )
    alone = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=alone)
    assert done.stdout.strip() == "(16, 16, 3)", done.stderr


def test_pygame_draws_without_a_display_and_without_a_word() -> None:
    task = "gymnasium:Pendulum-v1,image_size=32"
    code = f"from envs.make import make; print(make('{task}', 'pixels').reset(seed=0)[0].shape)"
    own = {name: value for name, value in os.environ.items() if not name.startswith(("SDL_", "XDG_", "DISPLAY"))}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "(32, 32, 3)" and not done.stderr
