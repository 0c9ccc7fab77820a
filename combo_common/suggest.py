"""What was perhaps meant by a name that there is not."""

import difflib
from collections.abc import Iterable

MIN_LIKENESS = 0.6
"""Likeness, in [0, 1], from which on a name is worth a question."""


def alike(name: str, known: Iterable[str], count: int, close: float = MIN_LIKENESS) -> list[str]:
    """The known names that are most like a name, at most `count`, the likest first; capitals are as good as small."""
    names = list(known)
    small = {one.lower(): one for one in reversed(names)}  # of those that differ in capitals alone, the first
    found = difflib.get_close_matches(name, names, count, close)
    return found or [small[one] for one in difflib.get_close_matches(name.lower(), small, count, close)]


def nearest(name: str, known: Iterable[str], close: float = MIN_LIKENESS) -> str | None:
    """The known name that is most like a name, or None where none is near."""
    return next(iter(alike(name, known, 1, close)), None)


def nearest_by_last_word(name: str, known: Iterable[str], separator: str, close: float = MIN_LIKENESS) -> str | None:
    """The same among names of several words; where none is near as a whole, the one whose last word is."""
    names = list(known)
    if whole := nearest(name, names, close):
        return whole
    last = {one.rpartition(separator)[2]: one for one in reversed(names)}  # of several, the first
    word = nearest(name.rpartition(separator)[2], last, close)
    return None if word is None else last[word]


def did_you_mean(name: str | None) -> str:
    """The end of a sentence: `; did you mean NAME?`, or nothing."""
    return f"; did you mean {name}?" if name else ""
