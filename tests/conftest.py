"""What several test files use, made once."""

from pathlib import Path

import pytest
from toy_runs import toy

from data.manifest import describe
from data.play import BehaviourPolicy, played_episodes
from data.store import write_dataset
from envs import gl
from envs.tasks import get_task
from latent_combo.train import train

gl.choose_if_any()  # mujoco decides by it when it is imported, and tests import it by other ways than the project does


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a recording of three episodes of random actions, `tiny`."""
    task = get_task("walker-walk")
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "tiny", played_episodes(task, BehaviourPolicy(), 3, seed=0), describe(task, "random", 0, {}))
    return folder


@pytest.fixture(scope="session")
def finished(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests leave it as it is."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    train(toy(data_dir, out))
    return out
