"""Readers are given files and arrays that are whole, and hold odd values: they read them, or refuse them in one line.

`LATENT_COMBO_FUZZ=20 pytest tests/test_fuzz_values.py` tries twenty times as many of the random ones, each of
which `odd_columns(case)` makes again.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_files import HOPPER, hopper_columns, own_folder
from numpy.typing import NDArray

import latent_combo
from combo_common.errors import UserError
from data.actions import bounded_actions
from data.episode import validate
from data.formats.manifest import MANIFEST_NAME, Manifest
from data.inspect import main as inspect
from data.load import load_states
from data.notes import Notes
from data.reference import resolve
from data.rules import admitted
from data.vd4rl_folders import published_folder, vd4rl_folders
from envs.task import Task
from latent_combo.config.command_line import parse, require_dataset

TIMES = float(os.environ.get("LATENT_COMBO_FUZZ", 1))
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, -(2**63), 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *(
        "",
        "\n",
        "\0",
        "../up",
        "a/b",
        "dmc:",
        "gymnasium:evil:Env-v0",
        "evil:task",
        "gymnasium:../x",
        "é" * 300,
        "\ud800",
    ),
    *([], [0], {}, {"": None}, {"a": {"b": [float("nan")]}}),
)
"""What JSON may hold where something else is meant."""


Read = Callable[[], object]


def read_or_refused(what: str, *reads: Read) -> list[bool]:
    """Whether each reads: what it refuses it refuses in one printable line."""
    told = []
    for read in reads:
        try:
            read()
        except UserError as error:
            assert str(error).isprintable() and len(str(error)) < 3000, f"{what}: {error!r}"
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
        else:
            told.append(True)
            continue
        told.append(False)
    return told


def inspected(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Call data.inspect, whose lines are printable."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["data.inspect", str(folder)])
        inspect()
    for line in capsys.readouterr().out.splitlines():
        assert line.isprintable(), repr(line)


@pytest.mark.parametrize("key", [field.name for field in fields(Manifest)])
def test_a_manifest_of_odd_values(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = own_folder(tmp_path / "own", 2)
    content = json.loads((folder / MANIFEST_NAME).read_text())
    for odd in ODD:
        (folder / MANIFEST_NAME).write_text(json.dumps({**content, key: odd}))
        what = f"{key} is {odd!r:.60}"

        def told() -> None:
            reference = resolve(str(folder), None, tmp_path)
            for text in (reference.task, reference.split):
                assert text is None or text.isprintable()
            reference.open().about()

        loaded = partial(load_states, str(folder), HOPPER, tmp_path, progress=False)
        about = partial(inspected, folder, capsys)
        read = read_or_refused(what, told, loaded, about)
        if key in ("random_return", "expert_return") and odd is None:
            assert all(read), what  # nobody measured them


def odd_columns(case: int) -> dict[str, Any]:
    """Columns of D4RL's kind of which one or two are odd: the same for the same case."""
    rng = np.random.default_rng(case)
    given = {key: column for key, column in hopper_columns().items() if "infos" not in key}
    for key in rng.choice(list(given), rng.integers(1, 3), replace=False):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            given[key] = _odd(given[key], rng)
    return given


def _odd(column: NDArray[Any], rng: np.random.Generator) -> Any:
    """Something that is not quite the column."""
    place = int(rng.integers(len(column)))
    altered: list[Callable[[], Any]] = [
        *(partial(column.__getitem__, slice(size)) for size in (0, 1, place)),
        *(partial(column.astype, kind) for kind in ("f2", "f8", "i1", "u1", "c8", "O", "U8", "M8[s]")),
        *(partial(_with, column, place, value) for value in (np.nan, np.inf, 1e38, -1e300, -1.0000001, 0)),
        *(lambda: column[None], lambda: column[..., None], lambda: column.T, lambda: column.ravel()),
        *(lambda: np.zeros_like(column), lambda: np.ones_like(column), lambda: column[::-1], lambda: column[0]),
        *(lambda: None, lambda: "", lambda: [[1], [2, 3]], lambda: column.tolist(), lambda: 1e300 * column),
    ]
    return altered[rng.integers(len(altered))]()


def _with(column: NDArray[Any], place: int, value: float) -> NDArray[Any]:
    altered = column.astype(np.float64)
    altered[place] = value
    return altered


def cut_into_episodes(given: dict[str, Any], task: str | None) -> None:
    """Cut columns into episodes, which are valid, and have them admitted as those of a file are."""
    columns = (given[key] for key in ("observations", "actions", "rewards", "terminals", "timeouts"))
    episodes = latent_combo.episodes_from_arrays(*columns, given["next_observations"], task=task)
    notes = Notes()
    for name, episode in admitted(((str(n), e) for n, e in enumerate(episodes)), HOPPER, notes):
        validate(episode, name)
    assert all(line.isprintable() for line in notes.lines())


def one_episode(given: dict[str, Any], longer: bool) -> None:
    """Make one episode of them, with an observation more or as it is, which is valid."""
    seen = given["observations"]
    if longer and isinstance(seen, np.ndarray) and seen.ndim:
        seen = np.concatenate([seen, seen[:1]])
    validate(latent_combo.make_episode(seen, given["actions"], given["rewards"], task="hopper"), "what was made")


@pytest.mark.filterwarnings("error")
def test_arrays_of_odd_columns(capsys: pytest.CaptureFixture[str]) -> None:
    read = np.zeros(2, int)
    cases = int(1500 * TIMES)
    for case in range(cases):
        given, task = odd_columns(case), (None, "hopper", "gymnasium:Pendulum-v1")[case % 3]
        whole, single = partial(cut_into_episodes, given, task), partial(one_episode, given, bool(case % 7))
        read += read_or_refused(f"case {case}", whole, single)
        assert all(line.isprintable() for line in capsys.readouterr().err.splitlines())
    assert (read > 0).all() and (read < cases).all()


TEXTS = [odd for odd in ODD if isinstance(odd, str)]
ODD_NAMES = ("place", "PLACE 0", " ", ",", "[", "place 0, place 1", "[place", "place]", "{a: 1}", "null", "~")
ODD_FOLDERS = ("cheetah-run-medium", "cheetah_run/medium/64px", "CHEETAH_RUN/medium", "cheetah_run/../x", "-", "/")


def test_names_of_vectors() -> None:
    names = ("place 0", "place 1", "\n", "velocity", "é")
    task = replace(HOPPER, state_dim=5, state_names=names, physics_names=(), termination="none")
    for odd in (*TEXTS, *ODD_NAMES):
        read_or_refused(f"vectors is {odd!r}", partial(task.vector_indices, (odd,)))
        (told,) = read_or_refused(f"{odd!r}", lambda odd=odd: require_dataset(parse([f"--vectors={odd}"])[0]))
        assert not told or odd.strip() in ("", "null", "~"), odd  # which name none of the cart's


def test_published_folders_that_are_none(tmp_path: Path) -> None:
    for odd in (*TEXTS, *ODD_FOLDERS):
        for name in (odd, f"cheetah_run/{odd}", f"{odd}-64px"):
            assert published_folder(name) is None or name.startswith("cheetah")
            read_or_refused(f"{name!r}", lambda name=name: resolve(name, None, tmp_path).open())
    folder = tmp_path / "cheetah_run" / "medium" / "64px"
    folder.parent.mkdir(parents=True)
    makes: tuple[Callable[[], object], ...] = (
        *(folder.mkdir, lambda: folder.write_bytes(b"PK"), lambda: folder.symlink_to(folder)),
        *(lambda: folder.symlink_to(tmp_path / "gone"), lambda: folder.symlink_to(tmp_path)),
    )
    for make in makes:
        make()
        (told,) = read_or_refused("a folder", lambda: resolve("cheetah-run-medium", None, tmp_path).open().episodes())
        assert not told and set(vd4rl_folders(tmp_path)) <= {"cheetah-run-medium-64px", "cheetah-run-medium"}
        folder.rmdir() if folder.is_dir() and not folder.is_symlink() else folder.unlink()


def test_actions_of_odd_bounds() -> None:
    rng = np.random.default_rng(0)
    values = (0.0, 1.0, -1.0, 1e-300, 1e300, 3.4e38, -3.4e38, np.nan, np.inf, 1.0 + 1e-6, 2.0)
    for case in range(int(2000 * TIMES)):
        low = rng.choice([-1e30, -2.0, -1.0, 0.0, 1e-9], 3)
        high = low + rng.choice([1e-9, 0.5, 2.0, 1e30], 3)
        if not (low < high).all():
            continue
        task = replace(HOPPER, action_low=tuple(low.tolist()), action_high=tuple(high.tolist()))
        with np.errstate(over="ignore"):
            action = rng.choice(values, (4, 3)).astype(rng.choice(["f4", "f8"]))

        def scaled(action: NDArray[Any] = action, task: Task = task) -> None:
            found = bounded_actions("the case", "actions", action, task, Notes())
            assert found.dtype == np.float32 and not (np.abs(found) > 1.0)[np.isfinite(found)].any()

        read_or_refused(f"case {case}", scaled)
