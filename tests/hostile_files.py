"""Parts of files made by hand to deceive, and what is asked of whoever refuses them."""

import hashlib
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from combo_common.errors import UserError
from data.formats.native import Dataset

SECONDS, MEMORY = 1.0, 100e6
"""Of this process, and bytes, that a refusal may take."""
BOMB = 1 << 28
"""Bytes that a bomb unpacks to."""
Columns = dict[str, Any]


def refused(read: Callable[[], Any], path: Path, reason: str) -> None:
    """Check that a reader refuses a file for a reason, in one line that names it, quickly and with little memory."""
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(UserError, match=reason) as error:
            read()
        taken, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in str(error.value) and str(error.value).isprintable()
    assert taken < SECONDS, f"{taken:.1f} s"
    assert peak < MEMORY, f"{peak / 1e6:.0f} MB"


def change(key: str, how: Callable[[Any], Any]) -> Callable[[Columns], None]:
    def apply(content: Columns) -> None:
        content[key] = how(content[key])

    return apply


def put(key: str, index: Any, value: float) -> Callable[[Columns], None]:
    def apply(content: Columns) -> None:
        content[key][index] = value

    return apply


def lack(*keys: str) -> Callable[[Columns], None]:
    def apply(content: Columns) -> None:
        for key in keys:
            del content[key]

    return apply


def npy(descr: str, shape: str, numbers: bytes = b"", more: str = "") -> bytes:
    """An array with any header."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, {more}}}\n".encode()
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + numbers


def agreeing(folder: Path, content: bytes) -> Dataset:
    """A dataset of one file, this one, whose checksum is in the manifest."""
    dataset = Dataset(folder)
    (name,) = dataset.manifest.files
    (folder / name).write_bytes(content)
    dataset.manifest.files[name] = hashlib.sha256(content).hexdigest()
    return dataset


def deflated(*contents: bytes) -> bytes:
    """Packed one after another, each by itself."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH) for content in contents) + packer.flush()


def heap_of(content: bytes) -> int:
    """Where texts of variable length lie."""
    at = content.index(b"GCOL\x01")
    assert content.count(b"GCOL\x01") == 1
    return at
