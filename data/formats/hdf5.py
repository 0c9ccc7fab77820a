"""HDF5 files, read without trusting them.

What a file says of its datasets is looked at before anything is read: a link that leads elsewhere is refused without
being followed, and so are contents that lie outside the file, types that are no numbers, and sizes beyond what is
stored.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py

from latent_combo.run.errors import UserError

MOST = 1 << 34
"""Bytes that one dataset may have."""
MOST_CHUNK = 1 << 28
"""Bytes of a chunk, which is unpacked whole."""
RATIO = 1100
"""How many times its own size a dataset may unpack to: deflate reaches 1032, on columns of zeros."""
SMALL = 1 << 20
"""Bytes up to which that is not asked."""


class Hdf5:
    """An open HDF5 file."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self._file = path, file

    def keys(self) -> list[str]:
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
        """Check all there is, as `dataset` does, but for types. Raises UserError naming the first that is refused."""
        groups: list[tuple[str, Any]] = [("", self._file)]
        seen = {h5py.h5o.get_info(self._file["/"].id).addr}
        while groups:
            prefix, group = groups.pop()
            for part in group:
                name = f"{prefix}{part}"
                found = self._within(group, part, name)
                if isinstance(found, h5py.Dataset):
                    self._check_stored(name, found)
                elif isinstance(found, h5py.Group) and (place := h5py.h5o.get_info(found.id).addr) not in seen:
                    seen.add(place)  # a group may hold itself
                    groups.append((f"{name}/", found))

    def _within(self, group: Any, part: str, name: str) -> Any:
        """What a link in a group leads to; None where there is none. Raises UserError where it leads elsewhere."""
        link = group.get(part, getlink=True)
        if link is not None and not isinstance(link, h5py.HardLink):
            raise UserError(f"{self.path}: `{name}` is a link out of its place, not followed; copy the data")
        return None if link is None else group[part]

    def _check_stored(self, key: str, dataset: h5py.Dataset) -> None:
        """Raise UserError for contents that lie outside the file, or are said to be larger than they can be."""
        if dataset.is_virtual or dataset.external:
            raise UserError(f"{self.path}: `{key}` is no dataset of this file; copy the data into it")
        size, stored = int(dataset.size or 0) * dataset.dtype.itemsize, int(dataset.id.get_storage_size())
        if size > MOST or size > max(SMALL, RATIO * stored):
            raise UserError(f"{self.path}: `{key}` says it has {size} bytes, and {stored} are stored; fetch it again")
        if dataset.chunks and prod(dataset.chunks) * dataset.dtype.itemsize > MOST_CHUNK:
            raise UserError(f"{self.path}: `{key}` has chunks of {dataset.chunks}, too large to read; rewrite the file")

    def texts(self, group: str) -> dict[str, str]:
        """The scalars of text in a group; empty where there is no such group in the file."""
        found = self._within(self._file, group, group)
        texts: dict[str, str] = {}
        for key in found if isinstance(found, h5py.Group) else ():
            value = self._within(found, key, f"{group}/{key}")
            if isinstance(value, h5py.Dataset) and value.shape == () and value.dtype.kind in "SO":
                self._check_stored(f"{group}/{key}", value)
                text: Any = value[()]
                if isinstance(text, bytes):
                    texts[key] = text.decode(errors="replace")
        return texts


@contextmanager
def open_hdf5(path: Path) -> Iterator[Hdf5]:
    """Open a file for reading. Raises UserError where that, or anything done while it is open, fails."""
    try:
        with h5py.File(path, "r") as file:
            yield Hdf5(path, file)
    except UserError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as HDF5 ({reason[:300]}); fetch or make it again") from error
