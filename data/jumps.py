"""Jumps within episodes: pairs of consecutive observations that are no step of the task.

They are where the end of an episode was not marked. A step ties positions and velocities together, and a reset does
not: so a pair of observations is measured by its Mahalanobis distance from all pairs, which sees a reset even where
every number of it changes no more than in a step. Symbols: N pairs, S numbers of an observation.
"""

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
rare; resets of the hopper, the walkers and the door at least 8; those of the cheetah from 2 on, so not all are seen.
"""
MOST_FITTED = 50_000
"""Pairs that the covariance is of, evenly spread, at most."""
BLOCKS = 8
"""Squares on each side that an image is averaged over."""
GREYS = BLOCKS * BLOCKS
"""Numbers of such an image; of as many, only the changes are looked at: whole shades tie no two of them together."""


def vectors_of(episode: Episode) -> NDArray[np.float32] | None:
    """What an episode's rows are compared by, (T+1, S): its vectors, else its physics, else images in coarse greys."""
    if episode.state is not None or episode.physics is not None:
        return np.asarray(episode.physics if episode.state is None else episode.state, np.float32)
    if episode.image is None:
        return None
    return coarse(episode.image)


def coarse(observation: NDArray[Any]) -> NDArray[np.float32]:
    """Vectors (N, S) as they are; images (N, H, W, 3) as means of grey over blocks, at most 64 numbers each."""
    if observation.ndim != 4:
        return observation.reshape(len(observation), -1).astype(np.float32)
    rows, height, width = observation.shape[:3]
    high, wide = min(BLOCKS, height), min(BLOCKS, width)
    grey = observation[:, : height - height % high, : width - width % wide].mean(axis=-1, dtype=np.float32)
    return grey.reshape(rows, high, height // high, wide, width // wide).mean(axis=(2, 4)).reshape(rows, -1)


def jumps(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which pairs of consecutive observations, (N, S) each, are no steps, (N,)."""
    if not len(before):
        return np.zeros(0, bool)
    distance, _ = _distances(before, after, before[:0], after[:0])
    usual, rare = np.quantile(distance, (USUAL, RARE))
    found: NDArray[np.bool_] = distance > max(BEYOND_USUAL * usual, min(BEYOND_RARE * rare, MOST * usual))
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
    if not len(before):
        return np.zeros(len(asked_before), bool)
    distance, asked = _distances(before, after, asked_before, asked_after)
    beyond: NDArray[np.bool_] = asked > (1.0 + ROUNDING) * np.quantile(distance, USUAL)
    return beyond


def _distances(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    asked_before: NDArray[np.float32],
    asked_after: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances of pairs from themselves, (N,), and of other pairs from those, (K,)."""
    pairs = np.concatenate([before, after], axis=1, dtype=np.float64)
    asked = np.concatenate([asked_before, asked_after], axis=1, dtype=np.float64)
    floor = FLOOR * np.ptp(pairs, axis=0)
    size = before.shape[1]
    few = size == GREYS or len(pairs) < LEAST * pairs.shape[1]
    if few:
        pairs, asked, floor = pairs[:, size:] - pairs[:, :size], asked[:, size:] - asked[:, :size], floor[:size]
    fitted = pairs[:: -(-len(pairs) // MOST_FITTED)]
    kept = np.ones(len(fitted), bool)
    for _ in range(ROUNDS):
        mean, scale = fitted[kept].mean(axis=0), np.maximum(fitted[kept].std(axis=0), floor)
        scale[scale == 0.0] = 1.0
        whole = np.identity(len(scale)) if few else np.cov((fitted[kept] - mean).T / scale[:, None])
        root = np.linalg.cholesky(whole + RIDGE * np.identity(len(scale)))
        distance = _mahalanobis(fitted, mean, scale, root)
        kept = distance <= np.quantile(distance, TRIMMED)
    return _mahalanobis(pairs, mean, scale, root), _mahalanobis(asked, mean, scale, root)


def _mahalanobis(
    values: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64], root: NDArray[np.float64]
) -> NDArray[np.float64]:
    distance: NDArray[np.float64] = np.sqrt(np.square(np.linalg.solve(root, ((values - mean) / scale).T)).mean(axis=0))
    return distance
