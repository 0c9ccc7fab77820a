"""The statistics of comparisons against closed forms and against scipy."""

import itertools

import numpy as np
import pytest
import scipy.stats

from latent_combo.comparison.statistics import (
    bootstrap,
    estimate,
    improvement,
    interquartile_mean,
    mean_of_datasets,
    median_of_datasets,
    median_of_runs,
)

GENERATOR = np.random.default_rng(7)


def drawn(*sizes: int) -> list[np.ndarray]:
    return [GENERATOR.normal(size=size) for size in sizes]


@pytest.mark.parametrize("sizes", [(4,), (8,), (4, 4), (5, 3, 4)])
def test_the_iqm_is_scipys_trimmed_mean_where_four_divides_the_runs(sizes: tuple[int, ...]) -> None:
    scores = drawn(*sizes)
    assert interquartile_mean(scores) == pytest.approx(scipy.stats.trim_mean(np.concatenate(scores), 0.25))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([5.0], 5.0),
        ([1.0, 3.0], 2.0),
        ([0.0, 1.0, 10.0], (0.25 * 0 + 1 + 0.25 * 10) / 1.5),
        ([10.0, 0.0, 1.0], (0.25 * 0 + 1 + 0.25 * 10) / 1.5),  # in any order
        ([0.0, 1.0, 2.0, 10.0, 1000.0], (0.75 * 1 + 2 + 0.75 * 10) / 2.5),
        ([-1000.0, 0.0, 1.0, 2.0, 4.0, 1000.0], (0.5 * 0 + 1 + 2 + 0.5 * 4) / 3),
    ],
)
def test_the_iqm_counts_outer_runs_by_a_fraction_where_four_does_not_divide(
    scores: list[float], expected: float
) -> None:
    assert interquartile_mean([np.asarray(scores)]) == pytest.approx(expected)


def test_means_and_medians_over_datasets_count_every_dataset_alike() -> None:
    scores = [np.array([0.0, 0.0, 0.0, 3.0]), np.array([10.0]), np.array([4.0, 6.0])]
    assert mean_of_datasets(scores) == pytest.approx((0.75 + 10.0 + 5.0) / 3)
    assert median_of_datasets(scores) == 5.0
    assert median_of_runs(scores) == 3.0


def test_the_interval_of_three_runs_is_that_of_all_27_draws() -> None:
    """Each of the 27 equally likely draws; the mean's quantiles are at the smallest and largest, of 1/27 each."""
    scores = np.array([1.0, 2.0, 30.0])
    means = sorted(np.mean(draw) for draw in itertools.product(scores, repeat=3))
    assert means.count(1.0) == 1 and 1 / 27 > 0.025
    assert bootstrap([scores], mean_of_datasets, np.random.default_rng(0)) == (1.0, 30.0)
    half = bootstrap([scores], mean_of_datasets, np.random.default_rng(0), level=0.5)
    assert half == (pytest.approx(means[6]), pytest.approx(means[20]))  # 0.25 and 0.75 of 27 are within these two


def test_the_interval_of_one_stratum_is_scipys() -> None:
    (scores,) = drawn(20)
    own = bootstrap([scores], mean_of_datasets, np.random.default_rng(0), resamples=40_000)
    scipys = scipy.stats.bootstrap(
        (scores,), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert own == pytest.approx(tuple(scipys), abs=0.015)  # the intervals are about 0.85 wide


def test_strata_are_drawn_within_themselves_and_draws_are_seeded() -> None:
    apart = [np.full(3, 0.0), np.full(5, 100.0)]  # whose spread between datasets is no spread of runs
    assert bootstrap(apart, mean_of_datasets, np.random.default_rng(0)) == (50.0, 50.0)
    scores = drawn(6, 6)
    both = [bootstrap(scores, interquartile_mean, np.random.default_rng(3)) for _ in range(2)]
    assert both[0] == both[1]
    sd = np.sqrt(sum(of.var() / len(of) for of in scores)) / 2  # of the mean over two datasets, by draws
    low, high = bootstrap(scores, mean_of_datasets, np.random.default_rng(3), resamples=40_000) or (0.0, 0.0)
    assert high - low == pytest.approx(2 * 1.96 * sd, rel=0.03)


def test_single_runs_have_no_interval_and_no_runs_no_value() -> None:
    generator = np.random.default_rng(0)
    assert estimate([np.array([2.0])], mean_of_datasets, generator) == {"value": 2.0, "interval": None}
    assert bootstrap([np.array([1.0, 2.0]), np.array([2.0])], mean_of_datasets, generator) is None
    for nothing in ([], [np.array([])], [np.array([1.0, 2.0]), np.array([])]):
        assert estimate(nothing, mean_of_datasets, generator) == {"value": None, "interval": None}


def test_the_probability_of_improvement_is_that_of_mann_and_whitney() -> None:
    x, y = np.array([1.0, 2.0, 2.0, 7.0]), np.array([2.0, 0.0, 3.0])
    u = scipy.stats.mannwhitneyu(x, y).statistic
    assert improvement([x, y]) == pytest.approx(u / (len(x) * len(y)))
    assert improvement([x, y]) == (6 + 0.5 * 2) / 12
    x2, y2 = drawn(5, 6)
    u2 = scipy.stats.mannwhitneyu(x2, y2).statistic
    assert improvement([x, x2, y, y2]) == pytest.approx((u / 12 + u2 / 30) / 2)  # the mean over datasets
    assert improvement([y, y2, x, x2]) == pytest.approx(1 - improvement([x, x2, y, y2]))
    ones = [np.array([5.0, 6.0]), np.array([1.0, 2.0])]
    assert bootstrap(ones, improvement, np.random.default_rng(0)) == (1.0, 1.0)
