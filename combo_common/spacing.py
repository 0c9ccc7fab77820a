"""Some of many, evenly spread."""

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(count: int, wanted: int) -> NDArray[np.int64]:
    """`wanted` indices below `count`, evenly spaced from the first to the last; some repeat where there are fewer."""
    return np.linspace(0, count - 1, wanted).round().astype(np.int64)
