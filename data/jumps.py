"""Jumps within episodes: pairs of consecutive observations that are no step of the task.

They are where the end of an episode was not marked. A step ties positions and velocities together, and a reset does
not: so a pair of observations is measured by its Mahalanobis distance from all pairs, which sees a reset even where
every number of it changes no more than in a step. Symbols: N pairs, S numbers of an observation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.episode import Episode

TRIMMED = 0.95
"""Share of the pairs that their mean and covariance are of: jumps are not among them."""
ROUNDING = 1e-6
"""Share by which distances of the same pairs may differ."""
ROUNDS = 3
"""How often that is done over."""
RIDGE = 1e-6
"""Added to the variance of every number, in units of its own."""
FLOOR = 0.01
"""Share of its range that a number's standard deviation is at least: what seldom moves is no jump when it does."""
LEAST = 8
"""Pairs for each number of a pair, below which a covariance says nothing, and only the changes are looked at."""
USUAL, RARE = 0.9, 0.99
"""Quantiles of the distances that a jump is held against."""
BEYOND_USUAL, BEYOND_RARE, MOST = 5.0, 4.0, 15.0
"""A jump is this many times the usual distance and the rare one, or MOST times the usual.

Steps of the bundled recordings, the cheetah, the ant and the door are at most 10.8 times the usual and 2.8 times the
rare; resets of the hopper, the walkers and the door at least 12; those of the cheetah from 2 on, so not all are seen.
"""
LARGEST = 1e30
"""Beyond which numbers are not told apart: their squares could not be."""
MOST_FITTED = 50_000
"""Pairs that the covariance is of, evenly spread, at most."""
IMAGE_AXES = 4
"""Of images (T, H, W, 3); vectors (T, S) have two."""
BLOCKS = 8
"""Squares on each side that an image is averaged over."""
GREYS = BLOCKS * BLOCKS
"""Numbers of such an image; of as many, only the changes are looked at: whole shades tie no two of them together."""


def vectors_of(episode: Episode) -> NDArray[np.float32] | None:
    """What an episode's rows are compared by, (T+1, S): its vectors, else its physics, else images in coarse greys."""
    seen = next((each for each in (episode.state, episode.physics, episode.image) if each is not None), None)
    return None if seen is None else coarse(seen)


def coarse(observation: NDArray[Any]) -> NDArray[np.float32]:
    """Vectors (N, S) as they are; images (N, H, W, 3) as means of grey over blocks, at most 64 numbers each."""
    if observation.ndim != IMAGE_AXES:
        numbers = observation.reshape(len(observation), int(np.prod(observation.shape[1:])))
        vectors: NDArray[np.float32] = np.clip(numbers, -LARGEST, LARGEST).astype(np.float32)
        return vectors
    rows, height, width = observation.shape[:3]
    high, wide = min(BLOCKS, height), min(BLOCKS, width)
    grey = observation[:, : height - height % high, : width - width % wide].mean(axis=-1, dtype=np.float32)
    means: NDArray[np.float32] = grey.reshape(rows, high, height // high, wide, width // wide).mean(axis=(2, 4))
    return means.reshape(rows, high * wide)


@dataclass(frozen=True)
class Steps:
    """What pairs of consecutive observations have in common, robustly."""

    changes_only: bool
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    root: NDArray[Any]
    """Of the covariance, in units of `scale`: its Cholesky factor."""
    distances: NDArray[np.float64]
    """Of the pairs that it was fitted to."""

    @classmethod
    def of(cls, before: NDArray[np.float32], after: NDArray[np.float32]) -> "Steps":
        """Fit them to pairs (N, S) each, of which there is one at least."""
        some = slice(None, None, -(-len(before) // MOST_FITTED))
        size = before.shape[1]
        changes_only = size == GREYS or len(before) < 2 * LEAST * size
        values = _values(before[some], after[some], changes_only)
        floor = FLOOR * np.ptp(before[some].astype(np.float64), axis=0)
        floor = floor if changes_only else np.tile(floor, 2)
        kept = np.ones(len(values), bool)
        for _ in range(ROUNDS):
            mean, scale = values[kept].mean(axis=0), np.maximum(values[kept].std(axis=0), floor)
            scale[scale == 0.0] = 1.0
            units = (values[kept] - mean) / scale
            whole = np.identity(len(scale)) if changes_only else np.cov(units.T)
            root = np.linalg.cholesky(whole + RIDGE * np.identity(len(scale)))
            fitted = cls(changes_only, mean, scale, root, _mahalanobis(values, mean, scale, root))
            kept = fitted.distances <= np.quantile(fitted.distances, TRIMMED)
        return fitted

    def distance(self, before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float64]:
        """The distances of pairs (K, S) from these, (K,)."""
        blocks = [slice(start, start + MOST_FITTED) for start in range(0, len(before), MOST_FITTED)]
        parts = [_values(before[block], after[block], self.changes_only) for block in blocks]
        return np.concatenate([_mahalanobis(part, self.mean, self.scale, self.root) for part in parts])


def jumps(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which pairs of consecutive observations, (N, S) each, are no steps, (N,)."""
    if not len(before):
        return np.zeros(0, bool)
    steps = Steps.of(before, after)
    usual, rare = np.quantile(steps.distances, (USUAL, RARE))
    usual = max(usual, 1.0)  # where hardly anything moves, moving is no jump
    found: NDArray[np.bool_] = steps.distance(before, after) > max(
        BEYOND_USUAL * usual, min(BEYOND_RARE * rare, MOST * usual)
    )
    return found


def unusual(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    asked_before: NDArray[np.float32],
    asked_after: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Which pairs (K, S) are further off than nine in ten of the steps (N, S), (K,): a weak sign beside another.

    Where there are no steps, none is.
    """
    if not len(before) or not len(asked_before):
        return np.zeros(len(asked_before), bool)
    steps = Steps.of(before, after)
    beyond: NDArray[np.bool_] = steps.distance(asked_before, asked_after) > (1.0 + ROUNDING) * np.quantile(
        steps.distances, USUAL
    )
    return beyond


def _values(before: NDArray[np.float32], after: NDArray[np.float32], changes_only: bool) -> NDArray[np.float64]:
    """What of pairs is looked at."""
    one, other = before.astype(np.float64), after.astype(np.float64)
    return other - one if changes_only else np.concatenate([one, other], axis=1)


def _mahalanobis(
    values: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64], root: NDArray[Any]
) -> NDArray[np.float64]:
    distance: NDArray[np.float64] = np.sqrt(np.square(np.linalg.solve(root, ((values - mean) / scale).T)).mean(axis=0))
    return distance
