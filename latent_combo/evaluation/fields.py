"""Reading JSON into typed dataclasses: what is missing is named, and what is of another type is refused."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

MOST = 1 << 63
"""Beyond it a whole number is none that others than Python have."""


class FieldError(Exception):
    """What is wrong with a mapping, as the end of a sentence about it."""


def read_fields(kind: type, said: Any) -> dict[str, Any]:
    """The arguments of a dataclass that a mapping has; names that it does not know are left out.

    Raises FieldError where it is no mapping, where something without a default is missing, or where a value is not of
    its field's type.
    """
    if not isinstance(said, Mapping):
        raise FieldError(f"has {said!r} where {kind.__name__} was expected")
    known = fields(kind)
    required = [f.name for f in known if f.default is MISSING and f.default_factory is MISSING]
    if lacking := [name for name in required if name not in said]:
        raise FieldError(f"lacks {', '.join(lacking)}")
    given = {f.name: f.type for f in known if f.name in said}
    if wrong := [name for name, expected in given.items() if not fits(said[name], expected)]:
        raise FieldError(f"has {said[wrong[0]]!r} for {wrong[0]}")
    return {name: said[name] for name in given}


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type: a class, a union, or a list or dict of such; whole numbers are floats, too."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin is UnionType:
        return any(fits(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(fits(one, inner[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if kind is None or kind is NoneType:
        return value is None
    if kind in (int, float):
        number = isinstance(value, (int, kind)) and not isinstance(value, bool)
        return number and (isinstance(value, float) or -MOST < value < MOST)
    return isinstance(value, kind)
