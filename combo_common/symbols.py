"""Symbols that not every console can show."""

import sys
from typing import TextIO


def plus_minus(stream: TextIO | None = None) -> str:
    """± where the encoding of the stream, or else of standard output, has it; +- elsewhere."""
    # a stream of text in memory has no encoding, and takes all; so does a program that was started without an output
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    try:
        "±".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return "+-"
    return "±"
