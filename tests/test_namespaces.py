"""Gymnasium's ids with a namespace, as names of tasks: made, recorded, their folders, and read back."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from toy_gymnasium import SPACED, register_spaced

from combo_common.errors import UserError
from data import collect
from data.formats.manifest import read_manifest
from data.load import load_states
from envs import registry
from envs.registry import find_task, get_task, is_name, names_module
from envs.task import Task
from latent_combo.config.command_line import parse

NAME = f"gymnasium:{SPACED}"
MODULE = """
from toy_gymnasium import register_spaced

register_spaced()
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers, in either registry, is gone after it; it works in a folder of its own."""
    monkeypatch.setattr(registry, "_adapted", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "spaced_envs", raising=False)
    known = set(gymnasium.registry)
    yield
    for name in set(gymnasium.registry) - known:
        del gymnasium.registry[name]


def run(*arguments: object) -> None:
    """Call data.collect by its command line."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["data.collect", *map(str, arguments)])
        collect.main()


def test_a_namespace_is_part_of_the_name_and_of_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_spaced()
    task = get_task(f"{NAME},action_repeat=2")
    assert (task.name, task.environment, task.horizon) == (f"{NAME},action_repeat=2", SPACED, 10)
    assert is_name(task.name) and not names_module(task.name)
    trained: list[Path] = []

    def train(learner: Task, folder: Path, steps: int, seed: int) -> None:
        trained.append(folder)
        raise UserError("trained")

    monkeypatch.setattr(collect, "train_behaviour", train)
    with pytest.raises(UserError, match="trained"):
        run(NAME, "expert", tmp_path / "data" / "set", "--steps", 10)
    assert trained == [tmp_path / "data" / "gymnasium:toy_ns-Point-v0-behaviour-seed0"]


def test_a_recording_of_it_says_so_and_is_read(tmp_path: Path) -> None:
    register_spaced()
    run(NAME, "random", tmp_path / "set", "--episodes", 3, "--processes", 1)
    manifest = read_manifest(tmp_path / "set")
    assert (manifest.task, manifest.image_size) == (NAME, 64)  # a class of wrappers does not say that it draws
    config = parse(["--obs", "state", "--dataset", str(tmp_path / "set"), "--out", str(tmp_path / "run")])[0]
    assert config.task == NAME
    states = load_states(str(tmp_path / "set"), get_task(NAME), tmp_path, progress=False)
    assert states.observation.shape[1] == 4 and np.abs(states.action).max() <= 1.0


def test_the_module_that_registers_it_is_imported_for_a_user_and_never_for_data(tmp_path: Path) -> None:
    (tmp_path / "spaced_envs.py").write_text(MODULE)
    named = f"gymnasium:spaced_envs:{SPACED}"
    assert find_task(named) is None and not is_name(named) and names_module(named)
    assert "spaced_envs" not in sys.modules
    task = get_task(named)
    assert (task.name, task.environment) == (named, SPACED)  # that which Minari's sets of it name
    assert find_task(named) is task  # a user has named it here
    run(named, "random", tmp_path / "set", "--episodes", 3, "--processes", 2)  # others import it, too
    words = ["--obs", "state", "--dataset", "set", "--out", "run"]
    assert parse([*words, "--task", named])[0].task == named
    registry._adapted.clear()
    with pytest.raises(UserError, match=f"set is of the task '{named}', which is not known here"):
        parse(words)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gymnasium:toy_ns/Buttons-v0", r"^gymnasium:toy_ns/Buttons-v0 has actions Discrete\(4\); only continuous"),
        ("gymnasium:toy_ns/Pont-v0", "cannot be made: Environment `Pont` doesn't exist in namespace toy_ns"),
        ("gymnasium:no_ns/Point-v0", "Namespace no_ns not found.*name the module.*gymnasium:my_module:no_ns/Point-v0"),
        ("gymnasium:no_module:no_ns/Point-v0", "there is no module no_module in "),
        ("gymnasium:../up-v0", "cannot be made"),
        ("gymnasium:/root", "cannot be made"),
        ("dmc:some:cheetah-run", "no task 'some:cheetah-run'"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_line(name: str, said: str) -> None:
    register_spaced()
    with pytest.raises(UserError, match=said) as refused:
        get_task(name)
    assert "\n" not in str(refused.value)


def test_a_module_that_fails_is_named_above_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "spaced_envs.py").write_text("1 / 0\n")
    with pytest.raises(UserError, match="^the task gymnasium:spaced_envs:Point-v0 cannot be imported: ZeroDivisionErr"):
        get_task("gymnasium:spaced_envs:Point-v0")


def test_a_plain_name_has_no_slash() -> None:
    task = registry.BUILTIN["walker-walk"]
    for wrong in ("a/b", "/a:b", "../a", "a/b:c"):
        with pytest.raises(ValueError, match="has no slash but after a colon"):
            replace(task, name=wrong)
    assert replace(task, name="a:../../b").file_name == "a:..-..-b"
