"""Values of variable length in HDF5 files, looked at in the bytes.

A text, or a picture in JPEG, lies in a collection somewhere in the file, and a dataset holds references to it: its
length, the collection's place, its number there. libhdf5 2.0 goes round for ever in a damaged collection, makes room
for whatever length is said, and dies of types that there are not; so none of that is left to it.
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from combo_common.errors import UserError

RATIO = 1100
"""How many times the size of its file a dataset may refer to, by referring to the same often."""
UNCHECKED_BYTES = 1 << 20
"""Bytes up to which that is not asked."""
MAX_COLLECTION_BYTES = 1 << 28
"""Bytes of a collection."""
START = b"GCOL\x01\0\0\0"
"""How one begins; its size follows, and for each value a number, 0 for what is free, and its size."""
REFERENCE = "<IQI"
"""Length, place and number; a place of 0 is that of nothing."""
Values = dict[int, tuple[int, int]]
"""Place and size of the values in a collection, by number."""


def read_text(path: Path, scalar: h5py.Dataset) -> bytes | None:
    """A text of variable length; None where the scalar is none. Raises UserError for one that is damaged."""
    start = scalar.id.get_offset()
    if h5py.check_string_dtype(scalar.dtype) is None or start is None:
        return None
    with _bytes(path) as content:
        length, place, number = struct.unpack(REFERENCE, content[start : start + 16])
        if not place:
            return b""
        at, size = _collection(path, scalar.file, content, place)[1].get(number, (0, -1))
        if length > size:
            raise UserError(f"{path}: its texts are damaged; fetch or make it again")
        return content[at : at + length]


def check_variable(path: Path, datasets: list[tuple[str, h5py.Dataset]]) -> None:
    """Raise UserError for datasets that are no text or numbers, or refer to what is not there or to the same often."""
    with _bytes(path) as content:
        file = datasets[0][1].file
        collections: dict[int, Values] = {}
        at = content.find(START)
        while at >= 0:
            place = at - file.userblock_size
            end, collections[place] = _collection(path, file, content, place)
            at = content.find(START, end)
        for name, dataset in datasets:
            total = 0
            for start, stop, width in _references(path, name, dataset):
                for length, place, number in struct.iter_unpack(REFERENCE, content[start:stop]):
                    size = collections.get(place, {}).get(number, (0, -1))[1] if place else 0
                    if place and length * width > size:
                        raise UserError(f"{path}: `{name}` refers to what is not there; fetch it again")
                    total += size
            if total > max(UNCHECKED_BYTES, RATIO * len(content)):
                raise UserError(f"{path}: `{name}` would unpack to {total} bytes; fetch it again")


def _references(path: Path, name: str, dataset: h5py.Dataset) -> Iterator[tuple[int, int, int]]:
    """Where in the file a dataset's references start and stop, and the bytes of one element of its values."""
    text, base = h5py.check_string_dtype(dataset.dtype), h5py.check_vlen_dtype(dataset.dtype)
    known = text is not None or (isinstance(base, np.dtype) and base.kind in "fiub")
    if not known or dataset.id.get_type().encode()[3] & 15 > 1:  # neither a sequence nor a text
        raise UserError(f"{path}: `{name}` is of a type that is not read; fetch it again, or leave it out")
    width = base.itemsize if isinstance(base, np.dtype) else 1
    if dataset.chunks is None:
        if (start := dataset.id.get_offset()) is not None:
            yield start, start + 16 * int(dataset.size or 0), width
    elif dataset.id.get_create_plist().get_nfilters():
        raise UserError(f"{path}: `{name}` packs values of variable length; rewrite it without")
    else:
        for index in range(dataset.id.get_num_chunks()):
            chunk = dataset.id.get_chunk_info(index)
            yield chunk.byte_offset, chunk.byte_offset + chunk.size, width


def _collection(path: Path, file: h5py.File, content: mmap.mmap, place: int) -> tuple[int, Values]:
    """Where in the file a collection ends, and what it holds. Raises UserError for a damaged one."""
    at = file.userblock_size + place
    end = at + int.from_bytes(content[at + 8 : at + 16], "little")
    sound = content[at : at + 8] == START and at + 16 <= end <= min(len(content), at + MAX_COLLECTION_BYTES)
    sound = sound and file.id.get_create_plist().get_sizes() == (8, 8)
    at += 16
    values: Values = {}
    while sound and at + 16 <= end:
        number = int.from_bytes(content[at : at + 2], "little")
        size = int.from_bytes(content[at + 8 : at + 16], "little")
        step = 16 + -(-size // 8) * 8 if number else size
        sound = 16 <= step <= end - at
        if number:
            values[number] = at + 16, size
        at += step
    if not sound:
        raise UserError(f"{path}: its texts are damaged; fetch or make it again")
    return end, values


@contextmanager
def _bytes(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content
