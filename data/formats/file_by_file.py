"""Formats that have whole episodes in each of their files, so that a damaged file can be left out."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path

from combo_common.errors import UserError
from data.formats.base import Format, Named, Source
from data.skipped import Skipped
from envs.task import Task


class FileByFile(Format):
    """A format that says how one file is read."""

    @abstractmethod
    def read(self, file: Path, source: Source) -> Iterable[Named]:
        """The episodes of one of a dataset's files. Raises UserError naming the file and what is wrong with it."""

    def open(self, path: Path, where: str, task: Task | None, split: str, skipped: Skipped | None) -> Source:
        """Open a dataset whose images are known to be there."""
        return Source(where, self, path, self.files(path), task, split, images=True, skipped=skipped)

    def episodes(self, source: Source) -> Iterator[Named]:
        """The episodes of all files; a damaged file ends them, or is left out from where it cannot be read."""
        found = False
        for file in source.files:
            if source.skipped is None:
                yield from self.read(file, source)
                continue
            try:
                for named in self.read(file, source):
                    found = True
                    yield named
                source.skipped.read += 1
            except UserError as error:
                source.skipped.reasons.append(str(error))
        if source.skipped is not None and not found:
            raise UserError(
                f"{source.where}: none of its {len(source.files)} files can be read; "
                f"the first: {source.skipped.reasons[0]}"
            )
