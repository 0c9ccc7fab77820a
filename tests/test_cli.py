"""The console script, what its commands have in common, and folders that hold other people's packages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from combo_common.cli import Parser
from combo_common.commands import command, program
from combo_common.errors import UserError
from latent_combo.cli import COMMANDS, run
from latent_combo.config.command_line import parse, require_dataset

ROOT = Path(__file__).parent.parent
SLOW_TO_IMPORT = {"torch", "numpy", "jsonargparse", "h5py", "mujoco"}
SLOWEST_TO_IMPORT = {"torch", "mujoco", "matplotlib", "imageio", "tensorboard", "jinja2"}
"""Seconds of a run's imports, which `train` does without until a run is to start."""


def python(*arguments: str, cwd: Path, path: Path | str = ROOT) -> "subprocess.CompletedProcess[str]":
    """Run Python in a folder, which it looks through for packages before those of `path`."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.fixture
def called_as_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/latent-combo"])


def test_help_lists_every_command_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for name, of in COMMANDS.items():
        assert any(line.split() == [*name.split(), *of.line.split()] for line in lines), name
        assert (ROOT / of.module.replace(".", "/")).with_suffix(".py").is_file()
    run(["data"])
    only = capsys.readouterr().out
    assert "data relabel" in only and "evaluate" not in only
    run([])
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["trian"], "train"),
        (["data", "inspec"], "data inspect"),
        (["inspct"], "data inspect"),
        (["visualize"], "visualise"),
    ],
)
def test_a_typo_is_answered_with_what_was_perhaps_meant(given: list[str], meant: str) -> None:
    with pytest.raises(UserError, match=f"there is no command '{' '.join(given)}'; did you mean {meant}\\?") as error:
        run(given)
    assert "\n" not in str(error.value)


LIGHT = """
import json, sys
from combo_common.errors import UserError
from latent_combo.cli import run
for arguments in json.loads(sys.argv[1]):
    try:
        run(arguments)
    except (SystemExit, UserError) as end:
        print(type(end).__name__, end, file=sys.stderr)
print(json.dumps(sorted(sys.modules)))
"""


def test_help_typos_and_versions_import_nothing_that_takes_long(tmp_path: Path) -> None:
    reading = ["evaluate", "visualise", "report", "export"]
    asked = [["--help"], ["trian"], ["--version"], ["train", "--version"], *([name, "--help"] for name in reading)]
    done = python("-c", LIGHT, json.dumps([*asked, ["evaluate", "run", "--episods", "3"]]), cwd=tmp_path)
    assert "did you mean --episodes?" in done.stderr and "Traceback" not in done.stderr
    assert not SLOW_TO_IMPORT & set(json.loads(done.stdout.splitlines()[-1]))


def test_train_answers_before_torch_is_imported(tmp_path: Path) -> None:
    """Help, and what is wrong of names, values, tasks and datasets; a runner of the command would say `begun`."""
    run = tmp_path / "run"
    wrong = [
        (["--sed", "3"], "did you mean seed?"),
        (["--task", "hoper"], "hopper"),
        (["--dataset", "hoper-mini", "--obs", "state"], "did you mean hopper-mini?"),
        (["--obs", "state", "--task", "halfcheetah"], "which is of hopper"),
        (["--algorithm", "comobo"], "did you mean combo?"),
        (["--algorithm", "cql", "--agent.real-ratio", "0.5"], "algorithm is cql"),
        (["--world-model-fit.batch", "-3"], "world_model_fit.batch is -3"),
        (["--agent", '{"bta": 1}'], "did you mean agent.beta?"),
        (["--world-model", str(run), "--sed", "3"], "did you mean seed?"),
        (["--resume", str(run)], "is not a folder"),
    ]
    asked = [["train", "--help"], ["train", "--print_config"], *(["train", *arguments] for arguments, _ in wrong)]
    done = python("-c", LIGHT, json.dumps(asked), cwd=tmp_path)
    assert "Traceback" not in done.stderr
    answers = [text for text in done.stderr.splitlines() if text.startswith(("UserError", "SystemExit"))]
    assert answers[:2] == ["SystemExit ", "SystemExit 0"] and len(answers) == len(asked)
    for (arguments, named), answer in zip(wrong, answers[2:], strict=True):
        assert named in answer, arguments
    assert not SLOWEST_TO_IMPORT & set(json.loads(done.stdout.splitlines()[-1]))


def test_what_is_wrong_of_a_command_that_reads_a_run_is_said_before_anything_slow_is_imported(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("seed: 1")
    (tmp_path / "there.safetensors").touch()
    wrong = [
        *((name, ["nowhere"], "nowhere is not a folder") for name in ("evaluate", "visualise", "report")),
        *((name, [str(tmp_path)], "is not a run") for name in ("evaluate", "visualise", "report")),
        ("evaluate", [str(run), "--episodes", "0"], "--episodes is 0"),
        ("evaluate", [str(run), "--seed", "-1"], "--seed is -1"),
        ("visualise", [str(run), "--seed", "-1"], "--seed is -1"),
        ("export", ["nowhere", "new.safetensors"], "nowhere is not a folder"),
        ("export", [str(run), "new.pt"], "does not end in .safetensors"),
        ("export", [str(run), "there.safetensors"], "is there already"),
    ]
    done = python("-c", LIGHT, json.dumps([[name, *rest] for name, rest, _ in wrong]), cwd=tmp_path)
    answers = [text for text in done.stderr.splitlines() if text.startswith("UserError")]
    for (name, rest, named), answer in zip(wrong, answers, strict=True):
        assert named in answer, (name, rest)
    assert not SLOW_TO_IMPORT & set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["train", "--sed", "3"], "error: there is no setting sed; did you mean seed?"),
        (["evaluate", "nowhere"], "error: nowhere is not a folder"),
        (["visualise", "--help"], "usage: python -m latent_combo.visualise"),
        (["report", "x", "--versio"], "did you mean --version?"),
        (["export", "--version"], "latent-combo "),
    ],
)
def test_python_m_answers_before_torch_is_imported_too(given: list[str], named: str, tmp_path: Path) -> None:
    done = python("-X", "importtime", "-m", f"latent_combo.{given[0]}", *given[1:], cwd=tmp_path)
    assert named in done.stdout + done.stderr and "Traceback" not in done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "combo_common.cli" in imported and not SLOWEST_TO_IMPORT & imported


def test_a_command_says_its_name_before_it_works(
    called_as_script: None, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["data", "inspect", "tiny", "--data_dir", str(data_dir), "--json"])
    said = capsys.readouterr()
    assert said.err.startswith("latent-combo ") and said.err.endswith(": data inspect\n")
    assert json.loads(said.out)["episodes"] == 3


@pytest.mark.parametrize("name", ["train", "report", "data convert", "doctor"])
def test_every_command_says_its_version(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run([*name.split(), "--version"])
    assert capsys.readouterr().out.startswith("latent-combo ")


def test_commands_to_copy_are_spelt_as_this_one_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("train", "data.collect", "envs.doctor")
    assert [program(name) for name in names] == [
        "python -m latent_combo.train",
        "python -m data.collect",
        "python -m envs.doctor",
    ]
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/latent-combo"])
    assert [program(name) for name in names] == [
        "latent-combo train",
        "latent-combo data collect",
        "latent-combo doctor",
    ]
    assert command("train", "--resume", "a run") == "latent-combo train --resume 'a run'"
    parser = Parser("data.inspect", "What is in it: `python -m data.inspect DATASET`.")
    assert "`latent-combo data inspect DATASET`" in parser.format_help()


def test_options_are_spelt_with_dashes_or_underscores_and_typos_are_named() -> None:
    parser = Parser("data.convert", None)
    parser.add_argument("--skip-corrupt", action="store_true")
    parser.add_argument("--to", choices=("dreamer", "minari"))
    parser.add_argument("--out", default="")
    given = parser.parse_args(["--skip_corrupt", "--out=a_b"])
    assert given.skip_corrupt and given.out == "a_b"
    for arguments, named in (
        (["--skip-corupt"], r"--skip-corupt; did you mean --skip-corrupt\? \(python -m data.convert --help lists"),
        (["--to", "dremer"], r"did you mean dreamer\?"),
        (["--skip"], "unrecognized arguments: --skip"),
    ):
        with pytest.raises(UserError, match=named) as error:
            parser.parse_args(arguments)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("module", ["latent_combo.train", "latent_combo.report", "latent_combo", "data.inspect"])
def test_another_package_in_the_working_folder_is_named_in_a_line(module: str, tmp_path: Path) -> None:
    (tmp_path / "envs.py").touch()
    (tmp_path / "data" / "decoded").mkdir(parents=True)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").touch()
    done = python("-m", module, "--help", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'envs.py'} hides the package envs of latent-combo; run the command as")


def test_in_python_the_projects_own_packages_are_taken_unless_others_are_imported(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").touch()
    (tmp_path / "envs.py").write_text("raise RuntimeError('this is not run')")
    script = "import latent_combo; print(latent_combo.make_config(seed=3).seed); import envs.registry, data.episode"
    done = python("-c", script, cwd=tmp_path)
    assert done.stdout == "3\n", done.stderr
    assert "`import envs` is latent-combo's from now on" in done.stderr and str(tmp_path / "envs.py") in done.stderr
    done = python("-c", "import data, latent_combo; latent_combo.make_config()", cwd=tmp_path)
    assert "ImportError: " in done.stderr and "hides the package data of latent-combo" in done.stderr
    (tmp_path / "combo_common.py").touch()
    done = python("-m", "latent_combo.report", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "combo_common.py hides the package combo_common" in done.stderr


EDITABLE = """
import importlib.machinery, importlib.util, sys
class Finder:  # as an editable install has it: after the folders of sys.path
    def find_spec(self, name, path=None, target=None):
        if name in ("combo_common", "latent_combo", "data", "envs"):
            folder = f"{root}/{name}"
            return importlib.util.spec_from_file_location(
                name, f"{folder}/__init__.py", submodule_search_locations=[folder]
            )
root = sys.argv.pop(1)
sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder) + 1, Finder())
from latent_combo.cli import run
import data, data.split
print(data.__file__)
"""


def test_a_mere_folder_named_data_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "data" / "decoded").mkdir(parents=True)
    done = python("-c", EDITABLE, str(ROOT), cwd=tmp_path, path="")
    assert done.stdout.strip() == str(ROOT / "data" / "__init__.py"), done.stderr


def test_the_doctor_looks_past_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from envs import doctor

    (tmp_path / "envs.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    asked: list[object] = []
    monkeypatch.setattr(
        subprocess, "run", lambda *_, **given: asked.append(given["cwd"]) or subprocess.CompletedProcess("", 1)
    )
    assert doctor.examine("egl") is None and asked == [ROOT]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--sed", "3"], "did you mean seed?"),
        (["--preset", "smal"], "did you mean small?"),
        (["--agent.beta", "much"], "agent.beta is much"),
        (["--resume", "run", "--seed", "1"], "--resume RUN stands alone"),
    ],
)
def test_what_is_wrong_of_train_is_said_before_the_rest_is_imported(
    arguments: list[str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"{name} is imported"))
    with pytest.raises(UserError) as error:
        run(["train", *arguments])
    assert named in str(error.value)
    with pytest.raises(SystemExit):
        run(["train", "--preset", "small", "--help"])


def test_an_unknown_dataset_is_named_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("hoper-mini", "HOPPER-MINI"):
        config = parse(["--dataset", name, "--obs", "state", "--data-dir", str(tmp_path)])[0]
        with pytest.raises(UserError, match=f"there is no dataset '{name}'.*did you mean hopper-mini?"):
            require_dataset(config)
    require_dataset(parse(["--obs", "state", "--data-dir", str(tmp_path)])[0])  # which comes with the program
    require_dataset(
        parse(["--obs", "state", "--dataset", "hopper-medium-v2", "--data-dir", str(tmp_path)])[0]
    )  # fetched
