"""Rewards of one's own, asked for at every recorded step."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from same_episodes import assert_same

from combo_common.errors import UserError
from data import relabel as relabel_command
from data.episode import Episode
from data.formats.d4rl import write_d4rl
from data.formats.native import Dataset
from data.simulate.own_code import load_function
from data.simulate.relabelling import relabel
from data.simulate.rollout import PolicySpec, play
from envs.registry import get_task

WALKER, HOPPER = get_task("walker-walk"), get_task("hopper")
SIZE = 32
"""Pixels; minari leaves smaller images alone, JPEG or not."""
needs_minari = pytest.mark.skipif(find_spec("minari") is None, reason="minari is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")
TERMINATION_FNS = (False, True, False)
"""Of the tests' three episodes the second is ended by the task."""
Columns = dict[str, NDArray[Any]]


REWARD = """
from __future__ import annotations
from dataclasses import dataclass
import numpy as np

@dataclass
class Weights:  # a module of its own: dataclasses look it up by its name
    scale: float = 1.0

def weighted(before, action, after, env):
    given = np.concatenate([before, action, after, env.physics_state()])
    before[:] = action[:] = 0.0  # the recording is not theirs to change
    return float(given @ np.linspace(1.0, 2.0, len(given))) * Weights().scale

def failing(before, action, after, env):
    return 1.0 / 0.0

def nothing(before, action, after, env):
    return float("nan")

def word(before, action, after, env):
    return "much"

number = 3
"""


@pytest.fixture
def rewards(tmp_path: Path) -> Path:
    (tmp_path / "rewards.py").write_text(REWARD)
    return tmp_path / "rewards.py"


@pytest.fixture(scope="module")
def played() -> list[Episode]:
    return list(play(HOPPER, PolicySpec(), range(3)))


def assert_weighted(made: list[Episode], played: list[Episode]) -> None:
    """The function saw what was recorded before and after each action."""
    for ours, theirs in zip(made, played, strict=True):
        physics = theirs.physics
        assert physics is not None
        given = np.concatenate([physics[:-1], theirs.action[1:], physics[1:], physics[1:]], axis=1)
        np.testing.assert_allclose(ours.reward[1:], given @ np.linspace(1.0, 2.0, given.shape[1]), rtol=1e-5, atol=1e-4)
        for key in {"action", "physics", "state", "is_terminal"} & set(ours.columns()):
            np.testing.assert_allclose(ours.columns()[key], theirs.columns()[key], atol=1e-6)


def test_a_function_pays_by_what_was_before_and_after(rewards: Path, played: list[Episode]) -> None:
    made = list(relabel(iter(played), HOPPER, f"{rewards}:weighted"))
    assert_weighted(made, played)
    again = list(relabel(iter(played), HOPPER, f"{rewards}:weighted", processes=2))
    assert_same(again, made)
    own = list(relabel(iter(played), HOPPER))
    assert not any(np.allclose(ours.reward, theirs.reward) for ours, theirs in zip(made, own, strict=True))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("failing", "the reward function failed: ZeroDivisionError"),
        ("nothing", "the reward function returned nan; it is to return finite numbers"),
        ("word", "the reward function failed: ValueError: could not convert string to float"),
        ("number", r"rewards.py has no function 'number'"),
        ("missing", r"rewards.py has no function 'missing'"),
    ],
)
def test_a_function_that_pays_nothing_is_told(name: str, reason: str, rewards: Path, played: list[Episode]) -> None:
    with pytest.raises(UserError, match=reason) as error:
        list(relabel(iter(played[:1]), HOPPER, f"{rewards}:{name}"))
    assert "\n" not in str(error.value)


def test_a_file_without_a_reward_is_told_before_any_work(
    tmp_path: Path, rewards: Path, monkeypatch: pytest.MonkeyPatch, played: list[Episode]
) -> None:
    for spec in ("rewards.py", f"{tmp_path}/none.py:weighted", str(rewards), f"{tmp_path}:weighted"):
        with pytest.raises(UserError, match="give an existing FILE.py:FUNCTION"):
            load_function("--reward", spec)
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(UserError, match="is no file of Python"):
        load_function("--reward", f"{tmp_path / 'notes.txt'}:weighted")
    (tmp_path / "broken.py").write_text("import missing_library")
    with pytest.raises(UserError, match=r"broken.py cannot be imported: ModuleNotFoundError"):
        load_function("--reward", f"{tmp_path / 'broken.py'}:weighted")
    write_d4rl(tmp_path / "hopper.hdf5", played, HOPPER, {"task": "hopper"})
    command = ["relabel", str(tmp_path / "hopper.hdf5"), str(tmp_path / "out"), "--task", "hopper", "--reward"]
    monkeypatch.setattr(sys, "argv", [*command, f"{rewards}:missing"])
    with monkeypatch.context() as patched, pytest.raises(UserError, match="has no function 'missing'"):
        patched.setattr(relabel_command, "open_source", lambda *given: pytest.fail("read the recording"))
        relabel_command.main()
    monkeypatch.setattr(sys, "argv", [*command, f"{rewards}:weighted", "--processes", "1"])
    relabel_command.main()
    written = Dataset(tmp_path / "out")
    assert (written.manifest.reward, written.manifest.split) == (f"{rewards}:weighted", "relabelled")
    assert_weighted(list(written), played)
