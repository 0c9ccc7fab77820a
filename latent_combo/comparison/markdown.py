"""A comparison as a page for people, `compare.md`."""

from collections.abc import Iterable, Sequence

from combo_common.figures import figure
from combo_common.versions import named
from latent_combo.comparison.published import BATCH, SOURCE, published
from latent_combo.comparison.rows import Measure, Row
from latent_combo.comparison.statistics import LEVEL, RESAMPLES
from latent_combo.comparison.summary import Cell, Estimate, Summary
from latent_combo.evaluation.result import Result

NONE = "-"
PICTURES = ("compare-scores.png", "compare-curves.png", "compare-overall.png")
"""Beside the page: every run's score; interim scores; the statistics over all datasets."""
LATER = "Pictures are drawn when no run is left."
OF_ALGORITHMS = ("algorithm", "runs", "mean [95%]", "median [95%]", "IQM [95%]", "return", "normalised", "success")
NOTE = f"""A run's score is the mean over its episodes and agents; runs are the unit of every statistic. Intervals are
{LEVEL:.0%} percentile intervals of the bootstrap ({RESAMPLES:,} draws of runs within each dataset). Of few runs they
are too narrow, and of one run there is none. IQM is the mean of the middle half of the runs (Agarwal et al., 2021)."""


def page(rows: Sequence[Row], summary: Summary, table: int | None = None, drawn: bool = True) -> str:
    """The whole page, in Markdown; pictures are not on it where they are not `drawn`."""
    missing = [row for row in rows if row.outcome.status != "finished"]
    parts = [
        "# Comparison",
        f"{len(rows) - len(missing)} of {len(rows)} runs are finished; {named()}.",
        *([_missing(missing)] if missing else []),
        *_datasets(rows, summary, table),
        NOTE,
        *_overall(summary),
        *_improvements(summary),
        "\n".join(f"![{name}]({name})" for name in PICTURES) if drawn else LATER,
        _runs(rows),
    ]
    return "\n\n".join(parts) + "\n"


def _missing(rows: Sequence[Row]) -> str:
    cells = (
        (r.job.label, r.job.algorithm, r.job.seed, r.outcome.status, r.outcome.error, f"`{r.job.command}`")
        for r in rows
    )
    heads = ("dataset", "algorithm", "seed", "what became of it", "last line of its error", "to repeat it")
    text = "They are in no statistic: where runs diverged, those of the rest flatter the algorithm."
    return f"## Runs without a score\n\n{_table(heads, cells)}\n\n{text}"


def _datasets(rows: Sequence[Row], summary: Summary, table: int | None) -> list[str]:
    """A table for each dataset, with a row for each algorithm; published figures have a column of their own."""
    parts = ["## Datasets"]
    anything = False
    for dataset in summary.datasets:
        own = [row for row in rows if row.job.label == dataset]
        cells = [summary.cells[dataset, algorithm] for algorithm in summary.algorithms]
        known = [_published(own[0], algorithm, table) for algorithm in summary.algorithms]
        anything = anything or any(known)
        means = (_means([row for row in own if row.job.algorithm == algorithm]) for algorithm in summary.algorithms)
        beside: list[tuple[str, ...]] = [(of,) if any(known) else () for of in known]
        lines = [(*_cell(cell), *of, *more) for cell, of, more in zip(cells, means, beside, strict=True)]
        heads = (*OF_ALGORITHMS, *(("published, of other data",) if any(known) else ()))
        parts += [f"### {dataset}", f"{_about(own, cells[0].measure, table)}\n\n{_table(heads, lines)}"]
    if anything:
        parts.append(f"Published: {SOURCE}. Its datasets are others than these: the columns do not compare algorithms.")
    return parts


def _cell(cell: Cell) -> tuple[str, ...]:
    runs = f"{cell.runs}" if cell.runs == cell.asked else f"{cell.runs} of {cell.asked}"
    return cell.algorithm, runs, *(estimated(cell.statistics[name]) for name in ("mean", "median", "iqm"))


def _means(rows: Sequence[Row]) -> tuple[str, ...]:
    """The mean over runs of each measure."""
    measures: tuple[Measure, ...] = ("return", "normalised score", "success rate in %")
    scores = ([score for row in rows if (score := row.score(measure)) is not None] for measure in measures)
    return tuple(figure(sum(of) / len(of) if of else None, missing=NONE) for of in scores)


def _about(rows: Sequence[Row], measure: Measure, table: int | None) -> str:
    """What the runs are compared by, and what is known of their data."""
    job, result = rows[0].job, next((row.result for row in rows if row.result is not None), None)
    parts = [f"Task {job.task}, {job.obs}; `{job.dataset}`.", f"Scores are the {measure}."]
    if result is not None:
        parts.append(_references(result))
    batch = [
        f"{name} {published(job.task, job.split, job.obs, name, table)[0]}"
        for name in BATCH.values()
        if published(job.task, job.split, job.obs, name, table)
    ]
    return " ".join(parts + ([f"Published, of other data: {', '.join(batch)}."] if batch else []))


def _references(result: Result) -> str:
    known = {"random": result.random_return, "expert": result.expert_return}
    told = "".join(f", {name} {value:.1f}" for name, value in known.items() if value is not None)
    return f"Returns: data {result.dataset_return_mean:.1f} (best {figure(result.dataset_return_max)}){told}."


def _published(row: Row, algorithm: str, table: int | None) -> str:
    """The paper's figures of an algorithm on the dataset of a row; empty where it has none."""
    return ", ".join(map(str, published(row.job.task, row.job.split, row.job.obs, algorithm, table)))


def _overall(summary: Summary) -> list[str]:
    """The statistics over datasets; one dataset has none."""
    left = [dataset for dataset in summary.datasets if dataset not in summary.over]
    if len(summary.datasets) < 2:
        return []
    said = f"Normalised scores of {len(summary.over)} datasets: {', '.join(summary.over) or 'none'}."
    if left:
        said += f" Left out, since it takes normalised scores and a run of every algorithm: {', '.join(left)}."
    heads = ("algorithm", "IQM [95%]", "mean [95%]", "median of datasets [95%]")
    lines = (
        (algorithm, *(estimated(of[name]) for name in ("iqm", "mean", "median")))
        for algorithm, of in summary.overall.items()
    )
    return ["## All datasets", f"{said}\n\n{_table(heads, lines)}" if summary.over else said]


def _improvements(summary: Summary) -> list[str]:
    """How probably a run of the row's algorithm is better than one of the column's."""
    names = summary.algorithms
    if len(names) < 2:
        return []
    lines = ((x, *(NONE if x == y else estimated(summary.improvements[x, y], digits=2) for y in names)) for x in names)
    text = "P(X > Y) + P(X = Y) / 2, for returns of runs of the row's X and the column's Y; the mean over datasets."
    return ["## Probability of improvement", f"{text}\n\n{_table(('X', *names), lines)}"]


def _runs(rows: Sequence[Row]) -> str:
    """Every run; compare.csv has its episodes."""
    lines = (
        (row.job.label, row.job.algorithm, row.job.seed, *_means([row]), _became(row), f"`{row.job.run}`")
        for row in rows
    )
    heads = ("dataset", "algorithm", "seed", "return", "normalised", "success", "what became of it", "folder")
    return f"## Runs\n\n{_table(heads, lines)}\n\nEvery episode's return is in compare.csv."


def _became(row: Row) -> str:
    """What became of a run, and of its episodes."""
    failed = 0 if row.result is None else len(row.result.failed)
    return f"{row.outcome.status}; {failed} episodes ended with an error" if failed else row.outcome.status


def estimated(of: Estimate, digits: int = 1) -> str:
    """A value and its interval, for people."""
    if of["value"] is None:
        return NONE
    interval = "" if of["interval"] is None else " [{:.{d}f}, {:.{d}f}]".format(*of["interval"], d=digits)
    return f"{of['value']:.{digits}f}{interval}"


def _table(heads: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join(f"| {' | '.join(_plain(str(cell)) for cell in row)} |" for row in rows)


def _plain(text: str) -> str:
    """Text that does not end a cell."""
    return text.replace("|", "\\|").replace("\n", " ")
