"""Another task's reward for the same experience."""

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from combo_common.errors import UserError
from data import relabel as command
from data.formats.d4rl import read_d4rl, write_d4rl
from data.formats.manifest import describe
from data.formats.native import write_dataset
from data.simulate import relabelling
from data.simulate.relabelling import relabel
from data.simulate.rollout import PolicySpec, played_episodes
from envs.make import make
from envs.registry import get_task

CHEETAH, JUMP, ANT, ANGLE = (get_task(name) for name in ("halfcheetah", "halfcheetah-jump", "ant", "ant-angle"))


def played(name: str, seed: int = 0) -> list:
    return list(played_episodes(get_task(name), PolicySpec(), 1, seed))


def test_the_same_task_pays_what_was_recorded() -> None:
    for name in ("halfcheetah", "hopper"):
        recorded = played(name)
        again = list(relabel(iter(recorded), get_task(name)))
        assert [episode.length for episode in again] == [episode.length for episode in recorded]
        for ours, theirs in zip(again, recorded, strict=True):
            np.testing.assert_allclose(ours.reward, theirs.reward, atol=1e-4)
            np.testing.assert_array_equal(ours.is_terminal, theirs.is_terminal)
            np.testing.assert_allclose(ours.state, theirs.state, atol=1e-6)


def test_the_jump_pays_speed_up_to_3_effort_and_height() -> None:
    (recorded,) = played("halfcheetah")
    (jump,) = relabel(iter([recorded]), JUMP)
    physics, action = recorded.physics, recorded.action[1:]
    assert physics is not None and jump.state is not None
    speed = (physics[1:, 0] - physics[:-1, 0]) / 0.05  # five steps of 0.01 s
    expected = np.minimum(speed, 3.0) - 0.1 * (action**2).sum(1) + 15.0 * physics[1:, 1]
    np.testing.assert_allclose(jump.reward[1:], expected, atol=2e-3)
    assert jump.state.shape == (1001, 18) and not jump.is_terminal.any()
    np.testing.assert_allclose(jump.state[:, 17], 0.7 + physics[:, 1], atol=1e-5)  # the torso's height
    np.testing.assert_allclose(jump.state[:, :17], recorded.state, atol=1e-6)


def test_faster_than_3_pays_no_more() -> None:
    env = make("halfcheetah-jump", "state")
    env.reset(seed=0)
    physics = env.physics_state()
    paid = {}
    for speed in (2.0, 10.0, 20.0):
        physics[9] = speed
        env.set_physics(physics)
        paid[speed] = env.step(np.zeros(6, np.float32))[1]
    assert paid[10.0] - paid[2.0] < 2.0  # 8 if it paid for all of it
    assert abs(paid[20.0] - paid[10.0]) < 1.0


def test_the_ant_is_paid_for_30_degrees_less_effort_and_contacts() -> None:
    env, rng = make("ant-angle", "state"), np.random.default_rng(0)
    env.reset(seed=0)
    simulator, touched = env._env, []
    for _ in range(60):
        before = simulator.get_body_com("torso")[:2].copy()
        action = rng.uniform(-1, 1, 8).astype(np.float32)
        _, reward, *_ = env.step(action)
        velocity = (simulator.get_body_com("torso")[:2] - before) / 0.05
        forces = np.clip(simulator.data.cfrc_ext, -1.0, 1.0)
        touched.append(5e-4 * np.square(forces).sum())
        along = velocity @ [np.cos(np.pi / 6), np.sin(np.pi / 6)]
        assert reward == pytest.approx(along + 1.0 - 0.5 * np.square(action).sum() - touched[-1], abs=1e-5)
    assert max(touched) > 1e-3  # the test could not pass without them


def test_an_ants_episodes_end_where_they_did() -> None:
    recorded = played("ant")
    made = list(relabel(iter(recorded), ANGLE))
    assert [episode.length for episode in made] == [episode.length for episode in recorded]
    for ours, theirs in zip(made, recorded, strict=True):
        assert ours.state is not None and ours.state.shape[1] == 27
        assert ours.is_terminal[-1] == theirs.is_terminal[-1]
        height = theirs.physics[-1, 2]
        assert ours.is_terminal[-1] == bool(height < 0.2 or height > 1.0)


def test_what_goes_on_after_a_new_ending_is_an_episode_of_its_own() -> None:
    (recorded,) = played("halfcheetah")

    class Ends:
        """Ends in its third and eighth step; pays the step's number."""

        def __init__(self) -> None:
            self.steps = 0

        def reset(self, seed: int) -> None:
            pass

        def observe_physics(self, physics: np.ndarray) -> np.ndarray:
            return physics[:17].astype(np.float32)

        def set_physics(self, physics: np.ndarray) -> None:
            pass

        def step(self, action: np.ndarray) -> tuple[None, float, bool, bool, dict]:
            self.steps += 1
            return None, float(self.steps), self.steps in (3, 8), False, {}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(relabelling, "make", lambda *given: Ends())
        made = list(relabel(iter([recorded]), CHEETAH))
    assert [episode.length for episode in made] == [3, 5, 992]
    assert [bool(episode.is_terminal[-1]) for episode in made] == [True, True, False]
    assert made[1].reward.tolist() == [0, 4, 5, 6, 7, 8]
    np.testing.assert_array_equal(made[1].action[1:], recorded.action[4:9])
    np.testing.assert_array_equal(made[1].physics, recorded.physics[3:9])


def test_the_command_relabels_a_file_and_refuses_another_robots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "halfcheetah-replay.hdf5", tmp_path / "jump.hdf5"
    write_d4rl(source, played("halfcheetah"), CHEETAH, {"task": "halfcheetah"})
    monkeypatch.setattr(sys, "argv", ["relabel", str(source), str(out), "--task", "halfcheetah-jump"])
    command.main()
    read = read_d4rl(out, JUMP)
    said = capsys.readouterr().out
    assert f"batch mean {read.episode_returns.mean():.1f}, batch maximum {read.episode_returns.max():.1f}" in said
    with pytest.raises(UserError, match="exists already"):
        command.main()
    monkeypatch.setattr(sys, "argv", ["relabel", str(source), str(tmp_path / "x.hdf5"), "--task", "ant-angle"])
    with pytest.raises(UserError, match="is of halfcheetah, whose physics names are not those of ant-angle"):
        command.main()
    assert not (tmp_path / "x.hdf5").exists()


def test_robots_of_as_many_numbers_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "halfcheetah-random.hdf5"
    write_d4rl(source, played("halfcheetah"), CHEETAH, {"task": "halfcheetah"})
    for task in ("walker2d", "walker-walk"):  # 18 numbers of physics and 6 actions, as the half-cheetah
        monkeypatch.setattr(sys, "argv", ["relabel", str(source), str(tmp_path / "out"), "--task", task])
        with pytest.raises(UserError, match=f"is of halfcheetah, whose .* are not those of {task}"):
            command.main()
    untold = source.rename(tmp_path / "some.hdf5")
    with h5py.File(untold, "a") as file:
        del file["metadata/task"]
    out = tmp_path / "out.hdf5"
    arguments = [str(untold), str(out), "--task", "halfcheetah-jump", "--of", "halfcheetah", "--processes", "1"]
    monkeypatch.setattr(sys, "argv", ["relabel", *arguments])
    command.main()
    assert out.exists()


def test_a_recording_of_a_task_that_is_not_known_here_names_the_option_that_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = replace(describe(CHEETAH, "random", 0, {}), task="my-cheetah")
    write_dataset(tmp_path / "set", (replace(e, state=None) for e in played("halfcheetah")), described)
    monkeypatch.setattr(sys, "argv", ["relabel", str(tmp_path / "set"), str(tmp_path / "out"), "--task", "halfcheetah"])
    said = (
        "set is of the task 'my-cheetah', which is not known here.*in data relabel: --of my_module:TASK, since --task"
    )
    with pytest.raises(UserError, match=said):
        command.main()


def test_every_episode_of_the_walker_is_relabelled_whole() -> None:
    walker = get_task("walker-walk")  # whose simulator has a time limit of its own
    recorded = list(itertools.islice(played_episodes(walker, PolicySpec(), 2, 0), 2))
    for ours, theirs in zip(relabel(recorded, walker), recorded, strict=True):
        np.testing.assert_allclose(ours.reward, theirs.reward, atol=1e-3)
