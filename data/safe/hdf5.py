"""HDF5 files, read without trusting them.

What a file says of its datasets is looked at before anything is read: a link that leads elsewhere is refused without
being followed, and so are contents that lie outside the file, types that are no numbers, and sizes beyond what is
stored. Before that, another process looks at the file (`hdf5_process`), since libhdf5 crashes on some.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
from PIL import Image

from combo_common.errors import UserError
from combo_common.reason import reason
from data.safe.hdf5_heap import check_variable, read_text
from data.safe.hdf5_process import require_harmless

MAX_DATASET_BYTES = 1 << 34
"""Bytes that one dataset may have."""
MOST_CHUNK = 1 << 28
"""Bytes of a chunk, which is unpacked whole."""
RATIO = 1100
"""How many times its own size a dataset may unpack to: deflate reaches 1032, on columns of zeros."""
UNCHECKED_BYTES = 1 << 20
"""Bytes up to which that is not asked."""
SMALL_CHUNK = 1 << 26
"""Bytes that a chunk may unpack to without being looked into."""
NEVER_WRITTEN = "it was declared and never written: write it, or leave it out of the file"
PACKED = {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
"""Filters of chunks that are known here."""
PACKING = (struct.error, zlib.error, Image.DecompressionBombError)
"""What goes wrong with bytes."""


class Hdf5:
    """An open HDF5 file."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self._file = path, file

    def names(self) -> list[str]:
        """Names at the top, whatever they lead to."""
        return list(self._file.keys())

    def dataset(self, key: str) -> h5py.Dataset | None:
        """A dataset of numbers that lies within the file; None where there is none of that name.

        Raises UserError for what is none, lies or leads outside, or says to be larger than what is stored.
        """
        group: Any = self._file
        parts = key.split("/")
        for depth, part in enumerate(parts, 1):
            name = "/".join(parts[:depth])
            group = self._within(group, part, name)
            if group is None:
                return None
            if not isinstance(group, h5py.Dataset if depth == len(parts) else h5py.Group):
                raise UserError(f"{self.path}: `{name}` is no dataset of this file; copy the data into it")
        dataset: h5py.Dataset = group
        if dataset.dtype.kind not in "fiub":
            raise UserError(f"{self.path}: `{key}` is of type {dataset.dtype}, not numbers; the layout has none such")
        self._check_stored(key, dataset)
        return dataset

    def check(self) -> None:
        """Check all there is, as `dataset` does, but for types. Raises UserError naming the first that is refused.

        Nothing may be in two places: a group could hold itself, or two of a group that holds two of a group.
        """
        groups: list[tuple[str, Any]] = [("", self._file)]
        seen = {h5py.h5o.get_info(self._file["/"].id).addr}
        variable: list[tuple[str, h5py.Dataset]] = []
        while groups:
            prefix, group = groups.pop()
            for part in group:
                name = f"{prefix}{part}"
                found = self._within(group, part, name)
                if found is None:
                    raise UserError(f"{self.path}: `{name}` leads nowhere; fetch or make it again")
                if (place := h5py.h5o.get_info(found.id).addr) in seen:
                    raise UserError(f"{self.path}: `{name}` is in the file twice; copy the data")
                seen.add(place)
                if isinstance(found, h5py.Dataset):
                    self._check_stored(name, found)
                    if found.dtype.hasobject:
                        variable.append((name, found))
                elif isinstance(found, h5py.Group):
                    groups.append((f"{name}/", found))
        if variable:
            check_variable(self.path, variable)

    def _within(self, group: Any, part: str, name: str) -> Any:
        """What a link in a group leads to; None where there is none. Raises UserError where it leads elsewhere."""
        if "/" in part or not part.isprintable():
            raise UserError(f"{self.path}: {name!r:.100} is no name; fetch or make it again")
        link = group.get(part, getlink=True)
        if link is not None and not isinstance(link, h5py.HardLink):
            raise UserError(f"{self.path}: `{name}` is a link out of its place, not followed; copy the data")
        return None if link is None else group[part]

    def _check_stored(self, key: str, dataset: h5py.Dataset) -> None:
        """Raise UserError for contents that lie outside the file, or are said to be larger than they can be."""
        if dataset.is_virtual or dataset.external:
            raise UserError(f"{self.path}: `{key}` is no dataset of this file; copy the data into it")
        size = int(dataset.size or 0) * dataset.dtype.itemsize
        stored = min(int(dataset.id.get_storage_size()), self.path.stat().st_size)
        if size > MAX_DATASET_BYTES or size > max(UNCHECKED_BYTES, RATIO * stored):
            remedy = "fetch it again" if stored or size > MAX_DATASET_BYTES else NEVER_WRITTEN
            raise UserError(f"{self.path}: `{key}` says it has {size} bytes, and {stored} are stored; {remedy}")
        if dataset.chunks:
            self._check_chunks(key, dataset, prod(dataset.chunks) * dataset.dtype.itemsize)
        if size and not stored:
            raise UserError(f"{self.path}: `{key}` says it has {size} bytes, and 0 are stored; {NEVER_WRITTEN}")
        if dataset.chunks and size:
            told = prod(-(-rows // chunk) for rows, chunk in zip(dataset.shape, dataset.chunks, strict=True))
            if told > (written := dataset.id.get_num_chunks()):
                raise UserError(
                    f"{self.path}: `{key}` was written in part, {written} of its {told} chunks; write the rest, or "
                    "make it shorter"
                )

    def _check_chunks(self, key: str, dataset: h5py.Dataset, size: int) -> None:
        """Raise UserError for chunks that are too large, or unpack to more than they are: libhdf5 would go on."""
        if size > MOST_CHUNK:
            raise UserError(f"{self.path}: `{key}` has chunks of {dataset.chunks}, too large to read; rewrite the file")
        plist = dataset.id.get_create_plist()
        filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
        if not set(filters) <= PACKED or filters.count(h5py.h5z.FILTER_DEFLATE) > 1:
            raise UserError(f"{self.path}: `{key}` is packed by filters {filters}; rewrite the file with gzip alone")
        packed = h5py.h5z.FILTER_DEFLATE in filters or h5py.h5z.FILTER_LZF in filters
        for number in range(dataset.id.get_num_chunks() if packed else 0):
            chunk = dataset.id.get_chunk_info(number)
            if chunk.size * RATIO <= SMALL_CHUNK:
                continue  # whatever it holds is small
            if h5py.h5z.FILTER_DEFLATE in filters and not chunk.filter_mask:
                raw = dataset.id.read_direct_chunk(chunk.chunk_offset)[1]
                unpacked = len(zlib.decompressobj().decompress(raw, size + 1))
            else:
                unpacked = chunk.size  # lzf's reach is short, and a larger chunk was not packed
            if unpacked > size:
                raise UserError(
                    f"{self.path}: a chunk of `{key}` would unpack to more than its {size} bytes; fetch it again"
                )

    def check_jpegs(self, shapes: list[tuple[int, ...]]) -> None:
        """Raise UserError where an episode's bytes that are to be decoded as pictures are no JPEGs of these shapes."""
        sizes = {(shape[1], shape[0]) for shape in shapes}
        for group in self._file.values():
            for of in ("observations", "actions") if isinstance(group, h5py.Group) else ():
                held = group.get(of)
                parts = held.values() if isinstance(held, h5py.Group) else [held]
                for part in parts:
                    if not isinstance(part, h5py.Dataset) or not (part.dtype.hasobject or part.dtype == "uint8"):
                        continue
                    for row in part:
                        picture = row.tobytes() if hasattr(row, "tobytes") else bytes(row)
                        with Image.open(io.BytesIO(picture), formats=["JPEG"]) as header:  # nothing is decoded yet
                            if header.size not in sizes:
                                raise UserError(
                                    f"{self.path}: `{part.name}` holds pictures of {header.size}; fetch it again"
                                )

    def texts(self, group: str) -> dict[str, str]:
        """The scalars of text in a group; empty where there is no such group in the file."""
        found = self._within(self._file, group, group)
        texts: dict[str, str] = {}
        for key in found if isinstance(found, h5py.Group) else ():
            value = self._within(found, key, f"{group}/{key}")
            if isinstance(value, h5py.Dataset) and value.shape == () and value.dtype.kind in "SO":
                self._check_stored(f"{group}/{key}", value)
                text: Any = read_text(self.path, value) if value.dtype.hasobject else value[()]
                if isinstance(text, bytes):
                    texts[key] = text.decode(errors="replace")
        return texts


@contextmanager
def open_hdf5(path: Path) -> Iterator[Hdf5]:
    """Open a file for reading. Raises UserError where that, or anything done while it is open, fails."""
    require_harmless(path)
    try:
        with h5py.File(path, "r") as file:
            yield Hdf5(path, file)
    except UserError:
        raise
    except (OSError, LookupError, RuntimeError, ValueError, TypeError, MemoryError, OverflowError, *PACKING) as error:
        raise UserError(f"{path} cannot be read as HDF5 ({reason(error)}); fetch or make it again") from error
