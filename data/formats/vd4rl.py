"""V-D4RL's HDF5 shards, of 84 pixels: rows of many episodes one after another, cut by `step_type`.

`observation` (N, 3, H, W) uint8, `action` (N, A), `reward` (N,), `discount` (N,), `step_type` (N,): 0 in the row in
which an episode starts, 1, and 2 in its last (as dm_env counts). Rows are in Dreamer indexing. Only one episode's
images are in memory at a time.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from combo_common.errors import UserError
from data.actions import bounded_actions
from data.episode import Episode, validate
from data.formats.base import Named, Source, side
from data.formats.file_by_file import FileByFile
from data.formats.hdf5_file import SUFFIXES, is_hdf5, read_metadata
from data.rules import check_terminations
from data.safe.hdf5 import open_hdf5

KEYS = ("observation", "action", "reward", "discount", "step_type")
MAX_WIDTH = 4096
"""Pixels of a side, or numbers of a vector."""
FIRST, MIDDLE, LAST = 0, 1, 2


class VD4RL(FileByFile):
    """A folder of shards, or one of them alone."""

    name: ClassVar[str] = "vd4rl"
    title: ClassVar[str] = "V-D4RL's HDF5 shards"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def matches(self, path: Path) -> bool:
        """A file that is a shard, or a folder with HDF5 files."""
        return is_shard(path) if is_hdf5(path) else bool(_shards(path))

    def files(self, path: Path) -> tuple[Path, ...]:
        """The shards in the order of their numbers."""
        return (path,) if path.is_file() else tuple(sorted(_shards(path), key=_number))

    def says(self, path: Path) -> dict[str, Any]:
        """What a shard alone has as metadata."""
        return {**read_metadata(path)} if path.is_file() else {}

    def image_size(self, path: Path) -> int | None:
        """By the first shard, whose rows are (3, H, W)."""
        with open_hdf5(self.files(path)[0]) as file:
            image = file.dataset("observation")
            return None if image is None else side((*image.shape[-2:], 3))

    def read(self, file: Path, source: Source) -> Iterable[Named]:
        """The episodes of a shard."""
        return read_shard(file)


def _shards(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if is_hdf5(file) and file.is_file()] if folder.is_dir() else []


def _number(path: Path) -> tuple[int, str]:
    """Shards are numbered, as 10 or shard_10_reward_964, and 10 comes after 9."""
    number = re.search(r"\d+", path.stem)
    return int(number[0]) if number else sys.maxsize, path.name


def is_shard(path: Path) -> bool:
    """Whether an HDF5 file is one of these. Raises UserError for a file that cannot be read."""
    with open_hdf5(path) as file:
        return "step_type" in file.names()


def read_shard(path: Path) -> Iterator[tuple[str, Episode]]:
    """The episodes of a file, each with what it is called. Raises UserError naming the file and what is wrong."""
    with open_hdf5(path) as file:
        columns: dict[str, h5py.Dataset] = {}
        for key in KEYS:
            dataset = file.dataset(key)
            if dataset is None:
                raise UserError(f"{path} lacks `{key}`; V-D4RL's shards have {', '.join(KEYS)}")
            columns[key] = dataset
        image = columns["observation"]
        if image.ndim != 4 or image.shape[1] != 3 or max(image.shape[2:]) > MAX_WIDTH or image.dtype != np.uint8:
            raise UserError(f"{path}: `observation` is {image.dtype} of shape {image.shape}, not uint8 (N, 3, H, W)")
        rows = len(image)
        for key, dataset in columns.items():
            if not dataset.shape or len(dataset) != rows or max(dataset.shape[1:], default=1) > MAX_WIDTH:
                raise UserError(f"{path}: `{key}` of shape {dataset.shape} where `observation` has {rows} rows")
            if key in ("reward", "discount") and dataset.shape not in ((rows,), (rows, 1)):
                raise UserError(f"{path}: `{key}` of shape {dataset.shape}, not one number a row")
        small = {key: columns[key][()] for key in KEYS[1:]}
        for number, (start, stop) in enumerate(_bounds(path, small["step_type"])):
            where = f"{path}, episode {number}"
            yield where, _episode(where, rearrange(image[start:stop], "t c h w -> t h w c"), small, start, stop)


def _bounds(path: Path, step_type: NDArray[Any]) -> list[tuple[int, int]]:
    """Where episodes start and stop. Raises UserError where the types of steps do not alternate as they do."""
    if step_type.ndim != 1 or not np.isin(step_type, (FIRST, MIDDLE, LAST)).all():
        raise UserError(f"{path}: `step_type` must be one of 0, 1, 2 a row")
    starts, ends = np.flatnonzero(step_type == FIRST), np.flatnonzero(step_type == LAST)
    sound = len(starts) == len(ends) > 0 and starts[0] == 0 and ends[-1] == len(step_type) - 1
    if not sound or (starts >= ends).any() or (starts[1:] != ends[:-1] + 1).any():
        raise UserError(f"{path}: `step_type` cuts an episode; a shard has whole ones, from a 0 to a 2: split it again")
    return list(zip(starts.tolist(), (ends + 1).tolist(), strict=True))


def _episode(where: str, image: NDArray[np.uint8], small: dict[str, NDArray[Any]], start: int, stop: int) -> Episode:
    rows = slice(start, stop)
    index = np.arange(stop - start)
    discount = np.ascontiguousarray(small["discount"][rows], np.float32).reshape(len(index), -1)[:, 0]
    ended = (index > 0) & (discount == 0.0)
    check_terminations(where, "discount", ended[1:])
    episode = Episode(
        image=np.ascontiguousarray(image),
        action=bounded_actions(where, "action", np.ascontiguousarray(small["action"][rows])),
        reward=np.ascontiguousarray(small["reward"][rows], np.float32).reshape(len(index), -1)[:, 0],
        discount=discount,
        is_first=index == 0,
        is_last=index == len(index) - 1,
        is_terminal=ended,
    )
    validate(episode, where)
    return episode
