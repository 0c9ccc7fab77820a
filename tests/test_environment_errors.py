"""Environments are anybody's code: one that raises costs an episode, and a run without any has no score."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_pendulum
from numpy.typing import NDArray

from combo_common.errors import UserError
from envs.base import TaskEnv
from envs.make import make
from envs.registry import get_task
from envs.task import ObservationSpec
from envs.vector_env import CRASHED, SubprocessVectorEnv, SyncVectorEnv
from latent_combo import evaluate, visualise
from latent_combo.config.command_line import parse
from latent_combo.config.schema import Config
from latent_combo.diagnostics.page import write_report
from latent_combo.evaluation.result import Result
from latent_combo.pipeline.load_run import load_run
from latent_combo.runtime.media import MediaWriter
from latent_combo.train import train

SEEN = ObservationSpec("state")
FIRST = 50_000
"""Seed of the first episode of a final score."""
TOY = """
    --obs state --ensemble.hidden 8 --world_model_fit.steps 4 --world_model_fit.batch 16 --agent.batch 16
    --agent.num_agents 2 --agent.network.hidden 8 --agent.actor_network.hidden 8 --agent_fit.updates 4
    --agent_fit.warm_up 2 --agent_fit.evaluations 2 --agent_fit.rollout_batch_size 10 --score.episodes 3
    --score.episodes_during_training 2
    --views.every 0 --views.clips 1 --views.segments 4 --views.episodes 3 --save_every 2 --device cpu --products mkl
"""


def _nan(stepped: Any) -> Any:
    return (stepped[0], float("nan"), *stepped[2:])


def _raise(stepped: Any) -> Any:
    raise ZeroDivisionError("the arm fell\noff")


WAYS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "raises": (_raise, r"ZeroDivisionError: the arm fell off \(test_environment_errors.py, line \d+\)"),
    "reward": (_nan, "ValueError: the reward is nan"),
    "observation": (lambda s: (s[0] * np.inf, *s[1:]), "ValueError: the observation is not finite"),
    "shape": (lambda s: (s[0][:2], *s[1:]), r"ValueError: the observation is of shape \(2,\), and that of the space"),
    "kind": (lambda s: (s[0].astype(complex), *s[1:]), "ValueError: the observation is of complex"),
    "physics": (
        lambda s: (*s[:4], {**s[4], "physics": np.zeros(9)}),
        r"ValueError: the physics are of shape \(9,\), and",
    ),
    "words": (lambda s: (s[0], "much", *s[2:]), "ValueError: could not convert string to float: 'much'"),
}


class Broken:
    """Stands before an environment that goes wrong in the episodes of some seeds, at some step."""

    def __init__(self, env: TaskEnv, seeds: set[int], wrong: Callable[[Any], Any], at: int) -> None:
        self._env, self._seeds, self._wrong, self._at = env, seeds, wrong, at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def reset(self, *, seed: int) -> Any:
        self._seed, self._step = seed, 0
        started = self._env.reset(seed=seed)
        if seed in self._seeds and self._at < 0:
            raise RuntimeError("no start")
        return started

    def step(self, action: NDArray[np.float32]) -> Any:
        stepped, self._step = self._env.step(action), self._step + 1
        return self._wrong(stepped) if self._seed in self._seeds and self._step > self._at else stepped


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def breaks(seeds: set[int], wrong: Callable[[Any], Any] = _raise, at: int = 3) -> None:
        monkeypatch.setattr("envs.vector_env.make", lambda *given: Broken(make(*given), seeds, wrong, at))

    return breaks


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_figures: None) -> Iterator[Config]:
    """A toy run of states."""

    def nothing(*given: object) -> None:
        raise UserError("nothing draws here")

    monkeypatch.setattr(MediaWriter, "_submit", lambda gallery, work: None)
    monkeypatch.setattr("latent_combo.diagnostics.agent.film", nothing)
    with toy_pendulum.registered():
        toy_pendulum.dataset(tmp_path / "toy-pendulum.hdf5", episodes=12)
        named = ["--dataset", str(tmp_path / "toy-pendulum.hdf5"), "--data_dir", str(tmp_path)]
        yield parse([*TOY.split(), *named, "--out", str(tmp_path / "run")])[0]


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_that_goes_wrong_is_left_alone_and_the_others_go_on(way: str, broken: Callable[..., None]) -> None:
    wrong, said = WAYS[way]
    with toy_pendulum.registered():
        sound = SyncVectorEnv(toy_pendulum.TASK, SEEN, 3)
        broken({1}, wrong, at=1)
        copies = SyncVectorEnv(toy_pendulum.TASK, SEEN, 3)
        for _ in range(2):  # the next episode begins anew
            sound.reset([0, 1, 2])
            assert copies.reset([0, 1, 2])[-1].tolist() == ["", "", ""]
            for step in range(4):
                expected, found = (each.step(np.zeros((3, 1), np.float32)) for each in (sound, copies))
                for ours, theirs in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(ours[[0, 2]], theirs[[0, 2]])
                reason = found[-1][1]
                assert (reason == "") == (step < 1)
                assert not reason or (re.match(said, reason) and found[2][1] == 0.0)
                assert np.isfinite(found[0]).all() and found[0].dtype == np.float32


def test_a_start_that_fails_and_a_process_that_crashes_cost_their_own_episodes() -> None:
    hopper = get_task("hopper")
    with closing(SubprocessVectorEnv(hopper, SEEN, 4, 2)) as copies, closing(SyncVectorEnv(hopper, SEEN, 4)) as here:
        seeds = [7, -1, 9, 10]  # no seed is negative
        found, expected = copies.reset(seeds), here.reset(seeds)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert [bool(reason) for reason in found[-1]] == [False, True, False, False]
        copies._workers[1][0].kill()
        copies._workers[1][0].join()
        stepped = copies.step(np.zeros((4, 3), np.float32))
        assert stepped[-1].tolist() == ["", CRASHED, "", CRASHED]
        np.testing.assert_array_equal(stepped[0][[0, 2]], here.step(np.zeros((4, 3), np.float32))[0][[0, 2]])
        copies._workers[0][0].kill()
        copies._workers[0][0].join()
        with pytest.raises(UserError, match="worker process crashed"):
            copies.step(np.zeros((4, 3), np.float32))


def test_a_run_keeps_its_policy_and_the_score_of_the_episodes_that_were_played(
    config: Config, broken: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken({FIRST + 1, 2_001})
    result = train(config)
    run, said = Path(config.out), capsys.readouterr().out
    assert (result.episodes, len(result.failed)) == (4, 2)
    line = f"agent 0, episode of seed {FIRST + 1}, step 3: ZeroDivisionError: the arm fell off"
    assert result.failed[0].startswith(line) and line in said
    assert "2 of 6 episodes ended with an error of the environment, and do not count" in said
    assert "1 ended with an error" not in str(result) and "the score is of the other 4" in str(result)
    told = json.loads((run / "result.json").read_text())
    assert told["failed"] == result.failed and [len(agent["returns"]) for agent in told["agents"]] == [2, 2]
    counted = [value for agent in told["agents"] for value in agent["returns"]]
    assert told["return_mean"] == pytest.approx(np.mean(counted)) and told["return_std"] == pytest.approx(
        np.std(counted)
    )
    assert "NaN" not in (run / "result.json").read_text() and Result.read(run) == result
    assert result.evaluations.steps and np.isfinite(result.evaluations.returns).all()
    page = write_report(run)
    assert "the score is of the other 4" in page and "every one of 4 scored episodes" not in page.lower()
    monkeypatch.setattr("sys.argv", ["evaluate", config.out, "--episodes", "3"])
    evaluate.main()
    said = capsys.readouterr().out
    assert "over 2 episodes" in said and "not counted: 2 episodes" in said


@pytest.mark.parametrize("at", [-1, 3])
def test_a_run_whose_episodes_all_fail_has_no_score_and_is_finished(
    at: int, config: Config, broken: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken({*range(FIRST, FIRST + 3), *range(2_000, 2_003)}, at=at)
    result = train(config)
    assert (result.return_mean, result.episodes, len(result.failed), result.evaluations.steps) == (None, 0, 6, [])
    assert result.finished and "there is no score" in str(result)
    assert load_run(Path(config.out)).agent_step == 4
    monkeypatch.setattr("sys.argv", ["evaluate", config.out, "--episodes", "3"])
    with pytest.raises(UserError, match=f"^no episode was played to its end: agent 0, episode of seed {FIRST}, step"):
        evaluate.main()


def test_an_environment_that_can_not_be_made_does_not_cost_the_policy(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise ImportError("no simulator")

    for module in ("envs.vector_env", "latent_combo.evaluation.branches"):
        monkeypatch.setattr(f"{module}.make", refuse)
    result = train(config)
    assert result.episodes == 0 and "ImportError: no simulator" in result.failed[0] and result.finished


def test_without_episodes_no_environment_is_made_and_all_say_so(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*given: object) -> None:
        pytest.fail("an environment is made")

    for module in ("envs.vector_env", "latent_combo.evaluation.branches", "latent_combo.evaluation.film", "envs.make"):
        monkeypatch.setattr(f"{module}.make", refuse)
    named = ["--dataset", config.dataset, "--data_dir", str(tmp_path), "--out", config.out]
    result = train(parse([*TOY.split(), *named, "--score.episodes", "0"])[0])
    run = Path(config.out)
    assert (result.episodes, result.return_mean, result.normalised_score, result.failed) == (0, None, None, [])
    assert result.evaluations.steps == [] and result.finished
    assert "no episode was played (score.episodes is 0): there is no score" in result.describe(config.out)
    assert json.loads((run / "result.json").read_text())["return_mean"] is None and Result.read(run) == result
    assert "score/" not in (run / "metrics.csv").read_text()
    page = write_report(run)
    assert "no episode was played (score.episodes is 0)" in page and "no score" in page
    assert "An episode of the first agent" not in page and "latent_combo.evaluate" in page
    visualise.visualise(run, load_run(run), 0)
    assert "no views" not in capsys.readouterr().out
    assert {"q_dataset", "log_prob_std_latent_error_rank_dataset_at_1"} <= set(result.diagnostics)


def test_fewer_than_no_episodes_are_refused() -> None:
    with pytest.raises(UserError, match="episodes is -1; it is 0 or more"):
        parse(["--score.episodes", "-1"])
