"""The statistics of a comparison's rows: of each algorithm on each dataset, over all datasets, and of pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from latent_combo.comparison.rows import Measure, Row, measure_of
from latent_combo.comparison.statistics import (
    Array,
    estimate,
    improvement,
    interquartile_mean,
    mean_of_datasets,
    median_of_datasets,
    median_of_runs,
)

SEED = 0
"""Of the bootstrap's draws."""
OVER_DATASETS = {"mean": mean_of_datasets, "median": median_of_datasets, "iqm": interquartile_mean}
OF_ONE = {"mean": mean_of_datasets, "median": median_of_runs, "iqm": interquartile_mean}
Estimate = dict[str, Any]
"""`value` and `interval`, both None where there are no runs; the interval is None of single runs."""


@dataclass(frozen=True)
class Cell:
    """An algorithm on a dataset."""

    dataset: str
    """Its label."""
    algorithm: str
    measure: Measure
    runs: int
    """With a score."""
    asked: int
    """Asked for."""
    scores: list[float]
    """Of each run with one, in order of seeds."""
    statistics: dict[str, Estimate]
    """`mean`, `median` and `iqm` over its runs."""


@dataclass(frozen=True)
class Summary:
    """All statistics."""

    datasets: list[str]
    algorithms: list[str]
    cells: dict[tuple[str, str], Cell]
    """By dataset and algorithm."""
    over: list[str]
    """The datasets that the statistics over datasets are of: those with normalised scores, and with a run of each
    algorithm."""
    overall: dict[str, dict[str, Estimate]]
    """By algorithm: `mean`, `median` and `iqm` of normalised scores."""
    improvements: dict[tuple[str, str], Estimate]
    """By X and Y: how probably a run of X returns more than one of Y."""


def summarise(rows: Sequence[Row], table: int | None = None) -> Summary:
    """The statistics of rows. The same rows have the same intervals: the draws are seeded."""
    generator = np.random.default_rng(SEED)
    datasets = list(dict.fromkeys(row.job.label for row in rows))
    algorithms = list(dict.fromkeys(row.job.algorithm for row in rows))
    measures = {dataset: measure_of([row for row in rows if row.job.label == dataset], table) for dataset in datasets}
    of = {
        (dataset, algorithm): [row for row in rows if (row.job.label, row.job.algorithm) == (dataset, algorithm)]
        for dataset in datasets
        for algorithm in algorithms
    }
    cells = {key: _cell(key, own, measures[key[0]], generator) for key, own in of.items()}
    over = [d for d in datasets if all(len(_scores(of[d, a], "normalised score")) for a in algorithms)]
    overall = {
        algorithm: {
            name: estimate([_scores(of[d, algorithm], "normalised score") for d in over], statistic, generator)
            for name, statistic in OVER_DATASETS.items()
        }
        for algorithm in algorithms
    }
    returns = {key: _scores(own, "return") for key, own in of.items()}
    pairs = {(x, y): _improvement(x, y, datasets, returns, generator) for x, y in combinations(algorithms, 2)}
    mirrored = {(y, x): _mirrored(found) for (x, y), found in pairs.items()}
    return Summary(datasets, algorithms, cells, over, overall, {**pairs, **mirrored})


def _scores(rows: Sequence[Row], measure: Measure) -> Array:
    """Those of the runs that have one."""
    found = [score for row in rows if (score := row.score(measure)) is not None]
    return np.asarray(found, dtype=np.float64)


def _cell(key: tuple[str, str], rows: Sequence[Row], measure: Measure, generator: np.random.Generator) -> Cell:
    scores = _scores(rows, measure)
    found = {name: estimate([scores], statistic, generator) for name, statistic in OF_ONE.items()}
    return Cell(*key, measure, len(scores), len(rows), scores.tolist(), found)


def _improvement(
    x: str, y: str, datasets: Sequence[str], returns: dict[tuple[str, str], Array], generator: np.random.Generator
) -> Estimate:
    """Of X over Y, on the datasets on which both have runs."""
    both = [dataset for dataset in datasets if len(returns[dataset, x]) and len(returns[dataset, y])]
    pairs = [returns[dataset, algorithm] for algorithm in (x, y) for dataset in both]
    return {**estimate(pairs, improvement, generator), "datasets": len(both)}


def _mirrored(found: Estimate) -> Estimate:
    """P(Y > X) = 1 - P(X > Y), with ties counted half."""
    value, interval = found["value"], found["interval"]
    return {
        **found,
        "value": None if value is None else 1.0 - value,
        "interval": None if interval is None else (1.0 - interval[1], 1.0 - interval[0]),
    }
