"""Checks of the values in a config: a bad one is refused by name before anything runs.

A group of settings raises ValueError with a line that begins with the name of one of its fields. What composes groups
knows how they are called, and has the names whole by `with_group`.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from combo_common.suggest import did_you_mean, nearest


@cache
def choices(hint: Any) -> tuple[str, ...]:
    """The words that a type allows, which has a Literal in it; none of any other type."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return next((known for part in get_args(hint) if (known := choices(part))), ())


def with_group(line: str, group: str, fields: Iterable[str]) -> str:
    """What a group of settings says is wrong, with whole names: `batch is 0` of group `agent` is `agent.batch is 0`.

    The line's first word is a field, and so is every other word with an underscore that is the name of one; what has a
    dot is whole already.
    """
    known = set(fields)

    def whole(word: "re.Match[str]") -> str:
        own = word[0] in known and (word.start() == 0 or "_" in word[0])
        return f"{group}.{word[0]}" if own else word[0]

    return re.sub(r"(?<![\w.])[A-Za-z]\w*(?!\w|\.\w)", whole, line) if group else line


def require_choices(config: object) -> None:
    """Raise ValueError naming the first field whose type has a Literal, and whose value is none of its words."""
    for name, hint in get_type_hints(type(config)).items():
        known, value = choices(hint), getattr(config, name)
        for word in value if isinstance(value, list) else [value]:
            if known and word not in known:
                meant = did_you_mean(nearest(str(word), known))
                raise ValueError(f"{name} is {word!r}; it is one of {', '.join(known)}{meant}")


def require_positive(config: object, *names: str) -> None:
    """Raise ValueError naming the first of the fields that is not more than 0."""
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ValueError(f"{name} is {value}; it is more than 0")


def require_at_most(config: object, most: int, *names: str) -> None:
    """Raise ValueError naming the first of the fields that is more, or lists more: each takes a network or a layer."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, (list, tuple)):
            if len(value) > most:
                raise ValueError(f"{name} lists {len(value)} values; {most} are the most")
        elif value > most:
            raise ValueError(f"{name} is {value}; it is at most {most}")


def require_not_negative(config: object, *names: str) -> None:
    """Raise ValueError naming the first of the fields that is below 0."""
    for name in names:
        value = getattr(config, name)
        if not value >= 0:
            raise ValueError(f"{name} is {value}; it is 0 or more")


def require_share(config: object, *names: str) -> None:
    """Raise ValueError naming the first of the fields that lies outside of [0, 1]."""
    for name in names:
        value = getattr(config, name)
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name} is {value}; it lies in [0, 1]")
