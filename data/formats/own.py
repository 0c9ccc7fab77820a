"""The project's own format as one of many: what `native` writes and reads, beside other programs' formats."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

from combo_common.bounded_json import read_json
from combo_common.errors import UserError
from data.episode import Episode
from data.formats.base import Contents, Named, Source
from data.formats.file_by_file import FileByFile
from data.formats.manifest import MANIFEST_NAME, Description, describe
from data.formats.native import Dataset, write_dataset
from data.skipped import Skipped
from envs.registry import told_task
from envs.task import LOOKS, Task


class Own(FileByFile):
    """A folder of npz files with a manifest, which holds all there is."""

    name: ClassVar[str] = "own"
    title: ClassVar[str] = "the project's own"
    tells_look: ClassVar[bool] = True
    writable: ClassVar[bool] = True

    def matches(self, path: Path) -> bool:
        """A folder with a manifest."""
        return (path / MANIFEST_NAME).exists()

    def says(self, path: Path) -> dict[str, Any]:
        """What the manifest has, unchecked."""
        content = read_json(path / MANIFEST_NAME)
        return content if isinstance(content, dict) else {}

    def image_size(self, path: Path) -> int | None:
        """By the manifest; a recording has none."""
        size = self.says(path).get("image_size")
        return size if isinstance(size, int) else None

    def open(self, path: Path, where: str, task: Task | None, split: str, skipped: Skipped | None) -> Source:
        """Read the manifest, which tells all but the episodes."""
        dataset = Dataset(path)
        manifest = dataset.manifest
        files = tuple(path / name for name in manifest.files)
        return Source(
            *(where, self, path, files, task or told_task(manifest.task, where), manifest.split),
            images=manifest.kind == "pixels", count=len(files), dataset=dataset, skipped=skipped,
        )  # fmt: skip

    def read(self, file: Path, source: Source) -> Iterable[Named]:
        """The episode of a file, held against its checksum in the manifest."""
        assert source.dataset is not None, "open gives it"
        return [(str(file), source.dataset.read(file.name))]

    def write(self, out: str, episodes: Iterator[Episode], source: Source, look: str | None) -> int:
        """Write a folder; its manifest is the source's, or says from where it came."""
        if source.dataset is not None:
            known = {field.name: getattr(source.dataset.manifest, field.name) for field in fields(Description)}
            return write_dataset(Path(out), episodes, Description(**known), progress=False).episodes
        first = next(episodes, None)
        if first is None:
            raise UserError(f"{source.where} has no episodes")
        described = _described(source, first, look)
        return write_dataset(Path(out), itertools.chain([first], episodes), described, progress=False).episodes

    def cannot_hold(self, contents: Contents) -> list[str]:
        """It has a place for everything."""
        return []


def _described(source: Source, first: Episode, look: str | None) -> Description:
    """What is known of another program's dataset. Raises UserError where nothing tells how its images were drawn."""
    said = source.metadata
    behaviour = {"source": Path(source.where).name, "layout": source.format.title, **said}
    references = [_number(said.get(f"{of}_return")) for of in ("random", "expert")]
    described = describe(source.known_task(), source.split or "unknown", 0, behaviour, *references)
    described = replace(described, reward=said.get("reward", described.reward))
    if first.image is None:
        return described
    if look not in LOOKS:
        raise UserError(f"{source.where} does not say how its images were drawn; tell it with --look fast or full")
    return replace(described, image_size=first.image.shape[1], look=look)


def _number(text: str | None) -> float | None:
    """A finite number out of a file's metadata; None where there is none."""
    with suppress(TypeError, ValueError):
        number = float(text or "")
        return number if isfinite(number) else None
    return None
