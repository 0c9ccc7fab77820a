"""What was perhaps meant by a name that there is not."""

import difflib
from collections.abc import Iterable

CLOSE = 0.6
"""Likeness, in [0, 1], from which on a name is worth a question."""


def did_you_mean(name: str, known: Iterable[str], close: float = CLOSE) -> str:
    """`; did you mean NAME?` with the known name that is nearest, or nothing where none is near."""
    nearest = difflib.get_close_matches(name, list(known), 1, close)
    return f"; did you mean {nearest[0]}?" if nearest else ""
