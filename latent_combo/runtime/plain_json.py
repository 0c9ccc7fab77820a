"""Nested plain state as JSON and tensors beside it: it comes back exactly as it was, and nothing in it is code.

Numbers, text, None, lists, tuples and dictionaries are JSON. What JSON has not stands in an object of one key that
begins with "$", and a dictionary with such a key, or with one that is no text, is a list of pairs:

    tensor       {"$tensor": NAME}        its name among the tensors
    inf, nan     {"$float": "7ff0..."}    the number's 8 bytes, in hexadecimal digits
    tuple        {"$tuple": [...]}
    dictionary   {"$dict": [[KEY, VALUE], ...]}
"""

import json
import math
import re
import struct
from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor

from combo_common.bounded_json import MOST_BYTES, MOST_VALUES, parse_json

TENSOR, FLOAT, TUPLE, DICT = "$tensor", "$float", "$tuple", "$dict"
RESERVED = "__metadata__"
"""A name that safetensors keeps for itself."""
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}(/[A-Za-z0-9_.-]{1,200})*")
"""Names of tensors that any reader of safetensors takes."""


def to_json(state: dict[str, Any]) -> tuple[bytes, dict[str, Tensor]]:
    """State as JSON, and its tensors by the names that the JSON has for them: their places, such as fit/model/weight.

    Raises TypeError, naming the place, for what is neither plain nor a tensor; subclasses of numbers and text are none.
    """
    tensors: dict[str, Tensor] = {}

    def name_of(place: str) -> str:
        name = place if PLAIN_NAME.fullmatch(place) and place != RESERVED else f"tensor-{len(tensors)}"
        while name in tensors:
            name += "_"
        return name

    def encoded(value: Any, place: str) -> Any:
        if isinstance(value, Tensor):
            name = name_of(place)
            tensors[name] = value.detach()
            return {TENSOR: name}
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {FLOAT: struct.pack(">d", value).hex()}
        if type(value) in (list, tuple):
            items = [encoded(item, f"{place}/{number}") for number, item in enumerate(value)]
            return items if type(value) is list else {TUPLE: items}
        if isinstance(value, dict):
            if all(type(key) is str and not key.startswith("$") for key in value):
                return {key: encoded(item, f"{place}/{key}" if place else key) for key, item in value.items()}
            return {DICT: [[encoded(k, place), encoded(v, f"{place}/{k}")] for k, v in value.items()]}
        raise TypeError(f"{place or 'the state'} is a {type(value).__name__}, which a checkpoint does not hold")

    content = json.dumps(encoded(state, ""), allow_nan=False).encode()
    if len(content) > MOST_BYTES or sum(content.count(mark) for mark in (b",", b"[", b"{")) > MOST_VALUES:
        raise TypeError(f"the state has more than {MOST_VALUES} values beside its tensors, and would not be read back")
    return content, tensors


def from_json(content: bytes, tensor: Callable[[str], Tensor], skip: Collection[str] = ()) -> dict[str, Any]:
    """What `to_json` was given; `tensor` gives those that it names, and what is at a place in `skip` is None.

    A place is as tensors are named, such as fit/buffer. Raises ValueError, KeyError, TypeError or RecursionError for
    what `to_json` did not write.
    """

    def decoded(value: Any, place: str) -> Any:
        if place in skip:
            return None
        if isinstance(value, list):
            return [decoded(item, f"{place}/{number}") for number, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        kind = next(iter(value), "")
        if not kind.startswith("$"):
            return {key: decoded(item, f"{place}/{key}" if place else key) for key, item in value.items()}
        (item,) = value.values()
        if kind == TENSOR:
            return tensor(item)
        if kind == FLOAT:
            if len(item) != 16:
                raise ValueError("a number is not of 8 bytes")
            (number,) = struct.unpack(">d", bytes.fromhex(item))
            return number
        if kind == TUPLE:
            return tuple(decoded(entry, f"{place}/{number}") for number, entry in enumerate(item))
        if kind == DICT:
            return {decoded(k, place): decoded(v, f"{place}/{k}") for k, v in item}
        raise ValueError(f"{kind} is no kind of value")

    state = decoded(parse_json(content), "")
    if not isinstance(state, dict):
        raise ValueError("it is no dictionary")
    return state
