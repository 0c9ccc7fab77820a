"""Folders of npz files, one an episode, as V-D4RL (64 pixels), DreamerV2 and LOMPO write them.

Keys, of T + 1 rows each, in Dreamer indexing: `image` (T+1, H, W, 3) uint8, `action` (T+1, A), `reward`, `discount`,
and in V-D4RL and DreamerV2 `is_first`, `is_last`, `is_terminal`; in LOMPO `state` (T+1, S), and no flags: an episode
ended for good where its last discount is 0. Files are named by a time, an identifier and their rows; other keys of
numbers are left alone, and this project's `physics` is one that their readers leave alone, too.
"""

import datetime
import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from combo_common.files import write_atomically
from combo_common.staging import staged_folder
from data.actions import bounded_actions
from data.episode import DTYPES, NDIMS, Episode, validate
from data.formats.base import Named, Source, side
from data.formats.file_by_file import FileByFile
from data.notes import Notes
from data.rules import check_terminations, lacks
from data.safe.npz import open_npz
from data.skipped import Skipped
from envs.task import Task

NEEDED = ("action", "reward")
FLAGS = ("is_first", "is_last", "is_terminal")
MAX_WIDTH = 4096
"""Numbers of a vector, or pixels of a side."""
SINGLE = ("reward", "discount", *FLAGS)
"""Of which there is one number a row."""
EPOCH = datetime.datetime(2000, 1, 1)
"""The time in the name of the first file; each has a second more, so that names sort as the episodes follow."""


class Dreamer(FileByFile):
    """A folder of npz files, one an episode, with flags."""

    name: ClassVar[str] = "dreamer"
    title: ClassVar[str] = "npz episodes as of DreamerV2, V-D4RL or LOMPO"
    writable: ClassVar[bool] = True

    def matches(self, path: Path) -> bool:
        """A folder with npz files."""
        return path.is_dir() and bool(episode_files(path))

    def files(self, path: Path) -> tuple[Path, ...]:
        """The npz files in the order of their names."""
        return tuple(episode_files(path))

    def image_size(self, path: Path) -> int | None:
        """By the first episode."""
        first = self.files(path)[0]
        with open_npz(first, str(first)) as npz:
            return side(npz.headers["image"].shape) if "image" in npz.headers else None

    def open(self, path: Path, where: str, task: Task | None, split: str, skipped: Skipped | None) -> Source:
        """A folder has as many episodes as files."""
        files = self.files(path)
        return Source(where, self, path, files, task, split, images=True, count=len(files), skipped=skipped)

    def read(self, file: Path, source: Source) -> Iterable[Named]:
        """The episode of a file."""
        return [(str(file), read_episode(file, source.notes))]

    def write(self, out: str, episodes: Iterator[Episode], source: Source, look: str | None) -> int:
        """Write a folder of one file an episode."""
        return write_episodes(Path(out), episodes, flags=True)

    def unread(self, source: Source, keys: set[str]) -> list[str]:
        """Keys that an episode has not here."""
        other: set[str] = set()
        for file in source.files:
            with suppress(UserError), open_npz(file, str(file)) as npz:  # damaged ones were left out
                other |= set(npz.headers) - set(DTYPES)
        return [f"the keys {', '.join(sorted(other))}"] if other else []


def episode_files(folder: Path) -> list[Path]:
    """The npz files of a folder, in the order of their names."""
    return sorted(path for path in folder.glob("*.npz") if path.is_file())


def read_episode(path: Path, notes: Notes | None = None) -> Episode:
    """Read one file; keys that are not read are noted.

    Raises UserError naming it and what is wrong, from its headers where they tell.
    """
    where = str(path)
    with open_npz(path, where) as npz:
        for key in NEEDED:
            if key not in npz.headers:
                raise UserError(f"{where}: the key `{key}` is missing; it is no episode of Dreamer's or LOMPO's layout")
        if not {"discount", "is_terminal"} & set(npz.headers):
            raise UserError(
                f"{where}: neither `discount` nor `is_terminal` says whether the task ended it; add one of them"
            )
        if not {"image", "state"} & set(npz.headers):
            raise lacks(where, "image", npz.headers)
        kept = {key: header for key, header in npz.headers.items() if key in DTYPES}
        rows = kept["reward"].shape[0] if kept["reward"].shape else 0
        for key, header in kept.items():
            if not header.shape or header.shape[0] != rows:
                raise UserError(
                    f"{where}: `{key}` of shape {header.shape} where `reward` has {rows} rows; all have "
                    "one row a frame, the first of the start"
                )
            wide = header.shape[1:] if key in ("action", "state", "physics", "image") else ()
            if len(header.shape) != NDIMS.get(key, len(header.shape)) or max(wide, default=1) > MAX_WIDTH:
                raise UserError(
                    f"{where}: `{key}` of shape {header.shape} is not what an episode has; mend or remove it"
                )
            if key in SINGLE and header.shape not in ((rows,), (rows, 1)):
                raise UserError(f"{where}: `{key}` of shape {header.shape}, not one number a row; mend the episode")
            if key == "image" and header.dtype != np.uint8:
                raise UserError(f"{where}: `image` is {header.dtype}, not uint8; it is not what a camera saw")
        if not rows:
            raise UserError(f"{where}: it has 0 rows; an episode has at least 2, its start and one transition")
        columns = {key: npz.read(key) for key in kept}
        if notes is not None and (unread := sorted(set(npz.headers) - set(kept))):
            notes.add(f"not read of each episode: {', '.join(f'`{key}`' for key in unread)}")
    episode = Episode(**_columns(where, columns))
    validate(episode, where)
    return episode


def _columns(where: str, read: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """An episode's columns, of the types that they have here, and those that a layout leaves out."""
    rows = len(read["reward"])
    index = np.arange(rows)
    columns: dict[str, Any] = {}
    for key, array in read.items():
        if key in FLAGS:
            if not np.isin(array, (0, 1)).all():
                raise UserError(f"{where}: `{key}` is neither 0 nor 1 in some row; mend or remove the episode")
            columns[key] = array.astype(bool)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                columns[key] = np.ascontiguousarray(array, DTYPES[key])
    for key in SINGLE:
        if key in columns and columns[key].shape == (rows, 1):
            columns[key] = columns[key][:, 0]
    columns["action"] = bounded_actions(where, "action", columns["action"])
    if "is_terminal" not in columns:
        columns["is_terminal"] = (index > 0) & (columns["discount"] == 0.0)
        check_terminations(where, "discount", columns["is_terminal"][1:])
    check_terminations(where, "is_terminal", columns["is_terminal"][1:])
    if "discount" not in columns:
        columns["discount"] = 1.0 - columns["is_terminal"].astype(np.float32)
    columns.setdefault("is_first", index == 0)
    columns.setdefault("is_last", index == rows - 1)
    return columns


def write_episodes(folder: Path, episodes: Iterable[Episode], flags: bool) -> int:
    """Write a folder of one file an episode, with flags (V-D4RL, DreamerV2) or without (LOMPO); returns how many.

    Raises UserError where the folder holds anything already or cannot be written, and for an episode without images.
    """
    count = 0
    with staged_folder(folder) as partial:
        for count, episode in enumerate(episodes, 1):
            if episode.image is None:
                raise UserError(f"there are no images to write to {folder}; draw the recording with data.render first")
            columns: dict[str, Any] = episode.columns()
            kept = {key: array for key, array in columns.items() if flags or key not in FLAGS}
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **kept)
            time = (EPOCH + datetime.timedelta(seconds=count - 1)).strftime("%Y%m%dT%H%M%S")
            identifier = hashlib.sha256(buffer.getvalue()).hexdigest()[:32]
            write_atomically(partial / f"{time}-{identifier}-{episode.length + 1}.npz", buffer.getvalue())
        if not count:
            raise UserError(f"there are no episodes to write to {folder}")
    return count
