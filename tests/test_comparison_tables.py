"""What a comparison's page, tables and pictures say, and the paper's figures beside ours."""

import csv
import dataclasses
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_comparison import a_row

from latent_combo.comparison.files import as_csv, as_json, write
from latent_combo.comparison.markdown import PICTURES, page
from latent_combo.comparison.pictures import pictures, style
from latent_combo.comparison.published import PUBLISHED, published
from latent_combo.comparison.rows import Row, measure_of
from latent_combo.comparison.summary import summarise
from latent_combo.comparison.tables import TABLES

REPLAY = {"label": "walker-walk-medium-replay", "task": "walker-walk", "split": "medium-replay", "obs": "pixels"}
EXPERT = {"label": "walker-walk-expert", "task": "walker-walk", "split": "expert", "obs": "pixels"}


def score(returned: float) -> float:
    """The walker's normalised score."""
    return 100 * (returned - 39.7) / (954.4 - 39.7)


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Two algorithms, two datasets, two seeds; one run of combo has failed."""
    return [
        a_row(tmp_path, [100.0, 300.0], seed=0, algorithm="combo", **REPLAY),
        a_row(tmp_path, None, "loss | is nan", seed=1, algorithm="combo", **REPLAY),
        a_row(tmp_path, [400.0], seed=0, algorithm="cql", **REPLAY),
        a_row(tmp_path, [600.0], seed=1, algorithm="cql", **REPLAY),
        *(a_row(tmp_path, [500.0 + seed], seed=seed, algorithm="combo", **EXPERT) for seed in (0, 1)),
        *(a_row(tmp_path, [500.0], seed=seed, algorithm="cql", **EXPERT) for seed in (0, 1)),
    ]


def test_published_figures_are_the_papers() -> None:
    assert Counter(figure.table for figure in PUBLISHED) == {1: 3 * 6, 2: 6 * 5, 3: 12 * 9, 8: 3 * 4}
    cells = {(f.table, f.task, f.split, f.algorithm): (f.value, f.half_width, f.unit, f.seeds) for f in PUBLISHED}
    assert len(cells) == len(PUBLISHED)
    assert cells[1, "halfcheetah-jump", "", "combo"] == (5308.7, 575.5, "return", 6)
    assert cells[1, "halfcheetah-jump", "", "the data's mean"] == (-1022.6, None, "return", 6)
    assert cells[1, "sawyer-door-close", "", "combo"] == (98.3, 3.0, "success rate in %", 6)
    assert cells[1, "ant-angle", "", "cql"] == (2473.4, None, "return", 6)
    assert cells[2, "walker-walk", "medium", "mbpo"] == (61.7, None, "normalised score", 3)
    assert cells[2, "walker-walk", "expert", "cql-pixels"] == (43.3, None, "normalised score", 3)
    assert cells[2, "sawyer-door", "expert", "combo"] == (96.7, None, "success rate in %", 3)
    assert cells[2, "walker-walk", "medium-replay", "sac"] == (45.1, None, "normalised score", 3)
    assert cells[3, "hopper", "medium", "brac-v"] == (31.1, None, "normalised score", 6)
    assert cells[3, "walker2d", "random", "brac-p"] == (-0.2, None, "normalised score", 6)
    assert cells[3, "hopper", "medium-expert", "bc"] == (111.9, None, "normalised score", 6)
    assert cells[3, "walker2d", "medium-expert", "combo"] == (103.3, 5.6, "normalised score", 6)
    assert cells[8, "sawyer-door-close", "", "cql-mbpo"] == (62.7, 24.8, "success rate in %", 6)
    assert cells[8, "ant-angle", "", "cql-mbpo"] == (809.2, 135.4, "return", 6)
    means = {of: np.mean([f.value for f in PUBLISHED if (f.table, f.algorithm) == (3, of)]) for of in ("combo", "cql")}
    assert means["combo"] == pytest.approx(66.83, abs=0.01) and means["cql"] == pytest.approx(54.85, abs=0.01)


def test_published_figures_are_found_by_task_and_split() -> None:
    assert [str(f) for f in published("hopper", "medium-replay", "state", "combo")] == ["89.5 ± 1.8 (table 3)"]
    assert [f.table for f in published("ant-angle", "medium-replay", "state", "combo")] == [1, 8]
    assert [f.table for f in published("ant-angle", "", "state", "combo", 8)] == [8]
    for none in (
        ("hopper", "", "state", "combo"),
        ("walker-walk", "medium", "state", "combo"),
        ("hopper", "medium", "state", "x"),
    ):
        assert published(*none) == []


def test_tables_have_a_figure_of_the_paper_for_each_algorithm_but_two() -> None:
    for number, table in TABLES.items():
        known = {figure.algorithm for figure in PUBLISHED if figure.table == number}
        assert set(table.algorithms) - known == ({"drq-bc", "bc"} if number == 2 else set())
        names = {"-".join(filter(None, (f.task, f.split))) for f in PUBLISHED if f.table == number}
        assert set(table.datasets) == names


def test_statistics_are_of_runs_that_have_a_score(rows: list[Row]) -> None:
    summary = summarise(rows)
    combo, cql = (summary.cells["walker-walk-medium-replay", name] for name in ("combo", "cql"))
    assert (combo.runs, combo.asked, combo.measure) == (1, 2, "normalised score")
    assert combo.statistics["mean"] == {"value": pytest.approx(score(200.0)), "interval": None}  # of one run
    assert cql.statistics["median"]["value"] == pytest.approx(score(500.0))
    assert cql.statistics["mean"]["interval"] == pytest.approx((score(400.0), score(600.0)))
    assert summary.over == ["walker-walk-medium-replay", "walker-walk-expert"]
    assert summary.overall["cql"]["mean"]["value"] == pytest.approx(score(500.0))
    assert summary.overall["combo"]["mean"]["value"] == pytest.approx((score(200.0) + score(500.5)) / 2)
    better = summary.improvements["combo", "cql"]  # never on the replay; 1/2 and 1 on the expert's
    assert better["value"] == pytest.approx((0.0 + 0.75) / 2) and better["datasets"] == 2
    assert summary.improvements["cql", "combo"]["value"] == pytest.approx(1 - 0.375)
    low, high = summarise(rows[2:]).improvements["combo", "cql"]["interval"]  # on the expert's data alone
    assert (low, high) == (0.5, 1.0)
    assert summarise(rows[2:]).improvements["cql", "combo"]["interval"] == (0.0, 0.5)
    assert summarise(rows) == summary  # intervals, too


def test_statistics_over_datasets_leave_out_those_that_lack_an_algorithm_or_references(rows: list[Row]) -> None:
    without = [row for row in rows if (row.job.label, row.job.algorithm) != (EXPERT["label"], "cql")]
    assert summarise(without).over == [REPLAY["label"]]
    assert "Left out, since it takes normalised scores and a run of every algorithm: walker-walk-expert" in page(
        without, summarise(without)
    )
    for row in rows[:4]:
        if row.result is not None:
            object.__setattr__(row.result, "normalised_score", None)
    assert summarise(rows).over == [EXPERT["label"]]
    assert summarise(rows).cells[REPLAY["label"], "cql"].measure == "return"


def test_tables_of_the_paper_are_compared_by_what_they_have(rows: list[Row]) -> None:
    door = [dataclasses.replace(r, result=r.result and dataclasses.replace(r.result, success_rate=0.5)) for r in rows]
    told = {table: (measure_of(rows, table), measure_of(door, table)) for table in (None, 1, 2, 3, 8)}
    assert told == {
        None: ("normalised score", "normalised score"),
        1: ("return", "success rate in %"),
        2: ("normalised score", "success rate in %"),
        3: ("normalised score", "normalised score"),
        8: ("return", "success rate in %"),
    }
    assert door[0].score("success rate in %") == 50.0


def test_the_page_has_each_run_its_error_and_the_papers_figures_in_a_column_of_their_own(rows: list[Row]) -> None:
    text = page(rows, summarise(rows))
    lines = text.splitlines()
    assert "7 of 8 runs are finished" in text
    failed = next(line for line in lines if "loss" in line)
    assert (
        failed.startswith(r"| walker-walk-medium-replay | combo | 1 | failed | loss \| is nan | `")
        and "train" in failed
    )
    combo, cql = (next(line for line in lines if line.startswith(f"| {name} | ")) for name in ("combo", "cql"))
    assert combo == "| combo | 1 of 2 | 17.5 | 17.5 | 17.5 | 200.0 | 17.5 | - | 69.2 (table 2) |"
    assert cql.startswith("| cql | 2 | 50.3 [39.4, 61.3] |") and cql.endswith(
        "| - |  |"
    )  # the paper's CQL is of pixels
    assert "published, of other data" in text and "arXiv:2102.08363" in text
    assert "Returns: data 300.0 (best 800.0), random 39.7, expert 954.4." in text
    assert sum(line.startswith("| walker-walk-expert | ") for line in lines) == 4
    alone = page(rows[:1], summarise(rows[:1]))
    assert "## All datasets" not in alone and "Probability of improvement" not in alone


def test_the_csv_has_a_line_for_each_run_with_every_episode(rows: list[Row]) -> None:
    first, second, *rest = csv.DictReader(io.StringIO(as_csv(rows)))
    assert first["returns"] == "100.0 300.0" and float(first["normalised_score"]) == pytest.approx(score(200.0))
    assert (second["status"], second["returns"], second["return_mean"]) == ("failed", "", "")
    assert len(rest) == 6 and first.keys() == second.keys()


def test_episodes_that_failed_are_told(rows: list[Row]) -> None:
    result = dataclasses.replace(rows[0].result, failed=["agent 0, seed 3: an error"])  # type: ignore[type-var]
    text = page([dataclasses.replace(rows[0], result=result)], summarise(rows[:1]))
    assert "| finished; 1 episodes ended with an error |" in text
    (line,) = csv.DictReader(io.StringIO(as_csv([dataclasses.replace(rows[0], result=result)])))
    assert line["failed_episodes"] == "1"


def test_json_and_files(rows: list[Row], tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, rows, summarise(rows, 2), 2)
    found = json.loads((out / "compare.json").read_text())
    assert found == json.loads(json.dumps(as_json(rows, summarise(rows, 2), 2)))
    assert len(found["published"]["figures"]) == 30 and found["published"]["note"] == "of other datasets than ours"
    assert [run["seed"] for run in found["runs"]] == [0, 1] * 4
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ("compare.md", "compare.csv", "compare.json", *PICTURES)
    )
    for name in PICTURES:
        assert f"]({name})" in (out / "compare.md").read_text()


def test_pictures_show_every_run_in_its_algorithms_colour(rows: list[Row]) -> None:
    """The pixels of a colour: none for an algorithm without runs."""

    def count(png: bytes, colour: str) -> int:
        picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        return int((np.abs(picture - wanted).sum(-1) < 12).sum())

    none = [dataclasses.replace(row, result=None) if row.job.algorithm == "cql" else row for row in rows]
    shown, hidden = (pictures(of, summarise(of)) for of in (rows, none))
    colour, _ = style("cql", ["combo", "cql"])
    for name in PICTURES[:2]:
        legend = 200 if name == PICTURES[1] else 0  # which has a line of it
        assert count(shown[name], colour) > 150 + legend
        assert count(hidden[name], colour) <= legend


def test_pictures_of_nothing_are_drawn(rows: list[Row]) -> None:
    nothing = [dataclasses.replace(row, result=None) for row in rows]
    assert set(pictures(nothing, summarise(nothing))) == set(PICTURES)
    assert "0 of 2" in page(nothing, summarise(nothing))


def test_algorithms_look_different() -> None:
    names = [str(number) for number in range(14)]
    assert len({style(name, names) for name in names}) == 14
