"""Which numbers of a simulation an episode's start draws: they are part of a recorded state, besides what moves."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

STARTS = 6
"""Episodes whose starts are compared."""
MOST = 1000
"""Numbers beyond which a simulation is not recorded by its physics: a terrain has tens of thousands."""

Numbers = Mapping[str, NDArray[Any]]
"""Arrays of floating-point numbers by their names."""
Drawn = tuple[tuple[str, tuple[int, ...]], ...]
"""Names of arrays, and the places in each (flat) whose numbers differ from start to start."""


def numbers_of_model(model: Any) -> Numbers:
    """All arrays of floating-point numbers of a MuJoCo model, not copied."""
    arrays = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    return {name: array for name, array in arrays.items() if _is_floats(array)}


def numbers_of_object(thing: object) -> Numbers:
    """All attributes of an object that are floating-point numbers or arrays of them; numbers as arrays of one."""
    numbers = {name: np.asarray(value) for name, value in vars(thing).items() if _is_floats(value)}
    singles = {name: np.array([value]) for name, value in vars(thing).items() if isinstance(value, float)}
    return numbers | singles


def drawn_numbers(start: Callable[[int], Numbers]) -> Drawn | None:
    """Which numbers differ among the starts of STARTS episodes, each by its seed; None for more than MOST of them."""
    first = {name: array.copy() for name, array in start(0).items()}
    differ = {name: np.zeros(array.size, bool) for name, array in first.items()}
    for seed in range(1, STARTS):
        now = start(seed)
        for name, array in first.items():
            new = now.get(name)
            if new is None or new.shape != array.shape:
                del differ[name]  # no number of a recorded state, whose size is fixed
                first = {other: kept for other, kept in first.items() if other != name}
                continue
            same = (new == array) | (np.isnan(new) & np.isnan(array))
            differ[name] |= ~same.ravel()
    found = {name: tuple(np.flatnonzero(places).tolist()) for name, places in differ.items() if places.any()}
    return None if sum(map(len, found.values())) > MOST else tuple(found.items())


def _is_floats(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size > 0
