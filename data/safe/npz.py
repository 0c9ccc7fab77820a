"""Numpy's npz files, read without trusting them.

`numpy.load` unpickles on request, evaluates the headers of arrays, and unpacks whatever a file says it holds. Here a
file is refused by its directory and the arrays' headers, before anything of size is unpacked: objects, sizes that
do not fit, archives that unpack to far more than they weigh.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from combo_common.reason import reason

MAX_ARRAYS_BYTES = 1 << 31
"""Bytes that the arrays of one file may have in all."""
RATIO = 250
"""How many times its own size a file, or an array in it, may unpack to: frames of a simulator are some 5 to 50."""
CHUNK_BYTES = 1 << 20
"""Bytes that are unpacked at once."""
UNCHECKED_BYTES = 1 << 20
"""Bytes up to which that is not asked: columns of zeros unpack a thousandfold."""
MOST_DIRECTORY = 1 << 16
"""Bytes of the list of arrays; an episode has ten of them, not a thousand."""
MOST_HEADER = 4096
MOST_KEY = 100

HEADER = re.compile(
    rb"\{'descr': '([<>|=]?)([a-zA-Z])(\d*)', 'fortran_order': (True|False), 'shape': \(([\d, ]{0,200})\), *\} *\n?"
)
"""As numpy writes the header of an array."""


@dataclass(frozen=True)
class Header:
    """What an array says of itself."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int
    """Bytes before the numbers."""

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return prod(self.shape) * self.dtype.itemsize


class Npz:
    """An open npz file whose directory and headers are sound; `headers` has the arrays of numbers, by key."""

    def __init__(self, where: str, archive: zipfile.ZipFile, size: int) -> None:
        self.where, self._archive = where, archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.headers: dict[str, Header] = {}
        total = 0
        for info in archive.infolist():
            key = info.filename.removesuffix(".npy")
            named = key != info.filename and len(key) <= MOST_KEY and key.isprintable()
            if not named or key in self._members or "/" in key or "\\" in key:
                raise _refused(where, f"holds {info.filename[:MOST_KEY]!r}, which is no array or is there twice")
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _refused(where, f"packs `{key}` in a way that numpy does not write")
            total += info.file_size
            if info.file_size > max(UNCHECKED_BYTES, RATIO * info.compress_size):
                raise _refused(where, f"would unpack `{key}` from {info.compress_size} bytes to {info.file_size}")
            self._members[key] = info
        if total > MAX_ARRAYS_BYTES or total > max(UNCHECKED_BYTES * len(self._members), RATIO * size):
            raise _refused(where, f"would unpack from {size} bytes to {total}")
        for key, info in self._members.items():
            header = self._header(key, info)
            if header is not None:
                self.headers[key] = header

    def _header(self, key: str, info: zipfile.ZipInfo) -> Header | None:
        """An array's header; None for an array of text, which no one here reads."""
        with self._archive.open(info) as member:
            magic = member.read(8)
            if len(magic) < 8 or magic[:6] != b"\x93NUMPY" or magic[6] not in (1, 2, 3):
                raise _refused(self.where, f"holds no array under `{key}`")
            wide = 2 if magic[6] == 1 else 4
            length = int.from_bytes(member.read(wide), "little")
            if length > MOST_HEADER:
                raise _refused(self.where, f"has a header of {length} bytes under `{key}`")
            written = member.read(length)
        found = HEADER.fullmatch(written)
        if found is None:
            raise _refused(self.where, f"holds under `{key}` no array of numbers of one kind")
        order, kind, width, fortran, shape = (part.decode() for part in found.groups())
        if kind in "US":
            return None
        if kind not in "biuf":
            raise _refused(self.where, f"holds objects under `{key}`; they are not read, for reading them can run code")
        try:
            sizes = tuple(int(part) for part in shape.split(",") if part.strip())
            header = Header(np.dtype(f"{order}{kind}{width}"), sizes, fortran == "True", 8 + wide + length)
        except (TypeError, ValueError) as error:
            raise _refused(self.where, f"has an unknown type or shape under `{key}`") from error
        if header.offset + header.nbytes != info.file_size:
            raise _refused(
                self.where,
                f"says `{key}` has shape {sizes}, {header.nbytes} bytes, but holds {info.file_size - header.offset}",
            )
        return header

    def read(self, key: str) -> NDArray[Any]:
        """Unpack an array. Raises UserError where its bytes are damaged."""
        header = self.headers[key]
        content = np.empty(header.nbytes, np.uint8)
        with self._archive.open(self._members[key]) as member:
            member.read(header.offset)
            at = 0
            while chunk := member.read(min(CHUNK_BYTES, header.nbytes - at)):
                content[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
                at += len(chunk)
            member.read(1)  # at its end the checksum is compared
        if at != header.nbytes:
            raise _refused(self.where, f"ends within `{key}`")
        numbers = content.view(header.dtype)
        array: NDArray[Any] = numbers.reshape(header.shape, order="F" if header.fortran else "C")
        return array


@contextmanager
def open_npz(source: Path | bytes, where: str) -> Iterator[Npz]:
    """Open a file, or its bytes, named `where` in errors. Raises UserError for one that is damaged or hostile.

    What goes wrong while it is open is told in the same way.
    """
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            size = _check_directory(file, where)
            with zipfile.ZipFile(file) as archive:
                yield Npz(where, archive, size)
    except FileNotFoundError as error:
        raise UserError(f"{where} is not there; restore it or make the dataset again") from error
    except (OSError, EOFError, ValueError, RuntimeError, struct.error) as error:
        raise _refused(where, f"cannot be read as an npz file ({reason(error)})") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise _refused(where, f"is no npz file, or a damaged one ({reason(error)})") from error


def read_npz(source: Path | bytes, where: str, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
    """The arrays of `wanted` keys that there are. Raises UserError for a file that is damaged or hostile."""
    with open_npz(source, where) as npz:
        return {key: npz.read(key) for key in npz.headers if key in wanted}


def _check_directory(file: Any, where: str) -> int:
    """The size of a file. Raises UserError where its list of arrays is too long to be looked at."""
    size: int = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 22 - 20))
    tail: bytes = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end != 22:
        raise _refused(where, "is no npz file, or was cut short")
    directory = int.from_bytes(tail[end + 12 : end + 16], "little")
    if directory > MOST_DIRECTORY or b"PK\x06\x07" in tail[:end]:
        raise _refused(where, f"lists arrays over {directory} bytes")
    file.seek(0)
    return size


def _refused(where: str, reason: str) -> UserError:
    return UserError(f"{where} {reason}; it is not read: restore it or make the dataset again")
