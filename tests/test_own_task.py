"""A run on a task of somebody's own: nobody measured its references, and its simulator cannot be set back."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_runs
from toy_gymnasium import Point

import latent_combo
from combo_common.errors import UserError
from data.formats.manifest import describe
from data.formats.native import write_dataset
from data.simulate.rollout import PolicySpec, played_episodes
from envs import registry
from envs.adapters.gymnasium import gymnasium_task
from envs.registry import register
from envs.task import ObservationSpec, Task
from envs.vector_env import make_vector_env
from latent_combo import evaluate, export, visualise
from latent_combo.config.command_line import parse
from latent_combo.diagnostics.page import write_report
from latent_combo.evaluate import scores
from latent_combo.evaluation.film import film
from latent_combo.evaluation.score import PlayedEpisode, Score
from latent_combo.runtime.media import MediaWriter

SETTINGS = {
    "obs": "state",
    "world_model_fit": {"steps": 20, "batch": 70, "validate_every": 10},
    "ensemble": {"hidden": 16, "weight_decay": [1e-5, 1e-5, 1e-5]},
    "agent": {"batch": 16, "network": {"hidden": 16}, "actor_network": {"hidden": 16}},
    "agent_fit": {"updates": 8, "warm_up": 2, "evaluations": 2, "rollout_batch_size": 10, "rollout_every": 4},
    "score": {"episodes": 3, "episodes_during_training": 1},
    "views": {"every": 0, "clips": 1, "segments": 8, "episodes": 2},
    **{"device": "cpu", "products": "mkl"},
}


@pytest.fixture(scope="module")
def point() -> Iterator[Task]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(registry, "_registered", {})
        yield register(gymnasium_task("point", Point, ("place", "velocity"), horizon=60, image_size=16))


@pytest.fixture(scope="module")
def run(point: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    episodes = list(played_episodes(point, PolicySpec(), 8, seed=0))
    write_dataset(folder / "point", episodes, replace(describe(point, "random", 0, {}), image_size=16, look="fast"))
    with pytest.MonkeyPatch.context() as patched, toy_runs.blank_figures():
        patched.setattr(MediaWriter, "_submit", lambda gallery, work: None)
        config = latent_combo.make_config(
            dataset=str(folder / "point"), out=str(folder / "run"), data_dir=str(folder), **SETTINGS
        )
        latent_combo.train(config)
    return folder / "run"


def test_scores_are_returns_alone_where_nobody_measured_references(run: Path) -> None:
    told = json.loads((run / "result.json").read_text())
    assert told["task"] == "point" and told["return_mean"] > 0.0
    for unknown in ("normalised_score", "random_return", "expert_return", "dataset_normalised_score"):
        assert told[unknown] is None, unknown
    assert told["agents"][0]["normalised_score"] is None
    result = latent_combo.load_run(run).result
    assert result is not None and "\nnormalised" not in str(result) and "random" not in str(result)
    page = write_report(run)
    assert "normalised 0" not in page and "<td>expert</td>" not in page and "<td>mean of the dataset</td>" in page


def test_evaluate_says_that_there_are_no_references(run: Path) -> None:
    returns = np.array([[1.0, 2.0, 3.0]])
    said = scores(latent_combo.load_run(run), Score(returns, None, None, np.zeros_like(returns)))
    assert said.splitlines()[-1] == "random policy unknown, expert unknown: no normalised score"
    assert "normalised " not in said.splitlines()[0] + said.splitlines()[1]


def test_an_episode_is_filmed_by_playing_it_again(point: Task) -> None:
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1.0, 1.0, (12, 2)).astype(np.float32)
    frames, _ = film(point, "fast", PlayedEpisode(5, np.zeros((13, 0)), actions))
    again, _ = film(point, "fast", PlayedEpisode(5, np.zeros((13, 0)), actions))
    np.testing.assert_array_equal(frames, again)
    assert frames.shape == (13, 256, 256, 3) and (frames[0] != frames[-1]).any()


def test_an_environment_is_not_stepped_after_its_episode(point: Task) -> None:
    """Neither past its termination nor past its time limit, while other copies go on."""
    copies = make_vector_env(point, ObservationSpec("state"), 2, 1)
    copies.reset([0, 1])
    out = np.array([[1.0, 1.0], [0.0, 0.0]], np.float32)  # the first leaves the square
    ended = None
    for step in range(60):
        observation, _, reward, terminated, truncated, _, _ = copies.step(out)
        if ended is None and terminated[0]:
            ended, left = step, observation[0].copy()
        elif ended is not None:
            assert reward[0] == 0.0 and terminated[0]
            np.testing.assert_array_equal(observation[0], left)
    assert ended is not None and truncated[1] and not terminated[1]
    inner = copies.envs[0]._env  # type: ignore[union-attr]
    assert len(inner.taken) == ended + 1
    copies.close()


MODULE = """
from envs.adapters.gymnasium import gymnasium_task
from toy_gymnasium import Point

TASK = gymnasium_task("walled", Point, ("place", "velocity"), horizon=60, image_size=16)
"""


def test_a_run_keeps_the_module_that_its_task_was_named_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: Task
) -> None:
    (tmp_path / "walled_tasks.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    walled = replace(point, name="walled")
    episodes = played_episodes(walled, PolicySpec(), 3, seed=0)
    write_dataset(tmp_path / "set", episodes, replace(describe(walled, "random", 0, {}), image_size=16, look="fast"))
    config = parse(["--obs", "state", "--dataset", "set", "--task", "walled_tasks:TASK", "--out", "run"])[0]
    assert config.task == "walled_tasks:TASK"  # another process reads the run back by it
    assert registry.get_task(config.task).name == "walled"
    assert parse(["--obs", "state", "--dataset", "set", "--out", "run"])[0].task == "walled"  # it is known by now


NAMED = """
from dataclasses import replace
from envs.adapters.gymnasium import gymnasium_task
from toy_gymnasium import Point

TASK = gymnasium_task("point", Point, ("place", "velocity"), horizon=60, image_size=16)
OTHER_NAME = replace(TASK, name="another-point")
OTHER_SPACES = gymnasium_task("point", Point, ("place",), horizon=60, image_size=16)
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_figures: None) -> Path:
    """A folder with a module of the task, in a process where nobody has registered it."""
    (tmp_path / "named_tasks.py").write_text(NAMED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.delitem(sys.modules, "named_tasks", raising=False)
    monkeypatch.setattr(MediaWriter, "_submit", lambda gallery, work: None)
    return tmp_path


def called(module: Any, *arguments: object) -> None:
    """Call a command by its command line."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        module.main()


def test_commands_read_a_run_of_a_task_that_their_user_names(
    run: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = elsewhere / "policy.safetensors"
    for module, more in ((evaluate, ()), (visualise, ()), (export, ("--policy", out))):
        with pytest.raises(UserError, match=r"run is of the task 'point', which is not known here; name its module"):
            called(module, run, *more)
    result = json.loads((run / "result.json").read_text())
    named = ("--task", "named_tasks:TASK")
    called(evaluate, run, "--episodes", 1, *named)
    assert f"({result['agents'][0]['returns'][0]:.0f})" in capsys.readouterr().out
    called(export, "--policy", run, out, *named)
    called(export, run, elsewhere / "model.safetensors", *named)
    assert latent_combo.load_policy(out).act(np.zeros(4, np.float32)).shape == (2,)
    assert latent_combo.load_run(run).task.name == "point"  # known from then on
    called(visualise, run, *named)
    assert "report.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("OTHER_NAME", r"task is another-point, but the run .* is of point; name that task"),
        ("OTHER_SPACES", r"world_model is not of .* the task point as it is here, of 2 actions and 2 observed numb"),
    ],
)
def test_another_task_than_the_runs_is_refused_in_a_line(run: Path, elsewhere: Path, task: str, said: str) -> None:
    out = elsewhere / "out.safetensors"
    for module, *more in ((evaluate,), (visualise,), (export, "--policy", out), (export, out)):
        with pytest.raises(UserError, match=said) as refused:
            called(module, run, *more, "--task", f"named_tasks:{task}")
        assert "\n" not in str(refused.value)
        registry._registered.clear()
    assert not out.exists()


def test_a_run_whose_module_has_moved_is_read_by_another(
    run: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = elsewhere / "moved"
    shutil.copytree(run, moved)
    config = (moved / "config.yaml").read_text()
    (moved / "config.yaml").write_text(config.replace("task: point\n", "task: gone_tasks:TASK\n"))
    with pytest.raises(UserError, match="names the task 'gone_tasks:TASK', and code of its module would run"):
        latent_combo.load_run(moved)
    monkeypatch.setenv(registry.TRUSTED, "gone_tasks")
    with pytest.raises(UserError, match="there is no module gone_tasks"):
        latent_combo.load_run(moved)
    assert latent_combo.load_run(moved, "named_tasks:TASK").config.task == "named_tasks:TASK"
    registry._registered.clear()
    with pytest.raises(UserError, match="task is another-point, but the run .* is of point"):
        latent_combo.load_run(moved, "named_tasks:OTHER_NAME")
