"""A dataset on disk: a folder of compressed npz files, one an episode, and a manifest.

The keys are those of the Dreamer family and V-D4RL, so a file can be read with nothing but numpy.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from combo_common.errors import UserError
from combo_common.files import write_atomically
from combo_common.progress import progress_bar
from combo_common.staging import staged_folder
from combo_common.versions import versions
from data.actions import bounded_actions
from data.episode import DTYPES, OPTIONAL, Episode, validate
from data.formats.manifest import FORMAT_VERSION, MANIFEST_NAME, Description, Manifest, read_manifest
from data.rules import check_length, lacks
from data.safe.npz import Npz, open_npz

MOST_ROWS = 100_000
"""Of an episode, whatever its horizon is said to be."""


@dataclass(frozen=True)
class Dims:
    """The sizes that all episodes of a dataset share; None for what they do not hold."""

    action: int
    state: int | None
    physics: int | None
    image: tuple[int, ...] | None
    """(H, W, 3)."""

    @classmethod
    def of(cls, episode: Episode) -> "Dims":
        """The sizes of one episode."""
        return cls(
            action=episode.action.shape[1],
            state=None if episode.state is None else episode.state.shape[1],
            physics=None if episode.physics is None else episode.physics.shape[1],
            image=None if episode.image is None else episode.image.shape[1:],
        )


def write_dataset(
    folder: Path,
    episodes: Iterable[Episode],
    description: Description,
    total: int | None = None,
    progress: bool = True,
) -> Manifest:
    """Write episodes one at a time, then the manifest; the folder appears whole or not at all.

    `total` is the number of episodes, if known, for the progress bar. Raises UserError when the folder is not empty or
    cannot be written, when an episode is invalid or unlike the first, and when there is none.
    """
    with staged_folder(folder) as partial:
        writer = DatasetWriter(partial, folder, description)
        for episode in progress_bar(
            episodes, desc=f"writing {folder.name}", unit="episode", total=total, disable=not progress
        ):
            writer.add(episode)
        return writer.finish()


class DatasetWriter:
    """Writes a dataset into a folder, one episode after another, then its manifest."""

    def __init__(self, partial: Path, folder: Path, description: Description) -> None:
        """Write into `partial`, which is to become `folder`, which errors name."""
        self._partial, self._folder, self._description = partial, folder, description
        self._files: dict[str, str] = {}
        self._returns: list[float] = []
        self._dims: Dims | None = None
        self.transitions = 0

    @property
    def episodes(self) -> int:
        """How many are written."""
        return len(self._returns)

    def add(self, episode: Episode) -> None:
        """Write the next episode. Raises UserError for one that is invalid or unlike the first."""
        name = self._next()
        self._check(name, episode)
        buffer = io.BytesIO()
        columns: dict[str, Any] = {**episode.columns()}
        np.savez_compressed(buffer, **columns)
        write_atomically(self._partial / name, buffer.getvalue())
        self._count(name, buffer.getvalue(), episode)

    def keep(self, is_next: Callable[[Episode], bool]) -> bool:
        """Take over the next episode's file where an earlier process has written it whole; returns whether it has.

        `is_next` says whether an episode is the one that is due; a file with another is written anew.
        """
        path = self._partial / self._next()
        try:
            content = path.read_bytes()
            with open_npz(content, str(path)) as npz:
                episode = Episode(**{key: npz.read(key) for key in npz.headers if key in DTYPES})
            if not is_next(episode):
                return False
            self._check(path.name, episode)
        except (OSError, UserError, TypeError):  # cut short, not there, or not what an episode holds
            return False
        self._count(path.name, content, episode)
        return True

    def finish(self) -> Manifest:
        """Write the manifest. Raises UserError where there are no episodes."""
        if self._dims is None:
            raise UserError(f"there are no episodes to write to {self._folder}")
        known = {field.name: getattr(self._description, field.name) for field in fields(Description)}
        manifest = Manifest(
            **known,
            action_dim=self._dims.action,
            state_dim=self._dims.state,
            physics_dim=self._dims.physics,
            format_version=FORMAT_VERSION,
            episodes=self.episodes,
            transitions=self.transitions,
            return_mean=float(np.mean(self._returns)),
            return_std=float(np.std(self._returns)),
            return_min=min(self._returns),
            return_max=max(self._returns),
            versions=versions(),
            files=self._files,
        )
        write_atomically(self._partial / MANIFEST_NAME, manifest.to_json().encode())
        return manifest

    def _next(self) -> str:
        return f"episode-{self.episodes:06d}.npz"

    def _check(self, name: str, episode: Episode) -> None:
        where = str(self._folder / name)
        validate(episode, where)
        dims = self._dims or replace(Dims.of(episode), image=_square(self._description.image_size))
        _check_dims(episode, dims, where)
        self._dims = dims

    def _count(self, name: str, content: bytes, episode: Episode) -> None:
        self._files[name] = hashlib.sha256(content).hexdigest()
        self._returns.append(episode.episode_return)
        self.transitions += episode.length


class Dataset:
    """A dataset on disk; iterating reads, verifies and validates its episodes, one at a time."""

    def __init__(self, folder: Path) -> None:
        """Read the manifest. Raises UserError when there is none or it is not sound."""
        self.folder = folder
        self.manifest = read_manifest(folder)

    def __len__(self) -> int:
        """Number of episodes."""
        return self.manifest.episodes

    def __iter__(self) -> Iterator[Episode]:
        """The episodes in order. Raises UserError naming a file that is missing, altered or not valid."""
        return map(self.read, self.manifest.files)

    def verify(self) -> None:
        """Check every file against its SHA-256. Raises UserError naming the first that differs."""
        for name in self.manifest.files:
            self._content(name)

    def fingerprint(self) -> str:
        """SHA-256 of the manifest, and so, through its checksums, of the whole dataset."""
        return hashlib.sha256(self.manifest.to_json().encode()).hexdigest()

    def read(self, name: str) -> Episode:
        """Read one episode by its file name. Raises UserError as iterating does."""
        path = self.folder / name
        content = self._content(name)
        with open_npz(content, str(path)) as npz:
            self._check_headers(path, npz)
            columns = {key: npz.read(key) for key in npz.headers if key in DTYPES}
            held = set(npz.headers)
        for key in [key for key in DTYPES if key not in OPTIONAL]:
            if key not in columns:
                raise UserError(f"{path}: the key `{key}` is missing; make the dataset again")
        if any(array.shape[:1] == (0,) for array in columns.values()):
            raise UserError(f"{path}: it has 0 rows in some array; make the dataset again")
        if not {"image", "state", "physics"} & held:
            raise lacks(str(path), "image", held)
        columns["action"] = bounded_actions(str(path), "action", columns["action"])
        episode = Episode(**columns)
        validate(episode, str(path))
        manifest = self.manifest
        check_length(str(path), episode.length, manifest.task, manifest.horizon)
        image = _square(manifest.image_size)
        _check_dims(episode, Dims(manifest.action_dim, manifest.state_dim, manifest.physics_dim, image), str(path))
        return episode

    def _check_headers(self, path: Path, npz: Npz) -> None:
        """Raise UserError for arrays of other sizes than the manifest says, before they are unpacked."""
        manifest = self.manifest
        rows = manifest.horizon + 1
        for key, width in (
            ("action", manifest.action_dim),
            ("state", manifest.state_dim),
            ("physics", manifest.physics_dim),
        ):
            header = npz.headers.get(key)
            if header is not None and (len(header.shape) != 2 or header.shape[1] != (width or header.shape[1])):
                raise UserError(f"{path}: `{key}` is of shape {header.shape}, the dataset's has {width} numbers a row")
        longest = max((header.shape[0] for header in npz.headers.values() if header.shape), default=0)
        if longest > max(rows, MOST_ROWS):
            raise UserError(f"{path}: it has {longest} rows, an episode {rows} at most; make the dataset again")

    def _content(self, name: str) -> bytes:
        path = self.folder / name
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file; restore it or make the dataset again")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"{path} cannot be read ({error.strerror}); restore it or make the dataset again"
            ) from error
        if hashlib.sha256(content).hexdigest() != self.manifest.files[name]:
            raise UserError(
                f"{path} was truncated or altered: its SHA-256 is not the manifest's; "
                "restore it or make the dataset again"
            )
        return content


def _square(image_size: int | None) -> tuple[int, ...] | None:
    return None if image_size is None else (image_size, image_size, 3)


def _check_dims(episode: Episode, expected: Dims, where: str) -> None:
    """Refuse an episode whose sizes are not the dataset's."""
    found = Dims.of(episode)
    for field in fields(Dims):
        has, wanted = getattr(found, field.name), getattr(expected, field.name)
        if has != wanted:
            raise UserError(
                f"{where}: `{field.name}` is of size {has}, the dataset's of {wanted}; make the dataset again"
            )
