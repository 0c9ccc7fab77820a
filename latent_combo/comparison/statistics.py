"""What the scores of a few runs say, and how surely: means over runs and datasets, with intervals by the bootstrap.

The measures are those that Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", recommend. A stratum is a dataset: runs are drawn anew within each.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Statistic = Callable[[Sequence[Array]], Array]
"""Scores of D datasets, (..., N_d) each, to one figure (...)."""
Interval = tuple[float, float]
RESAMPLES = 10_000
LEVEL = 0.95
LEAST_RUNS = 2
"""Runs of each dataset that an interval takes."""


def mean_of_datasets(scores: Sequence[Array]) -> Array:
    """The mean over datasets of the mean over runs: every dataset counts alike."""
    means: Array = np.mean([of.mean(-1) for of in scores], axis=0)
    return means


def median_of_datasets(scores: Sequence[Array]) -> Array:
    """The median over datasets of the mean over runs (the "median" of Agarwal et al.)."""
    medians: Array = np.median([of.mean(-1) for of in scores], axis=0)
    return medians


def median_of_runs(scores: Sequence[Array]) -> Array:
    """The median over all runs of all datasets."""
    return np.median(np.concatenate(scores, -1), axis=-1)


def interquartile_mean(scores: Sequence[Array]) -> Array:
    """The mean of the middle half of all runs of all datasets.

    Of N runs in order, the i-th takes up [i, i + 1] of [0, N], and counts by its part of [N/4, 3N/4]: where 4 does not
    divide N, the outer ones count by a fraction.
    """
    pooled = np.sort(np.concatenate(scores, -1), axis=-1)
    number = pooled.shape[-1]
    edges = np.clip(np.arange(number + 1), number / 4, 3 * number / 4)
    return pooled @ np.diff(edges) / (number / 2)  # type: ignore[no-any-return]


def improvement(pairs: Sequence[Array]) -> Array:
    """How probably a run of X is better than one of Y: the mean over datasets of P(X > Y) + P(X = Y) / 2.

    `pairs` are the scores of X on D datasets, then those of Y on the same.
    """
    half = len(pairs) // 2
    better = [
        (np.sign(x[..., :, None] - y[..., None, :]) + 1.0).mean((-2, -1)) / 2.0
        for x, y in zip(pairs[:half], pairs[half:], strict=True)
    ]
    return np.mean(better, axis=0)  # type: ignore[no-any-return]


def bootstrap(
    scores: Sequence[Array],
    statistic: Statistic,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval | None:
    """The percentile interval of a statistic by the stratified bootstrap; scores are (N_d,) of each stratum.

    None where a stratum has a single run, whose spread nobody knows. Of few runs it is too narrow: of three it is
    from the worst to the best, and three symmetric scores lie on both sides of their mean in 75% of all cases; of six
    normal ones some 85% of the intervals hold the mean, of ten 90%.
    """
    if not scores or any(len(of) < LEAST_RUNS for of in scores):
        return None
    drawn = [of[generator.integers(len(of), size=(resamples, len(of)))] for of in scores]
    low, high = np.quantile(statistic(drawn), [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def estimate(
    scores: Sequence[Array], statistic: Statistic, generator: np.random.Generator, **options: Any
) -> dict[str, Any]:
    """A statistic as `value` and its `interval`, both None without any score."""
    if not scores or any(len(of) == 0 for of in scores):
        return {"value": None, "interval": None}
    return {"value": float(statistic(scores)), "interval": bootstrap(scores, statistic, generator, **options)}
