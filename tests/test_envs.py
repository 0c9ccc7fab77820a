import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from combo_common.errors import UserError
from envs import doctor, gl
from envs.builtin import BUILTIN as TASKS
from envs.doctor import upright
from envs.make import make
from envs.registry import get_task
from latent_combo import make_config, train


@pytest.mark.parametrize("observation", ["state", "pixels"])
def test_the_environment_keeps_gymnasiums_contract(observation: str) -> None:
    env = make("walker-walk", observation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unbounded observations and missing specs
        check_env(env)
    env.close()


def test_the_same_seed_gives_the_same_pixels_and_another_seed_others() -> None:
    env, other = make("walker-walk", "pixels"), make("walker-walk", "pixels")
    action = np.full(6, 0.5, np.float32)
    first, _ = env.reset(seed=3)
    again, _ = other.reset(seed=3)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(env.step(action)[0], other.step(action)[0])
    np.testing.assert_array_equal(env.reset()[0], other.reset()[0])
    assert (other.reset(seed=4)[0] != first).any()
    env.close()
    other.close()


def test_an_episode_is_500_steps_of_two_control_steps_and_is_truncated_not_terminated() -> None:
    env = make("walker-walk", "state")
    env.reset(seed=0)
    rewards = []
    for step in range(500):
        _, reward, terminated, truncated, _ = env.step(np.zeros(6, np.float32))
        rewards.append(reward)
        assert not terminated
        assert truncated == (step == 499)
    assert env._physics.time() == pytest.approx(500 * 2 * 0.025)  # control time step of the suite
    assert min(rewards) >= 0.0
    assert max(rewards) <= 2.0


@pytest.mark.parametrize("name", ["cartpole-balance", "cartpole-swingup"])
def test_a_cart_and_pole_as_the_suite_has_it(name: str) -> None:
    env, task = make(name, "pixels", image_size=32), get_task(name)
    image, info = env.reset(seed=0)
    assert image.shape == (32, 32, 3) and info["state"].shape == (5,) and info["physics"].shape == (4,)
    upright = float(info["state"][1])  # the cosine: 1 is up
    assert upright > 0.99 if name.endswith("balance") else upright < -0.99
    rewards = []
    for step in range(task.horizon):
        image, reward, terminated, truncated, info = env.step(np.full(1, 0.1, np.float32))
        rewards.append(reward)
        assert not terminated and truncated == (step == task.horizon - 1)
    assert env._physics.time() == pytest.approx(10.0)  # s, as in the suite
    assert min(rewards) >= 0.0 and max(rewards) <= task.action_repeat
    fresh = make(name, "pixels", image_size=32)
    np.testing.assert_array_equal(fresh.render_physics(info["physics"]), image)
    np.testing.assert_allclose(fresh.observe_physics(info["physics"]), info["state"], atol=1e-6)
    angle = float(info["physics"][1])
    np.testing.assert_allclose(info["state"][1:3], [np.cos(angle), np.sin(angle)], atol=1e-6)
    env.close()
    fresh.close()


def test_a_recorded_state_gives_the_same_picture_and_observation() -> None:
    env = make("walker-walk", "pixels")
    env.reset(seed=1)
    for _ in range(5):
        image, _, _, _, info = env.step(np.full(6, 0.3, np.float32))
    fresh = make("walker-walk", "pixels")
    fresh.reset(seed=2)
    np.testing.assert_array_equal(fresh.render_physics(info["physics"]), image)
    np.testing.assert_allclose(fresh.observe_physics(info["physics"]), info["state"], atol=1e-6)
    env.close()
    fresh.close()


def test_the_full_look_is_dm_controls_own_picture() -> None:
    env = make("walker-walk", "pixels", look="full")
    image, _ = env.reset(seed=0)
    theirs = env._physics.render(64, 64, camera_id="side")
    np.testing.assert_array_equal(image, theirs)
    fast = make("walker-walk", "pixels")
    assert (fast.reset(seed=0)[0] != image).any()
    env.close()
    fast.close()


def test_pictures_are_the_right_way_up() -> None:
    env = make("walker-walk", "pixels")
    env.reset(seed=0)
    for _ in range(50):
        image, *_ = env.step(np.zeros(6, np.float32))
    assert upright(image)
    assert not upright(image[::-1])
    env.close()


def test_a_black_frame_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make("walker-walk", "pixels")
    env.reset(seed=0)
    assert env._renderer is not None
    monkeypatch.setattr(env._renderer._renderer, "render", lambda: np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(UserError, match="black frame"):
        env.render()
    env.close()


def test_unknown_names_are_refused_with_known_ones() -> None:
    with pytest.raises(UserError, match="walker-walk"):
        get_task("walker-wlak")
    with pytest.raises(UserError, match="look"):
        make("walker-walk", "pixels", look="pretty")
    with pytest.raises(UserError, match="observation"):
        make("walker-walk", "sound")
    for size in (0, -5):
        with pytest.raises(UserError, match=f"{size} pixels"):
            make("walker-walk", "pixels", image_size=size)


def test_pictures_may_be_larger_than_the_models_own_buffer() -> None:
    env = make("walker-walk", "pixels", image_size=500)
    room = env._physics.model.vis.global_.offheight
    image, _ = env.reset(seed=0)
    assert room < 500 and image.shape == (500, 500, 3)
    assert env._physics.model.vis.global_.offheight == room
    env.close()


def test_a_machine_without_gl_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    with pytest.raises(UserError, match="libegl1"):
        gl.choose()


def test_a_command_without_gl_ends_in_one_line_and_exit_code_2() -> None:
    code = (
        "import data.collect, latent_combo.evaluation.film; from envs.make import make; "
        "from combo_common.cli import run_cli; run_cli(lambda: make('walker-walk'))"
    )
    broken = {**os.environ, "MUJOCO_GL": "nonsense"}
    done = subprocess.run([sys.executable, "-c", code], env=broken, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: MUJOCO_GL is nonsense") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("said", ["EGL", " Egl ", "OSMESA"])
def test_a_back_end_is_taken_in_any_case(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", said)
    assert gl.choose() == os.environ["MUJOCO_GL"] == said.strip().lower()


def test_a_walker_is_drawn_with_a_back_end_in_upper_case() -> None:
    backend = os.environ.get("MUJOCO_GL") or gl.choose()
    code = "from envs.make import make; make('walker-walk', 'pixels').reset(seed=0)"
    loud = {**os.environ, "MUJOCO_GL": backend.upper()}
    done = subprocess.run([sys.executable, "-c", code], env=loud, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_back_end_that_there_is_not_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "eglx")
    refused = pytest.raises(UserError, match="^MUJOCO_GL is eglx; it is one of egl, osmesa, glfw, or unset$")
    with refused:
        train(make_config(out=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(sys, "argv", ["doctor"])
    monkeypatch.setattr(doctor, "examine", lambda backend: {"rate": 500.0, "upright": True})
    with refused:
        doctor.main()


@pytest.mark.parametrize("found", [None, {"rate": 500.0, "upright": False}])
def test_the_doctor_refuses_a_machine_that_draws_nothing_or_upside_down(
    found: dict[str, object] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(sys, "argv", ["doctor"])
    monkeypatch.setattr(doctor, "examine", lambda backend: found)
    with pytest.raises(UserError, match="libegl1"):
        doctor.main()
    monkeypatch.setattr(doctor, "examine", lambda backend: {"rate": 500.0, "upright": True})
    doctor.main()


def test_the_normalised_score_is_0_for_random_and_100_for_the_expert() -> None:
    for task in TASKS.values():
        assert task.normalised_score(task.random_return) == 0.0
        assert task.normalised_score(task.expert_return) == pytest.approx(100.0)


def test_drawing_leaves_no_words_at_the_end_of_the_process(tmp_path: Path) -> None:
    code = "from envs.make import make; e = make('walker-walk', 'pixels'); e.reset(seed=0)"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
