"""A recording is drawn as its own task, or as the same task filmed by another camera."""

from pathlib import Path

import numpy as np
import pytest

from combo_common.errors import UserError
from data.formats.manifest import describe
from data.formats.native import Dataset, write_dataset
from data.simulate.rendering import render_dataset
from data.simulate.rollout import PolicySpec, played_episodes
from envs.registry import get_task

NAME = "dmc:cartpole-swingup"
FIRST = 6


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    task = get_task(f"{NAME},horizon=5")
    folder = tmp_path_factory.mktemp("recorded") / "set"
    write_dataset(folder, played_episodes(task, PolicySpec(), 1, seed=0), describe(task, "random", 0, {}))
    return folder


def drawn(recording: Path, out: Path, task: str | None = None) -> Dataset:
    render_dataset(recording, out, 24, "fast", progress=False, task=task)
    return Dataset(out)


def test_another_camera_draws_other_pictures_of_the_same_steps_and_says_which(recording: Path, tmp_path: Path) -> None:
    own, other = drawn(recording, tmp_path / "own"), drawn(recording, tmp_path / "other", f"{NAME},camera=1,horizon=5")
    assert own.manifest.camera == "fixed" and own.manifest.task == f"{NAME},horizon=5"
    assert (other.manifest.task, other.manifest.camera) == (get_task(f"{NAME},camera=1,horizon=5").name, "1")
    (first,), (second,) = own, other
    np.testing.assert_array_equal(first.action, second.action)
    assert first.image is not None and second.image is not None
    assert (first.image != second.image).mean() > 0.1


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (f"{NAME},action_repeat=4,horizon=5", "its action_repeat is 8, but 4 is asked for"),
        ("dmc:cheetah-run,horizon=5", "does not fit"),
        ("dmc:cartpole-balance,horizon=5", "whose reward is another than that of dmc:cartpole-balance"),
    ],
)
def test_another_task_is_refused(task: str, told: str, recording: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        drawn(recording, tmp_path / "out", task)
    assert not (tmp_path / "out").exists()
