"""What a comparison is asked for, and what is wrong of it: told in a line before anything starts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_cli import LIGHT, SLOW_TO_IMPORT, SLOWEST_TO_IMPORT, python

from combo_common.errors import UserError
from latent_combo.agent.algorithms import ALGORITHMS
from latent_combo.comparison import grid, options
from latent_combo.comparison.given import Given
from latent_combo.comparison.tables import TABLES
from latent_combo.config.command_line import parse

HOPPER = ("--datasets", "hopper-mini", "--obs", "state")


def read(*arguments: str) -> Given:
    return options.read(["OUT", *arguments])


def test_options_and_settings_of_train_are_told_apart() -> None:
    given = read("--datasets", "a,b", "--algorithms=combo, cql,combo", "--agent.beta", "1.0", "--obs", "state")
    assert (given.datasets, given.algorithms, given.seeds) == (("a", "b"), ("combo", "cql"), (0, 1, 2))
    assert given.settings == ("--agent.beta", "1.0", "--obs", "state")
    assert (given.out, given.workers, given.backend, given.again) == (Path("OUT"), None, "processes", False)
    own = read(
        "--datasets=a", "--algorithms=combo,cql", *("--set", "combo:agent.beta=0.5"), "--set=combo:--seed-of=3"
    ).own
    assert own == {"combo": ("--agent.beta=0.5", "--seed-of=3")}


@pytest.mark.parametrize(
    ("text", "seeds"), [("1", (0,)), ("4", (0, 1, 2, 3)), ("4,", (4,)), ("7,0,7", (7, 0)), ("0,", (0,))]
)
def test_seeds_are_a_number_or_a_list(text: str, seeds: tuple[int, ...]) -> None:
    assert read("--datasets=a", "--algorithms=b", f"--seeds={text}").seeds == seeds


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--datasets", "a"], "the folder of the comparison comes first: .* OUT --datasets ..."),
        (["OUT"], "--datasets names none; give some, with commas between, or a --table of the paper"),
        (["OUT", "--datasets", "a", "--algorithms", ","], "--algorithms names none"),
        (["OUT", "--table", "4"], "invalid choice: 4"),
        (["OUT", "--table", "3", "--seeds", "three"], "'three' is neither a number of runs, such as 3, nor a list"),
        (["OUT", "--table", "3", "--seeds=-1"], "'-1' is neither"),
        (["OUT", "--table", "3", "--seeds", "0"], "'0' is neither"),
        (["OUT", "--table", "3", "--workers", "0"], "--workers is 0; at least 1"),
        (["OUT", "--table", "3", "--backend", "rya"], "invalid choice: 'rya'"),
        (["OUT", "--table", "3", "--set", "comb:agent.beta=1"], "--set is of comb, .*; did you mean combo?"),
        (["OUT", "--table", "3", "--set", "combo.agent.beta=1"], "is not ALGORITHM:NAME=VALUE"),
        (["OUT", "--table", "3", "--set", "combo:agent.beta"], "is not ALGORITHM:NAME=VALUE"),
    ],
)
def test_what_is_wrong_of_the_options_is_one_line(arguments: list[str], named: str) -> None:
    with pytest.raises(UserError, match=named) as error:
        options.read(arguments)
    assert "\n" not in str(error.value)


WRONG: list[tuple[list[str], str]] = [
    ([*HOPPER, "--algorithms", "cql,comobo"], "unknown algorithm 'comobo'; it is one of .*; did you mean combo?"),
    (
        ["--datasets", "hopper-mini,hoper-mini", "--obs=state", "--algorithms=cql"],
        "there is no dataset 'hoper-mini'.* did you",
    ),
    ([*HOPPER, "--algorithms", "cql", "--agent.bta", "1"], "there is no setting agent.bta; did you mean agent.beta?"),
    ([*HOPPER, "--algorithms", "cql,combo", "--set", "combo:agent.bta=1"], "did you mean agent.beta?"),
    (
        [*HOPPER, "--algorithms", "combo,cql", "--agent.real-ratio", "0.5"],
        "algorithm is cql, which has agent.real_ratio",
    ),
    ([*HOPPER, "--algorithms", "cql", "--preset", "smal"], "unknown preset 'smal'.*did you mean small?"),
    (["--datasets", "hopper-mini", "--algorithms", "cql"], "hopper-mini holds states and no images; use --obs state"),
    ([*HOPPER, "--algorithms", "cql", "--seed", "3"], "--seed is of one run; a comparison is told by --seeds"),
    ([*HOPPER, "--algorithms", "cql", "--out=x"], "--out is of one run; a comparison is told by the first word, OUT"),
    ([*HOPPER, "--algorithms", "cql", "--set", "cql:dataset=x"], "--dataset is of one run"),
    ([*HOPPER, "--algorithms", "cql", "--resume", "x"], "--resume is of one run: a comparison goes on by"),
    ([*HOPPER, "--algorithms", "cql", "--world-model", "x"], "--world-model is of one run: each run of a comparison"),
    ([*HOPPER, "--algorithms", "combo,lompo"], "algorithm is lompo.*obs"),
    ([*HOPPER, "--algorithms", "cql", "stray"], "there is no setting stray"),
]


@pytest.mark.parametrize(("arguments", "named"), WRONG)
def test_what_no_run_can_have_is_one_line_before_anything_starts(
    arguments: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process is started"))
    with pytest.raises(UserError, match=named) as error:
        options.check([str(tmp_path / "out"), *arguments])
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_help_imports_nothing_slow_and_a_check_no_torch(tmp_path: Path) -> None:
    shown = python("-c", LIGHT, json.dumps([["compare", "--help"], ["compare", "OUT"]]), cwd=tmp_path)
    assert "--algorithms names none" not in shown.stderr and "--datasets names none" in shown.stderr
    assert "per run" not in shown.stdout and "--workers" in shown.stdout
    assert not SLOW_TO_IMPORT & set(json.loads(shown.stdout.splitlines()[-1]))
    asked = [["compare", "OUT", *arguments] for arguments, _ in (WRONG[0], WRONG[1], WRONG[6])]
    checked = python("-c", LIGHT, json.dumps(asked), cwd=tmp_path)
    assert checked.stderr.count("UserError") == len(asked) and "Traceback" not in checked.stderr
    assert not SLOWEST_TO_IMPORT & set(json.loads(checked.stdout.splitlines()[-1]))


def test_a_config_file_with_a_fitted_world_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = parse(["--dataset", "hopper-mini", "--obs", "state"])[0]
    object.__setattr__(fitted, "world_model", "runs/other")
    monkeypatch.setattr(grid, "parse", lambda _: (fitted, False))
    with pytest.raises(UserError, match="world_model is runs/other, but each run of a comparison fits its own"):
        grid.jobs(read(*HOPPER, "--algorithms", "cql"))


def test_every_job_is_a_command_line_of_train_that_makes_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = read(
        *HOPPER, "--algorithms", "combo,cql", "--seeds", "5,6", "--agent.beta", "2", "--set", "combo:agent.beta=3"
    )
    jobs = grid.jobs(given, fingerprints=True)
    assert [(job.seed, job.algorithm) for job in jobs] == [(5, "combo"), (5, "cql"), (6, "combo"), (6, "cql")]
    for job in jobs:
        config, resume = parse(list(job.words))
        assert not resume and config.out == job.run == f"OUT/hopper-mini/{job.algorithm}/seed{job.seed}"
        assert (config.dataset, config.algorithm, config.seed, config.obs) == (
            "hopper-mini",
            job.algorithm,
            job.seed,
            "state",
        )
        assert config.agent.beta == (3.0 if job.algorithm == "combo" else 2.0)
        assert job.fingerprint["settings"]["seed"] == job.seed and "out" not in job.fingerprint["settings"]
        assert job.fingerprint["settings"]["agent.beta"] == config.agent.beta
        assert len(job.fingerprint["data"]) == len(job.fingerprint["code"]) == 64
        assert (job.task, job.split, job.folder) == ("hopper", "", tmp_path / job.run)
        assert job.command.endswith(f"--seed={job.seed} --out={job.run}")


def test_a_damaged_dataset_is_no_error_of_the_grid(tmp_path: Path) -> None:
    """Its runs say what is wrong of it, and the others run."""
    (tmp_path / "hopper.hdf5").write_bytes(b"nothing")
    given = read(
        "--datasets", str(tmp_path / "hopper.hdf5"), "--obs", "state", "--algorithms", "cql", "--task", "hopper"
    )
    assert [len(job.fingerprint["data"]) in (0, 64) for job in grid.jobs(given, fingerprints=True)] == [True] * 3


def test_folders_are_named_as_their_datasets_and_never_shared(tmp_path: Path) -> None:
    labels = [
        grid._label(name, path)
        for name, path in (
            ("hopper-mini", Path("/somewhere/hopper-mini.hdf5")),
            ("mujoco/hopper/medium-v0", None),
            ("walker_walk/medium/64px", tmp_path),
            ("/data/vd4rl/walker_walk/medium/64px", tmp_path),
            ("../a b.hdf5", None),
        )
    ]
    assert labels == ["hopper-mini", "mujoco-hopper-medium-v0", *["walker_walk-medium-64px"] * 2, "a-b"]
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "hopper.hdf5").touch()
    datasets = ",".join(str(tmp_path / folder / "hopper.hdf5") for folder in ("one", "two"))
    with pytest.raises(UserError, match=r"one/hopper.hdf5 and .*two/hopper.hdf5 would share the folder OUT/hopper"):
        grid.jobs(read("--datasets", datasets, "--obs", "state", "--algorithms", "cql"))


def test_tables_of_the_paper_and_what_narrows_them() -> None:
    sizes = {number: (len(t.datasets), len(t.algorithms), t.seeds, t.obs) for number, t in TABLES.items()}
    assert sizes == {1: (3, 4, 6, "state"), 2: (6, 7, 3, "pixels"), 3: (12, 9, 6, "state"), 8: (3, 2, 6, "state")}
    given = read("--table", "3")
    assert given.settings == ("--obs=state", "--preset=paper") and given.seeds == tuple(range(6))
    assert given.datasets[:3] == ("halfcheetah-random", "hopper-random", "walker2d-random")
    narrow = read(
        "--table", "3", "--datasets", "hopper-mini", "--algorithms", "cql,bc", "--seeds", "2", "--preset", "small"
    )
    assert (narrow.datasets, narrow.algorithms, narrow.seeds) == (("hopper-mini",), ("cql", "bc"), (0, 1))
    (first, *_) = grid.jobs(narrow)
    config = parse(list(first.words))[0]
    assert (config.preset, config.obs) == ("small", "state")  # the command line's own comes last


def test_an_algorithm_of_a_table_that_is_not_registered_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latent_combo.config.layers.ALGORITHMS", {n: a for n, a in ALGORITHMS.items() if n != "mopo"})
    with pytest.raises(UserError, match="unknown algorithm 'mopo'"):
        grid.jobs(read("--table", "1", "--datasets", "hopper-mini"))


def test_a_dataset_of_a_table_that_is_not_here_says_how_to_collect_it(tmp_path: Path) -> None:
    given = read("--table", "3", "--data-dir", str(tmp_path), "--algorithms", "cql")
    with pytest.raises(UserError, match="there is no dataset 'halfcheetah-random'.*data.collect halfcheetah random"):
        grid.jobs(given)


def test_the_command_checks_before_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    from latent_combo.cli import run

    def refuse(name: str) -> Any:
        pytest.fail(f"{name} is imported")

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(UserError, match="unknown algorithm"):
        run(["compare", "OUT", *HOPPER, "--algorithms", "comobo"])
    assert sys.argv[1] == "OUT"
