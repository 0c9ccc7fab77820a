"""A comparison of toy runs from the command line to its tables: skipped, resumed, refused, run anew, failed."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from toy_grid import record, run_compare, trained_here

from combo_common.errors import UserError
from latent_combo.comparison import fingerprint, plan, rows
from latent_combo.comparison.job import LOG, RECORD
from latent_combo.evaluation.result import Result

NAME = "toy-pendulum"


class Grid:
    """Two algorithms and two seeds on one dataset."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"

    def compare(self, *more: object) -> list[list[str]]:
        """Run the command; returns the arguments of the runs that it began, or went on with."""
        data = ("--datasets", self.folder / f"{NAME}.hdf5", "--data-dir", self.folder)
        with trained_here() as started:
            run_compare(self.out, *data, "--algorithms", "cql,bc", "--seeds", 2, *more)
        return list(started)

    def run(self, algorithm: str, seed: int) -> Path:
        return self.out / NAME / algorithm / f"seed{seed}"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    grid = Grid(tmp_path_factory.mktemp("grid"))
    record(grid.folder, NAME)
    begun = grid.compare()
    assert [words[-3:-1] for words in begun] == [
        ["--algorithm=cql", "--seed=0"],
        ["--algorithm=bc", "--seed=0"],
        ["--algorithm=cql", "--seed=1"],
        ["--algorithm=bc", "--seed=1"],
    ]
    return grid


@pytest.fixture
def grid(trained: Grid, tmp_path: Path) -> Grid:
    """A copy of the finished comparison."""
    shutil.copytree(trained.folder, tmp_path / "copy")
    copy = Grid(tmp_path / "copy")
    for record_of in copy.out.glob(f"*/*/*/{RECORD}"):  # the dataset is at another place here
        known = json.loads(record_of.read_text())
        known["settings"]["dataset"] = str(copy.folder / f"{NAME}.hdf5")
        record_of.write_text(json.dumps(known))
    return copy


def test_every_run_is_independent_and_has_a_row_with_all_its_episodes(trained: Grid) -> None:
    with open(trained.out / "compare.csv") as file:
        table = list(csv.DictReader(file))
    assert [(row["algorithm"], row["seed"], row["status"]) for row in table] == [
        (algorithm, str(seed), "finished") for seed in (0, 1) for algorithm in ("cql", "bc")
    ]
    for row in table:
        run = Path(row["run"])
        result = Result.read(run)
        assert result is not None and (result.algorithm, str(result.seed)) == (row["algorithm"], row["seed"])
        said = [[float(value) for value in agent.split()] for agent in row["returns"].split(";")]
        assert said == [agent.returns for agent in result.agents] and [len(agent) for agent in said] == [2, 2]
        assert float(row["return_mean"]) == result.return_mean
        assert list((run / "checkpoints").glob("world_model-*")) and (run / LOG).is_file()
    losses = {  # of world models: seeds differ, and algorithms of a seed have the same one
        (a, s): (trained.run(a, s) / "metrics.csv").read_text().split("world_model,4,loss,")[1].split("\n")[0]
        for a in ("cql", "bc")
        for s in (0, 1)
    }
    assert losses["cql", 0] == losses["bc", 0] != losses["cql", 1] == losses["bc", 1]
    found = json.loads((trained.out / "compare.json").read_text())
    assert [run["returns"] for run in found["runs"]] == [
        [[float(value) for value in agent.split()] for agent in row["returns"].split(";")] for row in table
    ]
    assert found["runs"][0]["interim"]["steps"] == [3, 4]


def test_finished_runs_are_left_as_they_are(grid: Grid, capsys: pytest.CaptureFixture[str]) -> None:
    results = {path: path.stat().st_mtime_ns for path in grid.out.glob("*/*/*/result.json")}
    (grid.out / "compare.md").unlink()
    assert len(results) == 4 and grid.compare() == []
    assert "runs        4: 4 done already, 0 to run" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in grid.out.glob("*/*/*/result.json")} == results
    assert "4 of 4 runs are finished" in (grid.out / "compare.md").read_text()


def test_a_run_that_was_cut_off_goes_on_and_one_that_was_not_begun_begins(grid: Grid) -> None:
    before = (grid.run("bc", 1) / "result.json").read_text()
    (grid.run("bc", 1) / "result.json").unlink()
    shutil.rmtree(grid.run("cql", 0))
    first, second = grid.compare()
    assert "--seed=0" in first and "--algorithm=cql" in first
    assert second == ["--resume", str(grid.run("bc", 1))]
    after, then = json.loads((grid.run("bc", 1) / "result.json").read_text()), json.loads(before)
    assert after["agents"] == then["agents"]


def other_settings(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["--set", "bc:agent.tau=0.02"]


def other_data(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (grid.folder / f"{NAME}.hdf5").unlink()
    record(grid.folder, NAME, seed=1)
    return []


def other_code(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(fingerprint, "code", lambda: "another")
    return []


def other_packages(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("latent_combo.pipeline.origin.versions", lambda: {"torch": "3.0"})
    return []


def no_record(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (grid.run("bc", 0) / RECORD).unlink()
    return []


Change = Callable[[Grid, pytest.MonkeyPatch], list[str]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            other_settings,
            r"bc/seed0 is a run with other settings: agent.tau 0.01 then, 0.02 now \(and 1 more differ\)",
        ),
        (other_data, r"cql/seed0 is a run with other data: fingerprint \w{12} then, \w{12} now \(and 3 more differ\)"),
        (other_code, r"cql/seed0 is a run with another version of this program's code \(and 3 more differ\)"),
        (other_packages, r"other packages: .*torch 2\S+ then, 3.0 now"),
        (no_record, r"bc/seed0 is a run with no word of what it is known by; choose another OUT, or run it anew"),
    ],
)
def test_a_run_that_differs_is_refused_in_a_line(
    change: Change, said: str, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = change(grid, monkeypatch)
    (grid.run("cql", 1) / "result.json").unlink()  # which would go on otherwise
    with pytest.raises(UserError, match=said) as error:
        grid.compare(*more)
    assert "\n" not in str(error.value) and str(error.value).endswith("--again")
    assert not (grid.run("cql", 1) / "result.json").exists()


def test_what_differs_is_run_anew_on_request_and_the_old_runs_are_kept(grid: Grid) -> None:
    before = (grid.run("bc", 0) / "result.json").read_bytes()
    begun = grid.compare("--set", "bc:agent.tau=0.02", "--again")
    assert [words[-2:] for words in begun] == [[f"--seed={s}", f"--out={grid.run('bc', s)}"] for s in (0, 1)]
    assert (grid.run("bc", 0).with_name("seed0.before-1") / "result.json").read_bytes() == before
    assert "tau: 0.02" in (grid.run("bc", 0) / "config.yaml").read_text()
    assert grid.compare("--set", "bc:agent.tau=0.02") == []  # which it says of itself now


def test_runs_that_fail_are_rows_and_the_rest_goes_on(trained: Grid, tmp_path: Path) -> None:
    record(tmp_path, NAME)
    damaged = tmp_path / f"damaged-{NAME}.hdf5"
    damaged.write_bytes((tmp_path / f"{NAME}.hdf5").read_bytes()[:30_000])
    out, data = tmp_path / "out", f"{damaged},{tmp_path / f'{NAME}.hdf5'}"

    def compare() -> list[list[str]]:
        diverges = ("--set", "cql:agent.critic-learning-rate=1e30", "--task", NAME)
        with trained_here() as started, pytest.raises(SystemExit) as ended:
            run_compare(
                *(out, "--datasets", data, "--algorithms", "cql,bc", "--seeds", "0,", "--data-dir", tmp_path, *diverges)
            )
        assert ended.value.code == 3
        return list(started)

    assert len(compare()) == 4
    with open(out / "compare.csv") as file:
        table = {(row["label"], row["algorithm"]): row for row in csv.DictReader(file)}
    assert {key: row["status"] for key, row in table.items()} == {
        (f"damaged-{NAME}", "cql"): "failed",
        (f"damaged-{NAME}", "bc"): "failed",
        (NAME, "cql"): "diverged",
        (NAME, "bc"): "finished",
    }
    assert f"damaged-{NAME}.hdf5" in table[f"damaged-{NAME}", "bc"]["error"]
    diverged, run = table[NAME, "cql"], out / NAME / "cql" / "seed0"
    assert "critic update, step 1: the loss is nan" in diverged["error"] and diverged["return_mean"] == ""
    assert diverged["command"].endswith(f"--resume {run}")
    assert {"batch.reward", "noise.actor"} <= load_file(run / "bad_batch.safetensors").keys()
    assert "--dataset=" in table[f"damaged-{NAME}", "bc"]["command"]  # which did not begin
    page = (out / "compare.md").read_text()
    assert "1 of 4 runs are finished" in page and diverged["error"].replace("|", "\\|") in page
    assert diverged["command"] in page
    # What failed is tried again; what diverged would diverge again, and is left
    assert [next(word for word in words if "--algorithm" in word) for words in compare()] == [
        "--algorithm=cql",
        "--algorithm=bc",
    ]


def test_runs_of_one_name_and_different_data_are_never_in_one_table(grid: Grid) -> None:
    known = grid.run("bc", 1) / "dataset.json"
    known.write_text(known.read_text().replace('"fingerprint": "', '"fingerprint": "other'))
    with pytest.raises(UserError, match="cql/seed0 and .*bc/seed1 were made of different data"):
        grid.compare()


def test_a_result_that_is_gone_is_no_finished_run(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one that was deleted while others ran."""
    monkeypatch.setattr(rows.Result, "read", lambda run: None)
    monkeypatch.setattr(plan, "finished", lambda run: True)
    with pytest.raises(SystemExit):
        grid.compare()
    assert "0 of 4 runs are finished" in (grid.out / "compare.md").read_text()


def test_a_run_without_any_episode_is_no_score_of_0(grid: Grid) -> None:
    path = grid.run("bc", 1) / "result.json"
    said = json.loads(path.read_text())
    said |= {"return_mean": None, "return_std": None, "normalised_score": None, "episodes": 0}
    path.write_text(json.dumps(said))
    with pytest.raises(SystemExit):
        grid.compare()
    page = (grid.out / "compare.md").read_text()
    assert "3 of 4 runs are finished" in page and "no episode was played" in page


def test_the_code_of_a_run_is_its_source_without_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "envs" / "one.py"
    module.parent.mkdir()
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    known = []
    for text in (
        '"""Words."""\nx = 1\n',
        '"""Other words."""\nx = 1  # and a comment\n',
        '"""Words."""\nx = 2\n',
        '"""Words."""\nx = "1"\n',
        "x = (",
    ):
        module.write_text(text)
        known.append(fingerprint.code())
    assert known[0] == known[1] and len(set(known)) == 4
    (tmp_path / "latent_combo" / "comparison").mkdir(parents=True)
    (tmp_path / "latent_combo" / "comparison" / "rows.py").touch()
    assert fingerprint.code() == known[-1]  # which no run imports
    (tmp_path / "latent_combo" / "train.py").touch()
    assert fingerprint.code() != known[-1]


def test_the_module_of_a_users_own_task_is_part_of_what_a_run_is_known_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    from latent_combo.config.command_line import parse

    task = "own_task:TASK"
    config = parse(["--task", task, "--dataset", "hopper-mini", "--out", str(tmp_path)])[0]
    module = fingerprint.Fingerprint.of(config, "").module
    source = tmp_path / "own_task.py"
    source.write_bytes(Path(sys.modules["own_task"].__file__ or "").read_bytes() + b"\n")
    monkeypatch.setattr(sys.modules["own_task"], "__file__", str(source))
    assert len(module) == 64 and fingerprint.Fingerprint.of(config, "").module != module
