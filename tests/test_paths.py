"""Paths that a user gives: home folders, names that are no text, and machines without a home."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import latent_combo
from combo_common.errors import UserError
from combo_common.paths import given_path, path_text
from data.locate import default_data_dir
from data.reference import resolve
from latent_combo.config.command_line import parse, settings_files
from latent_combo.config.schema import PATHS

ROOT = Path(__file__).parents[1]
NO_TEXT = os.fsdecode(b"caf\xe9")
COMMANDS = {
    "latent_combo.evaluate": ["RUN", "--video", "x.mp4"],
    "latent_combo.visualise": ["RUN"],
    "latent_combo.report": ["RUN", "--out", "x.html"],
    "latent_combo.export": ["RUN", "x.safetensors"],
    "data.collect": ["walker-walk", "random", "OUT", "--behaviour", "x"],
    "data.render": ["SRC", "OUT", "--data-dir", "x"],
    "data.convert": ["SRC", "OUT", "--to", "own", "--data-dir", "x"],
    "data.inspect": ["SRC", "--pictures", "x", "--data-dir", "x"],
    "data.relabel": ["SRC", "OUT", "--task", "hopper", "--reward", "x.py:paid", "--data-dir", "x"],
}
"""Command lines with all options that are paths."""
PLAIN = ("walker-walk", "random", "own", "hopper")
"""Words of these that are none."""


class _Parsed(Exception):
    pass


def _parsed(monkeypatch: pytest.MonkeyPatch, module: str, arguments: list[str]) -> argparse.Namespace:
    """What a command's parser makes of its arguments; the command then stops."""
    found: list[argparse.Namespace] = []
    original: Callable[..., argparse.Namespace] = argparse.ArgumentParser.parse_args

    def parse_args(self: argparse.ArgumentParser, *given: object) -> argparse.Namespace:
        found.append(original(self, arguments))
        raise _Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    with pytest.raises(_Parsed):
        __import__(module, fromlist=["main"]).main()
    monkeypatch.undo()
    return found[0]


@pytest.mark.parametrize("module", COMMANDS)
def test_a_tilde_is_the_home_folder_in_every_option_that_is_a_path(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word if word.startswith("--") or word in PLAIN else f"~/{word}" for word in COMMANDS[module]]
    monkeypatch.setenv("HOME", "/somewhere")
    found = {key: str(value) for key, value in vars(_parsed(monkeypatch, module, words)).items()}
    expected = [f"/somewhere/{word[2:]}" for word in words if word.startswith("~/")]
    sources = {"source", "dataset"} & set(found)  # names or paths, which `resolve` expands
    assert sorted(found[key].replace("~", "/somewhere") if key in sources else found[key] for key in found
                  if "/somewhere" in found[key] or key in sources) == sorted(expected)  # fmt: skip


def test_no_option_is_a_path_that_is_taken_as_it_is() -> None:
    sources = [*ROOT.glob("data/*.py"), *ROOT.glob("latent_combo/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]
    assert not [path for path in sources if "type=Path" in path.read_text()]


@pytest.mark.parametrize("option", ["--{}=~/x", "--{} ~/x"])
@pytest.mark.parametrize("name", PATHS)
def test_a_tilde_on_trains_command_line(name: str, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    if name == "world_model":
        with pytest.raises(UserError, match="^/somewhere/x is not there"):
            parse(option.format(name).split(" "))
        return
    config, _ = parse([*option.format(name).split(" "), "--task", "cartpole-balance"])
    assert getattr(config, name) == "/somewhere/x"


def test_a_tilde_in_a_file_of_settings_and_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("out: ~/runs/a\ndata_dir: ~/data\nseed: 7\n")
    config, _ = parse(["--config=~/mine.yaml"])
    assert (config.out, config.data_folder, config.seed) == (f"{tmp_path}/runs/a", tmp_path / "data", 7)
    assert settings_files(["--config=~/mine.yaml"])[-1] == tmp_path / "mine.yaml"
    assert latent_combo.make_config(out="~/x").out == latent_combo.make_config(out=Path("~/x")).out == f"{tmp_path}/x"
    with pytest.raises(UserError, match=f"^{tmp_path}/run is not a folder"):
        parse(["--resume=~/run"])
    with pytest.raises(UserError, match=f"^{tmp_path}/run is not a folder"):
        latent_combo.load_run("~/run")


def test_a_home_folder_that_nobody_knows_is_said() -> None:
    with pytest.raises(UserError, match="^~nobody-of-this-name/x begins with a home folder that is not known here"):
        given_path("~nobody-of-this-name/x")
    assert path_text("a~b") == "a~b"


@pytest.mark.parametrize("name", ["out", "dataset", "data-dir", "config", "world-model", "resume", "task"])
def test_train_refuses_names_that_are_no_text(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"caf\\xe9 has bytes that are not UTF-8.*another path"):
        parse([f"--{name}", f"{tmp_path}/{NO_TEXT}"])


@pytest.mark.parametrize("name", PATHS)
def test_files_and_python_refuse_names_that_are_no_text(name: str, tmp_path: Path) -> None:
    told = latent_combo.make_config  # which is all of the layers
    with pytest.raises(UserError, match="not UTF-8"):
        told(**{name: NO_TEXT})
    (tmp_path / "mine.yaml").write_text(f'{name}: "caf\\udce9"\n')
    with pytest.raises(UserError, match="not UTF-8|invalid Unicode"):
        told(config=tmp_path / "mine.yaml")


@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_refuses_names_that_are_no_text(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for word in (word for word in COMMANDS[module] if not word.startswith("--") and word not in PLAIN):
        words = [NO_TEXT if one == word else one for one in COMMANDS[module]]
        monkeypatch.setattr(sys, "argv", [module, *words])
        with pytest.raises(UserError, match="not UTF-8"):
            __import__(module, fromlist=["main"]).main()


def test_datasets_and_the_data_folder_of_the_environment_are_held_against_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="not UTF-8"):
        resolve(NO_TEXT, None, tmp_path)
    monkeypatch.setenv("LATENT_COMBO_DATA", NO_TEXT)
    with pytest.raises(UserError, match="not UTF-8"):
        default_data_dir()


HOMELESS = """
import os, pwd, runpy, sys
os.environ.pop("HOME", None)
os.environ.pop("LATENT_COMBO_DATA", None)
def nobody(uid): raise KeyError(uid)
pwd.getpwuid = nobody
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


def _homeless(module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    code = HOMELESS.format(module=module)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.mark.parametrize("module", ["latent_combo.train", "data.render"])
def test_help_needs_no_home(module: str) -> None:
    done = _homeless(module, "--help")
    assert done.returncode == 0 and "usage" in done.stdout.lower(), done.stderr


@pytest.mark.parametrize(
    ("module", "arguments"),
    [("latent_combo.train", ("--out", "{out}")), ("data.inspect", ("walker-walk-mini",))],
)
def test_without_a_home_what_needs_a_data_folder_says_how_to_name_one(
    module: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = _homeless(module, *(word.format(out=tmp_path / "run") for word in arguments))
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "LATENT_COMBO_DATA" in last and "--data-dir" in last
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()


def test_without_a_home_a_named_data_folder_will_do(tmp_path: Path) -> None:
    done = _homeless("data.inspect", "cartpole-balance-mini", "--data-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert resolve("hopper-medium-v2", None, tmp_path).path is None
