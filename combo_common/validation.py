"""Checks of the values in a config: a bad one is refused by name before anything runs."""

from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints


@cache
def choices(hint: Any) -> tuple[str, ...]:
    """The words that a type allows, which has a Literal in it; none of any other type."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    return next((known for part in get_args(hint) if (known := choices(part))), ())


def require_choices(config: object) -> None:
    """Raise ValueError naming the first field whose type has a Literal, and whose value is none of its words."""
    for name, hint in get_type_hints(type(config)).items():
        known, value = choices(hint), getattr(config, name)
        for word in value if isinstance(value, list) else [value]:
            if known and word not in known:
                raise ValueError(f"{name} is {word!r}; it is one of {', '.join(known)}")


def require_positive(config: object, *names: str) -> None:
    """Raise ValueError naming the first of the fields that is not more than 0."""
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ValueError(f"{name} is {value}; it is more than 0")


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
