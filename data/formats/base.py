"""What a format of datasets is, and a dataset that is opened in one.

A new format is a file with a subclass of `Format`, and a line in `data.formats.registry`.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from combo_common.errors import UserError
from combo_common.hashing import sha256_of
from combo_common.progress import progress_bar
from data.dataset import TrajectoryDataset
from data.episode import Episode
from data.formats.native import Dataset
from data.formats.store import Store
from data.notes import Notes
from data.rules import admitted
from data.skipped import Skipped
from envs.registry import known_names
from envs.task import Task

Named = tuple[str, Episode]
"""An episode and what it is called in errors."""
MANIFEST_LOST = "the manifest (look, camera, behaviour policies, references, checksums)"


@dataclass(frozen=True)
class Contents:
    """What episodes that were copied hold."""

    keys: set[str]
    """Of their columns."""
    discounts: bool
    """Whether some discount is neither 1 nor, where the task ended the episode, 0."""
    last_discount: bool
    """Whether some last discount says otherwise than `is_terminal`."""
    manifest: bool
    """Whether there is a manifest."""
    metadata: bool
    """Whether a file says something of itself."""


def other_discounts(contents: Contents) -> list[str]:
    """What a format loses that has only flags for endings, in words."""
    return ["discounts that are neither 1 nor 0 where the task ended"] if contents.discounts else []


def side(shape: tuple[int, ...]) -> int | None:
    """The side of square images (..., H, W, C), in pixels; None for others."""
    return shape[-3] if shape[-3] == shape[-2] else None


class Format(ABC):
    """How one program keeps episodes: how its datasets are told apart, opened, read and written."""

    name: ClassVar[str]
    """What commands call it."""
    title: ClassVar[str]
    """What people call it."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """Suffixes of files that are a dataset each; none for a format of folders."""
    store: ClassVar[Store | None] = None
    """Where datasets of this format are fetched from by name."""
    holds_images: ClassVar[bool] = True
    """Whether episodes may have images; otherwise they have vector observations."""
    tells_look: ClassVar[bool] = False
    """Whether a dataset says how its images were drawn."""
    writable: ClassVar[bool] = False
    """Whether `write` is there."""

    @abstractmethod
    def matches(self, path: Path) -> bool:
        """Whether a folder or file that exists is of this format. Raises UserError for a file that cannot be read."""

    def files(self, path: Path) -> tuple[Path, ...]:
        """The files that make up a dataset, in the order in which they are read."""
        return (path,)

    def says(self, path: Path) -> dict[str, Any]:
        """What a dataset says of itself, such as its `task` and `split`. Raises UserError, OSError or ValueError."""
        return {}

    def image_size(self, path: Path) -> int | None:
        """Side of a dataset's square images, in pixels, by the headers of its first file; None where it tells none.

        Raises UserError, OSError, ValueError, LookupError or TypeError for a file that is not sound.
        """
        return None

    def open(self, path: Path, where: str, task: Task | None, split: str, skipped: Skipped | None) -> "Source":
        """Open a dataset, of which nothing of size is read yet.

        `where` is what errors call it; `task` and `split` are what it is said to be of; `skipped` counts damaged files,
        which are then left out where a format has an episode or more in each of its files. Raises UserError for a
        dataset that is not sound.
        """
        return Source(where, self, path, self.files(path), task, split)

    @abstractmethod
    def episodes(self, source: "Source") -> Iterator[Named]:
        """The episodes, one at a time, each with what errors call it. Raises UserError for one that is not sound."""

    def states(self, source: "Source", task: Task) -> TrajectoryDataset | None:
        """All rows of vector observations at once; None where the format has them episode by episode.

        Raises UserError where they do not fit the task, or there is nothing to learn from them.
        """
        return None

    def write(self, out: str, episodes: Iterator[Episode], source: "Source", look: str | None) -> int:
        """Write episodes that come from `source`, and return how many; `look` is how images were drawn, if known.

        Raises UserError where `out` is there already or cannot be written, and where the episodes lack what is needed.
        """
        raise UserError(f"{self.title} can be read only; convert to another format")

    def cannot_hold(self, contents: Contents) -> list[str]:
        """What of such contents this format has no place for, in words."""
        lost = [MANIFEST_LOST] if contents.manifest else []
        return [*lost, "the file's metadata"] if contents.metadata else lost

    def unread(self, source: "Source", keys: set[str]) -> list[str]:
        """What a dataset has that is not read, in words, where its episodes had columns of these keys."""
        return []


@dataclass(frozen=True)
class Source:
    """A dataset that is there, and is read as episodes, one after another."""

    where: str
    """Its path, or its name where the store it is from goes by names."""
    format: Format
    path: Path
    files: tuple[Path, ...]
    """What it consists of."""
    task: Task | None
    """None where nothing tells."""
    split: str
    images: bool = False
    """Whether its episodes are known to hold images before they are read."""
    count: int | None = None
    """How many episodes there are, where that is known before they are read."""
    dataset: Dataset | None = None
    """The folder with its manifest, of a dataset in the project's own format."""
    metadata: dict[str, str] = field(default_factory=dict)
    """What an HDF5 file says of itself."""
    skipped: Skipped | None = None
    """Counts damaged files where they are to be left out."""
    environment: str = ""
    """Gymnasium's id of the environment that it was recorded in; empty where it does not say so."""
    notes: Notes = field(default_factory=Notes)
    """What was done to it while it was last read."""

    def __iter__(self) -> Iterator[Named]:
        """The episodes as `read` gives them; then what was done to them is reported."""
        yield from self.read()
        self.notes.report(self.where)

    def read(self) -> Iterator[Named]:
        """The episodes, one at a time, each with what it is called, as the rules of all layouts have them.

        Raises UserError for one that is not sound. What was done to them is in `notes` afterwards.
        """
        self.notes.counts.clear()
        yield from admitted(self.format.episodes(self), self.task, self.notes)
        if self.skipped is not None:
            self.skipped.report(self.where)

    def episodes(self, progress: bool = False, doing: str = "reading") -> Iterator[Episode]:
        """The episodes, one at a time, without their names."""
        bar = progress_bar(
            self, desc=f"{doing} {Path(self.where).name}", unit="episode", total=self.count, disable=not progress
        )
        return (episode for _, episode in bar)

    def fingerprint(self) -> str:
        """SHA-256 of the content of all files, or of the manifest that has theirs; of both where damaged are left out.

        Neither their times nor what they are called count.
        """
        told = "" if self.dataset is None else self.dataset.fingerprint()
        if told and self.skipped is None:
            return told
        digest = hashlib.sha256(told.encode())
        for file in self.files:
            with suppress(FileNotFoundError):  # reading it says what is missing
                digest.update(sha256_of(file).encode())
        return digest.hexdigest()

    def known_task(self) -> Task:
        """The task that it is of. Raises UserError where nothing tells it."""
        if self.task is None:
            known = ", ".join(known_names())
            raise UserError(f"{self.where} does not say which task it is of; name it with --task (known here: {known})")
        return self.task

    def about(self) -> dict[str, Any]:
        """What is known of it: task, split, horizon, references; a manifest without its files, or the metadata.

        Raises UserError where nothing tells the task.
        """
        if self.dataset is not None:
            return {key: value for key, value in asdict(self.dataset.manifest).items() if key != "files"}
        task = self.known_task()
        return {
            "task": task.name,
            "split": self.split,
            "horizon": task.horizon,
            "random_return": task.random_return,
            "expert_return": task.expert_return,
            "metadata": self.metadata,
        }
