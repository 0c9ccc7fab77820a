"""V-D4RL's published folders: found by name, of their own tasks, trained on in both sizes, scored in its units."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import h5py
import numpy as np
import pytest

from combo_common.errors import UserError
from data.load import load_pixels
from data.reference import resolve
from envs import registry
from envs.adapters import dm_control
from envs.registry import get_task
from latent_combo.config.command_line import parse
from latent_combo.config.schema import Config
from latent_combo.evaluate import scores
from latent_combo.evaluation.result import Result
from latent_combo.evaluation.score import Score
from latent_combo.evaluation.vd4rl import vd4rl_score
from latent_combo.pipeline.load_run import load_run
from latent_combo.train import train
from latent_combo.world_model import tune
from tests.toy_runs import TOY

STEPS, ACTIONS = 500, 6
"""Of an episode of cheetah-run: 1000 control steps, two in each."""
FEW = 100
"""Steps of an episode that a toy run plays."""
SETTINGS = """
    --agent.num_agents 1 --agent_fit.evaluations 0 --score.episodes 1 --look fast
    --views.every 100 --views.episodes 1
    --rssm.conv.ways=[] --rssm.conv.encoder_channels=[] --rssm.conv.decoder_channels=[]
"""
NARROW = ("--rssm.conv.encoder_channels=[4,8,16,32]",)
"""Layers of 84 pixels; they are many, and those of 32 channels and more take most of a toy run's time."""


def publish(data: Path, steps: int) -> Path:
    """Two episodes of cheetah-run's medium in both sizes, below a data folder, as V-D4RL publishes them."""
    rng, root = np.random.default_rng(0), data / "vd4rl" / "main" / "cheetah_run" / "medium"
    (root / "64px").mkdir(parents=True)
    (root / "84px").mkdir()
    rows, shards = steps + 1, []
    for number in range(2):
        shade = rng.integers(0, 200, (rows, 1, 1, 3), np.uint8)
        action = rng.uniform(-1.0, 1.0, (rows, ACTIONS)).astype(np.float32)
        reward = rng.uniform(0.0, 2.0, rows).astype(np.float32)
        action[0] = reward[0] = 0.0
        step_type = np.ones(rows)
        step_type[[0, -1]] = 0, 2
        index, image = np.arange(rows), np.broadcast_to(shade, (rows, 84, 84, 3)) + np.uint8(number)
        image[:, ::7] //= 2
        columns = {"action": action, "reward": reward, "discount": np.ones(rows, np.float32)}
        np.savez_compressed(
            root / "64px" / f"20220515T0{number}0000-{number:032x}-{rows}.npz", image=image[:, :64, :64], **columns,
            is_first=index == 0, is_last=index == rows - 1, is_terminal=np.zeros(rows, bool),
        )  # fmt: skip
        shards.append({**columns, "observation": image.transpose(0, 3, 1, 2), "step_type": step_type})
    with h5py.File(root / "84px" / "0.hdf5", "w") as file:
        for key in shards[0]:
            file.create_dataset(key, data=np.concatenate([shard[key] for shard in shards]), compression="gzip")
    return data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return publish(tmp_path / "data", STEPS)


@pytest.fixture
def few_steps() -> Iterator[None]:
    """The task with ten control steps in each: an episode is played soon, and still has a thousand of them."""
    task = replace(get_task("cheetah-run"), horizon=FEW, action_repeat=10)
    with mock.patch.dict(registry._adapted, {task.name: task}):
        yield


def test_the_plain_names_are_tasks_with_vd4rls_conventions() -> None:
    cheetah, humanoid = get_task("cheetah-run"), get_task("humanoid-walk")
    assert cheetah is get_task("dmc:cheetah-run") and humanoid is get_task("dmc:humanoid-walk")
    assert (cheetah.action_repeat, cheetah.horizon, cheetah.action_dim, cheetah.camera) == (2, STEPS, ACTIONS, "side")
    assert (humanoid.action_repeat, humanoid.horizon, humanoid.action_dim, humanoid.camera) == (2, STEPS, 21, "back")
    assert get_task("walker-walk").action_repeat == 2 and get_task("walker-walk").camera == "side"  # of number 0, all
    names = SimpleNamespace(ncam=3, camera=lambda number: SimpleNamespace(name=""))
    assert [dm_control._camera(names, domain) for domain in ("cheetah", "quadruped")] == ["0", "2"]
    assert parse(["--task", "cheetah-run", "--dataset", "x"])[0].task == "dmc:cheetah-run"
    with pytest.raises(ValueError, match="another task cheetah-run"):
        registry.register(replace(cheetah, name="cheetah-run"))


def test_a_name_imports_no_simulator(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from data.reference import resolve; from envs.registry import is_name;"
        f"found = resolve('cheetah-run-medium', None, Path({str(folder)!r}));"
        "assert found.task == 'dmc:cheetah-run' and is_name('humanoid-walk') and found.image_size == 64;"
        "sys.exit(any(name in sys.modules for name in ('dm_control', 'mujoco', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("cheetah-run-medium", "64px"),
        ("cheetah-run-medium-84px", "84px"),
        ("cheetah_run/medium/84px", "84px"),
        ("vd4rl/main/cheetah_run/medium/64px", "64px"),
    ],
)
def test_folders_are_found_by_name(name: str, size: str, folder: Path) -> None:
    found = resolve(name, None, folder)
    assert found.path == folder / "vd4rl/main/cheetah_run/medium" / size
    assert (found.task, found.split, found.image_size) == ("dmc:cheetah-run", "medium", int(size[:2]))
    assert resolve("medium", get_task("cheetah-run"), folder).path == folder / "vd4rl/main/cheetah_run/medium/64px"


@pytest.mark.parametrize("split", ["random", "medium_replay", "medium", "medium_expert", "expert"])
@pytest.mark.parametrize("task", ["walker_walk", "cheetah_run", "humanoid_walk"])
def test_every_task_and_split_has_a_name(task: str, split: str, tmp_path: Path) -> None:
    (tmp_path / task / split / "84px").mkdir(parents=True)
    name = f"{task}-{split}".replace("_", "-")
    found = resolve(name, None, tmp_path)
    assert found.path == tmp_path / task / split / "84px" and found.split == split.replace("_", "-")
    assert found.task == registry.whole_name(task.replace("_", "-"))
    with pytest.raises(UserError, match=f"no dataset '{name}'.*or put V-D4RL's folder to .*/{task}/{split}/64px"):
        _ = resolve(name, None, tmp_path / "elsewhere").local


def test_a_folder_beside_the_user_comes_before_one_in_the_data_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here" / "cheetah_run" / "medium" / "64px").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert resolve("cheetah_run/medium/64px", None, folder).path == Path("cheetah_run/medium/64px")


def test_both_sizes_hold_the_same_episodes(folder: Path) -> None:
    task = get_task("cheetah-run")
    small, large = (
        load_pixels(f"cheetah-run-medium-{size}px", task, "full", folder, progress=False) for size in (64, 84)
    )
    assert small.observation.shape == (2 * STEPS + 2, 64, 64, 3) and large.observation.shape[1:] == (84, 84, 3)
    np.testing.assert_array_equal(small.observation, large.observation[:, :64, :64])
    for key in ("action", "reward", "is_first", "is_terminal"):
        np.testing.assert_array_equal(getattr(small, key), getattr(large, key))
    assert (small.lengths == STEPS + 1).all() and not small.is_terminal.any()


@pytest.mark.usefixtures("few_steps", "blank_figures")
def test_a_run_by_name_has_its_task_and_vd4rls_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "REPEATS", 1)
    data, out = publish(tmp_path / "data", FEW), tmp_path / "run"

    def named(dataset: str, *sizes: str) -> Config:
        more = ["--dataset", dataset, "--data_dir", str(data), "--out", str(out), *SETTINGS.split(), *sizes]
        return parse([*TOY.split(), *more])[0]

    config, small = named("cheetah-run-medium-84px", *NARROW), named("cheetah-run-medium")
    assert config.task == small.task == "dmc:cheetah-run"
    assert (config.rssm.conv.image_size, small.rssm.conv.image_size) == (84, 32)
    train(config)
    result = Result.read(out)
    assert result is not None and result.task == "dmc:cheetah-run" and result.vd4rl_score is not None
    assert result.vd4rl_score == pytest.approx(result.return_mean / 10.0)
    assert json.loads((out / "result.json").read_text())["vd4rl_score"] == result.vd4rl_score
    printed = f"V-D4RL      {result.vd4rl_score:.1f} (return / 10)"
    assert printed in str(result)
    assert f"V-D4RL's score (return / 10) {result.vd4rl_score:.1f}" in (out / "report.html").read_text()
    assert load_run(out).task.name == "dmc:cheetah-run"


@pytest.mark.usefixtures("few_steps")
def test_scores_have_vd4rls_units_where_they_are_comparable() -> None:
    run = mock.Mock(task=get_task("cheetah-run"))
    run.config.agent.labels.return_value = ["0"]
    returns = np.array([[560.0, 580.0]])
    assert "V-D4RL's score (return / 10): 57.0" in scores(run, Score(returns, None, None, returns))
    assert vd4rl_score(get_task("walker-walk"), 525.0) == 52.5
    assert vd4rl_score(get_task("cartpole-balance"), 960.0) == 96.0
    assert vd4rl_score(get_task("walker-walk"), None) is None
    for other in ("hopper", "dmc:cheetah-run,horizon=100", "dmc:lqr-lqr_2_1"):
        assert vd4rl_score(get_task(other), 100.0) is None
