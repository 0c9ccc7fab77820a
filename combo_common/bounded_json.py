"""JSON whose size and number of values are looked at before anything is made of it: a value takes up to 72 bytes."""

import json
import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 25
"""Of a file: that of a dataset has some 100 for each episode."""
MOST_VALUES = 1_000_000
"""Commas and brackets, of which a file has one for each value at least."""


def read_json(path: Path) -> Any:
    """What a file says. Raises OSError, and ValueError for one that is no JSON, too large, or nested too deep."""
    return parse_json(read_bounded(path, MOST_BYTES))


def parse_json(content: bytes | str) -> Any:
    """The same of its content."""
    marks: tuple[Any, ...] = (b",", b"[", b"{") if isinstance(content, bytes) else (",", "[", "{")
    if len(content) > MOST_BYTES or sum(content.count(mark) for mark in marks) > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES} values or {MOST_BYTES} bytes")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def read_bounded(path: Path, most: int) -> bytes:
    """A whole file of at most that many bytes. Raises OSError, and ValueError for a larger one, and for a pipe."""
    if not stat.S_ISREG(path.stat().st_mode):  # whoever opens a pipe waits for what it may never say
        raise ValueError("it is no file")
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most} bytes")
    return content
