import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from toy_gymnasium import Point, Vectors

from combo_common.errors import UserError
from data.formats.manifest import describe
from data.formats.native import Dataset, write_dataset
from data.reference import resolve
from data.simulate.rendering import RenderWorkerMaker, observe_episodes, render_dataset, render_episodes
from data.simulate.rollout import PolicySpec, played_episodes
from envs import registry
from envs.adapters.gymnasium import gymnasium_task
from envs.builtin import BUILTIN
from envs.make import make
from envs.registry import get_task, known_names, register
from envs.task import Task


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(registry, "_installed", None)


def test_a_registered_task_is_found_made_and_told_by_the_names_of_its_datasets(tmp_path: Path) -> None:
    task = register(gymnasium_task("point", Vectors, horizon=30))
    assert get_task("point") is task and "point" in known_names()
    assert make("point").reset(seed=0)[0].shape == (4,)
    assert resolve("point-medium-replay", None, tmp_path).task == "point"


def test_the_same_task_may_be_registered_again_and_another_of_its_name_may_not() -> None:
    register(gymnasium_task("point", Vectors, horizon=30))
    register(gymnasium_task("point", Vectors, horizon=30))
    with pytest.raises(ValueError, match="another task point already"):
        register(gymnasium_task("point", Vectors, horizon=31))
    with pytest.raises(ValueError, match="another task walker-walk"):
        register(replace(BUILTIN["hopper"], name="walker-walk"))
    with pytest.raises(ValueError, match="the adapter makes"):
        register(replace(BUILTIN["hopper"], name="dmc:hopper-hop"))


def test_references_that_nobody_measured_are_unknown_and_so_is_the_score() -> None:
    task = gymnasium_task("point", Vectors, horizon=30)
    assert task.random_return is None and task.expert_return is None
    assert task.normalised_score(12.0) is None
    measured = replace(task, random_return=2.0, expert_return=22.0)
    assert measured.normalised_score(12.0) == 50.0


PACKAGE = """
from envs.adapters.gymnasium import gymnasium_task
from toy_gymnasium import Vectors

def point():
    return gymnasium_task("their-point", Vectors, horizon=30)
"""


def _package(folder: Path, text: str = PACKAGE) -> None:
    """A package with an entry point, as pip lays it down."""
    (folder / "their_tasks.py").write_text(text)
    told = folder / "their_tasks-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: their-tasks\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[latent_combo.tasks]\ntheir-point = their_tasks:point\n")


def test_an_installed_package_adds_a_task_by_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "their-point" in known_names()
    assert get_task("their-point").horizon == 30


def test_a_module_of_the_working_folder_gives_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_tasks.py").write_text(PACKAGE)
    monkeypatch.chdir(tmp_path)
    assert get_task("own_tasks:point").name == "their-point"
    assert get_task("their-point").name == "their-point"  # known from then on, as its datasets say


def test_a_module_that_fails_is_named_in_one_line_above_its_own_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_tasks.py").write_text("def point():\n    return 1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        get_task("broken_tasks:point")
    first, *below = str(raised.value).splitlines()
    assert first == "the task broken_tasks:point cannot be imported: ZeroDivisionError: division by zero"
    assert any("return 1 / 0" in line for line in below)
    (tmp_path / "needy_tasks.py").write_text("import no_such_module\n")
    with pytest.raises(
        UserError, match=r"^the task needy_tasks:point cannot be imported: ModuleNotFoundError"
    ) as raised:
        get_task("needy_tasks:point")
    assert "import no_such_module" in str(raised.value)


def test_a_module_or_a_name_in_it_that_is_not_there_is_one_line_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "few_tasks.py").write_text(PACKAGE)
    monkeypatch.chdir(tmp_path)
    for name, said in (
        ("no_such_module:task", f"there is no module no_such_module in {tmp_path} or installed; .*PYTHONPATH$"),
        ("few_tasks.deeper:task", "there is no module few_tasks.deeper in "),
        ("few_tasks:pont", r"^the module few_tasks \(.*few_tasks.py\) has no pont; did you mean few_tasks:point\?$"),
    ):
        with pytest.raises(UserError, match=said) as raised:
            get_task(name)
        assert "\n" not in str(raised.value)


def test_a_task_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd_tasks.py").write_text("point = lambda: 3\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="the task odd_tasks:point is int"):
        get_task("odd_tasks:point")


def test_data_cannot_have_a_module_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)
    assert registry.find_task("evil:task") is None
    assert registry.find_task("gymnasium:evil:Env-v0") is None
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cheetah-rn", "unknown task 'cheetah-rn'; known tasks like it: cheetah-run"),
        ("gymnasium:Pendulum-v1,horizon", "its option 'horizon' is to be key=value"),
        ("gymnasium:Pendulum-v1,horizn=3", "has no option horizn; .*did you mean horizon"),
        ("gymnasium:Pendulum-v1,horizon=-3", "horizon is '-3'; it is a whole number of 1 or more"),
        ("gymnasium:CartPole-v1", r"actions Discrete\(2\); only continuous"),
        ("gymnasium:Nope-v0", "gymnasium:Nope-v0 cannot be made: Environment `Nope` doesn't exist"),
        ("dmc:cheeta-run", "no task 'cheeta-run'; did you mean dmc:cheetah-run"),
    ],
)
def test_a_name_that_makes_no_task_is_answered_in_one_line(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        get_task(name)
    assert "\n" not in str(raised.value)


def test_options_in_any_order_name_the_same_task() -> None:
    one = get_task("gymnasium:Pendulum-v1,image_size=32,action_repeat=2")
    assert one is get_task("gymnasium:Pendulum-v1,action_repeat=2,image_size=32")
    assert (one.name, one.horizon, one.image_size) == ("gymnasium:Pendulum-v1,action_repeat=2,image_size=32", 100, 32)


def test_the_registry_takes_no_simulator_to_be_read() -> None:
    heavy = "('mujoco', 'gymnasium', 'torch')"
    code = (
        "import sys; from envs.registry import get_task; get_task('walker-walk'); "
        f"print([module for module in {heavy} if module in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


WRONG: tuple[dict[str, Any], ...] = (
    *({"horizon": 0}, {"action_dim": 0}, {"state_dim": -1}, {"name": "a/b"}, {"name": ""}),
    *({"action_low": (0.0,)}, {"state_names": ("a",)}),
)


def test_a_task_of_impossible_sizes_is_refused() -> None:
    good = Task("point", "toy_gymnasium:Point", 30, 2, 4)
    assert good.state_names == ("state 0", "state 1", "state 2", "state 3") and good.physics_dim == 0
    for wrong in WRONG:
        with pytest.raises(ValueError, match="point|name"):
            replace(good, **wrong)
    assert Point().action_space.shape == (2,)


def _recorded(folder: Path, task: Task, name: str) -> Dataset:
    """A recording of two uniform episodes of a task, which says that it is of another name."""
    episodes = (replace(episode, state=None) for episode in played_episodes(task, PolicySpec(), 2, seed=0))
    write_dataset(folder, episodes, replace(describe(task, "random", 0, {}), task=name), progress=False)
    return Dataset(folder)


@pytest.mark.parametrize("command", ["inspect", "render", "convert", "observe", "load"])
def test_no_command_imports_the_module_that_a_dataset_says_is_its_task(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)
    recorded = _recorded(tmp_path / "set", pole(), "evil:task")
    opened: dict[str, Callable[[], Any]] = {
        "inspect": lambda: resolve("set", None, tmp_path).open().about(),
        "render": lambda: render_dataset(tmp_path / "set", tmp_path / "out", 16, "fast", progress=False),
        "convert": lambda: resolve("set", None, tmp_path).open(),
        "observe": lambda: list(observe_episodes(recorded, iter(recorded))),
        "load": lambda: next(render_episodes(recorded, 16, "fast", progress=False)),
    }
    with pytest.raises(UserError, match=r"set is of the task 'evil:task', which is not known here; name its module"):
        opened[command]()
    assert "evil" not in sys.modules


def pole() -> Task:
    return gymnasium_task("my-pole", partial(gymnasium.make, "InvertedPendulum-v5"), horizon=10)


def test_a_recording_of_ones_own_task_is_drawn_in_processes_that_do_not_know_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = register(pole())
    recorded = _recorded(tmp_path / "set", task, task.name)
    told = pickle.dumps(RenderWorkerMaker(recorded, task, 16, "fast"))
    monkeypatch.setattr(registry, "_registered", {})  # as in a process of its own
    worker = pickle.loads(told)()  # noqa: S301  # our own
    drawn = worker(next(iter(recorded.manifest.files)))
    worker.close()
    assert drawn.image.shape == (drawn.length + 1, 16, 16, 3)


def test_a_module_whose_task_has_the_name_of_another_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "same_tasks.py").write_text(PACKAGE.replace("their-point", "hopper"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match="^the task same_tasks:point cannot be registered: there is another task hopper"
    ):
        get_task("same_tasks:point")


def test_names_that_no_task_can_have_are_refused_in_a_line() -> None:
    with pytest.raises(UserError, match="horizon is '\u00b2'; it is a whole number of 1 or more"):
        get_task("gymnasium:Pendulum-v1,horizon=\u00b2")
