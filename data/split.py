"""Which episodes are trained on, and which are held out."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError


class Split(NamedTuple):
    """Numbers of a dataset's episodes, sorted."""

    train: NDArray[np.int64]
    """(E,): those that are trained on."""
    validation: NDArray[np.int64]
    """(E',): those that are not."""


def split_episodes(num: int, validation_fraction: float, seed: int) -> Split:
    """Choose the episodes to train on and those to hold out, sorted; at least one of each where the fraction is not 0.

    Raises UserError when there are too few episodes for that.
    """
    if not 0.0 <= validation_fraction < 1.0:
        raise UserError(f"the validation fraction is {validation_fraction}; choose one in [0, 1)")
    count = max(1, round(num * validation_fraction)) if validation_fraction > 0.0 else 0
    if count >= num:
        raise UserError(f"{num} episodes are too few to train on some and hold out {count}; use a larger dataset")
    order = np.random.default_rng(seed).permutation(num)
    return Split(np.sort(order[count:]), np.sort(order[:count]))
