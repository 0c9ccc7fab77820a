"""A dataset in whatever layout it lies, as episodes one after another."""

import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from combo_common.errors import UserError
from data.episode import Episode
from data.formats.d4rl import is_d4rl, read_d4rl, read_metadata
from data.formats.dreamer import episode_files, read_episode
from data.formats.manifest import NAME
from data.formats.minari import is_minari, locate_minari, minari_episodes, minari_folder
from data.formats.native import Dataset
from data.formats.vd4rl import is_shard, read_shard
from data.locate import find, infer_split, infer_task, resolve
from data.skipped import Skipped
from envs.tasks import TASKS, Task, get_task

LAYOUTS = {
    "own": "the project's own",
    "dreamer": "npz episodes as of DreamerV2, V-D4RL or LOMPO",
    "vd4rl": "V-D4RL's HDF5 shards",
    "d4rl": "D4RL's HDF5",
    "minari": "Minari",
}
"""Names of layouts, and what people call them."""
KNOWN = f"known here: {', '.join(sorted(TASKS))}"
"""What may be named."""
Named = tuple[str, Episode]
"""An episode and what it is called in errors."""


def layout_of(path: Path) -> str:
    """Which layout a folder or file has. Raises UserError for a folder that has none that is known."""
    if is_d4rl(path):
        return "vd4rl" if is_shard(path) else "d4rl"
    if (path / NAME).exists():
        return "own"
    if minari_folder(path) is not None:
        return "minari"
    if episode_files(path):
        return "dreamer"
    if any(is_d4rl(file) and file.is_file() for file in path.iterdir()):
        return "vd4rl"
    raise UserError(
        f"{path} is no dataset: it has no {NAME}, no episodes (*.npz), no shards (*.hdf5) and no files of Minari's; "
        "make one with data.collect or data.render, or name another"
    )


@dataclass(frozen=True)
class Source:
    """A dataset that is there."""

    where: str
    """Its path, or Minari's id."""
    layout: str
    """A key of LAYOUTS."""
    files: tuple[Path, ...]
    """What it consists of."""
    make: Callable[["Source"], Iterator[Named]]
    task: Task | None
    """None where nothing tells."""
    split: str
    dataset: Dataset | None = None
    """Of a folder in the project's own layout."""
    metadata: dict[str, str] = field(default_factory=dict)
    """What an HDF5 file says of itself."""
    skipped: Skipped | None = None
    """Counts damaged files where they are to be left out."""

    def __iter__(self) -> Iterator[Named]:
        """The episodes, one at a time, each with what it is called. Raises UserError for one that is not sound."""
        yield from self.make(self)
        if self.skipped is not None:
            self.skipped.report(self.where)

    def episodes(self, progress: bool = False, doing: str = "reading") -> Iterator[Episode]:
        """The episodes, one at a time, without their names."""
        bar = tqdm(
            self, desc=f"{doing} {Path(self.where).name}", unit="episode", total=self.count, disable=not progress
        )
        return (episode for _, episode in bar)

    @property
    def count(self) -> int | None:
        """How many episodes there are, where that is known before they are read."""
        return len(self.files) if self.layout in ("own", "dreamer") else None

    def fingerprint(self) -> str:
        """SHA-256 of all files, or of the manifest that holds theirs; of both where damaged ones are left out."""
        told = "" if self.dataset is None else self.dataset.fingerprint()
        if told and self.skipped is None:
            return told
        digest = hashlib.sha256(told.encode())
        for file in self.files:
            with suppress(FileNotFoundError), file.open("rb") as content:  # reading it says what is missing
                digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
                while block := content.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    def about(self) -> dict[str, Any]:
        """What is known of it: task, split, horizon, references; a manifest without its files, or the metadata.

        Raises UserError where nothing tells the task.
        """
        if self.dataset is not None:
            return {key: value for key, value in asdict(self.dataset.manifest).items() if key != "files"}
        if self.task is None:
            raise UserError(f"{self.where} does not say which task it is of; name it with --task ({KNOWN})")
        return {
            "task": self.task.name,
            "split": self.split,
            "horizon": self.task.horizon,
            "random_return": self.task.random_return,
            "expert_return": self.task.expert_return,
            "metadata": self.metadata,
        }


def open_source(name_or_path: str, task: Task | None, data_dir: Path, skip_corrupt: bool = False) -> Source:
    """Find a dataset by its name, path or Minari id; nothing of size is read yet.

    `task` is what it is said to be of, None to have it told by the dataset or its name. With `skip_corrupt` damaged
    files of a folder are left out, counted and reported. Raises UserError when there is no such dataset, or its layout
    is not known.
    """
    skipped = Skipped() if skip_corrupt else None
    told = task or (get_task(name) if (name := infer_task(name_or_path, data_dir)) is not None else None)
    split = infer_split(name_or_path, data_dir)
    stored = is_minari(name_or_path) and find(name_or_path, task, data_dir) is None
    path = locate_minari(name_or_path) if stored else resolve(name_or_path, task, data_dir)
    layout, where = layout_of(path), name_or_path if stored else str(path)
    if layout == "own":
        dataset = Dataset(path)
        manifest = dataset.manifest
        of = told or get_task(manifest.task)
        files = tuple(path / name for name in manifest.files)
        return Source(where, layout, files, _from_folder, of, manifest.split, dataset, skipped=skipped)
    if layout == "dreamer":
        return Source(where, layout, tuple(episode_files(path)), _from_folder, told, split, skipped=skipped)
    if layout == "vd4rl":
        shards = (
            (path,)
            if path.is_file()
            else tuple(sorted((file for file in path.iterdir() if is_d4rl(file) and file.is_file()), key=_number))
        )
        return Source(where, layout, shards, _from_shards, told, split, skipped=skipped)
    if layout == "minari":
        folder = minari_folder(path)
        parts = tuple(sorted(part for part in (folder or path).rglob("*") if part.is_file()))
        return Source(where, layout, parts, lambda _: minari_episodes(path), told, split)
    return Source(where, layout, (path,), _from_d4rl, told, split, metadata=read_metadata(path))


def _from_folder(source: Source) -> Iterator[Named]:
    def read(file: Path) -> Iterable[Named]:
        return [(str(file), source.dataset.read(file.name) if source.dataset else read_episode(file))]

    return _reading(source, read)


def _from_shards(source: Source) -> Iterator[Named]:
    return _reading(source, read_shard)


def _reading(source: Source, read: Callable[[Path], Iterable[Named]]) -> Iterator[Named]:
    """What each file holds; a damaged one ends it, or is left out from where it cannot be read."""
    found = False
    for file in source.files:
        if source.skipped is None:
            yield from read(file)
            continue
        try:
            for named in read(file):
                found = True
                yield named
            source.skipped.read += 1
        except UserError as error:
            source.skipped.reasons.append(str(error))
    if source.skipped is not None and not found:
        raise UserError(
            f"{source.where}: none of its {len(source.files)} files can be read; the first: {source.skipped.reasons[0]}"
        )


def _from_d4rl(source: Source) -> Iterator[Named]:
    if source.task is None:
        raise UserError(f"{source.where} does not say which task it is of; name it with --task ({KNOWN})")
    for number, episode in enumerate(read_d4rl(source.files[0], source.task).episodes()):
        yield f"episode {number}", episode


def _number(path: Path) -> tuple[int, str]:
    """Shards are numbered, as 10 or shard_10_reward_964, and 10 comes after 9."""
    number = re.search(r"\d+", path.stem)
    return int(number[0]) if number else sys.maxsize, path.name
