"""Whether two ways lead to the same episodes."""

import numpy as np

from data.episode import Episode


def assert_same(ours: list[Episode], theirs: list[Episode], *left_out: str) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        kept = {key: array for key, array in other.columns().items() if key not in left_out}
        assert set(one.columns()) == set(kept)
        for key, array in kept.items():
            assert one.columns()[key].dtype == array.dtype
            np.testing.assert_array_equal(one.columns()[key], array)
