"""A dataset's name, resolved once: where it is, its format, and what it says of itself."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from combo_common.errors import UserError
from combo_common.paths import given_path
from data import d4rl_download as published
from data.formats.base import Format, Source
from data.formats.registry import format_of, format_that_keeps, is_file_of_data
from data.formats.store import Store
from data.locate import known_names, split_by_name, task_by_name, unknown
from data.skipped import Skipped
from data.vd4rl_folders import ROOTS
from envs.environment_ids import same_environment
from envs.registry import find_task, get_task, is_name, plain_names, task_of_environment, told_task, whole_name
from envs.task import Task


@dataclass(frozen=True)
class DatasetReference:
    """A dataset that was asked for by its name or path, here or not; whatever is found out of it is found out once.

    Until `local`, `open` or `fingerprint` is asked for, no file is read but for what it says of itself.
    """

    name: str
    """As it was asked for."""
    data_dir: Path
    path: Path | None
    """Its folder or file; None where it is not on this machine, or only its store can tell where."""
    store: Store | None = field(default=None, repr=False)
    """What keeps it, and fetches it if it is not here; None for any other folder or file."""
    stored_as: str = ""
    """Its name there."""

    @cached_property
    def format(self) -> Format | None:
        """Its format; None for what is neither here nor of a known store.

        Raises UserError for a folder or file of no known format.
        """
        return format_that_keeps(self.name) if self.path is None else format_of(self.path)

    @cached_property
    def says(self) -> dict[str, Any]:
        """What it says of itself; empty where it is not here or cannot be read: opening it tells what is wrong."""
        try:
            return {} if self.path is None or self.format is None else self.format.says(self.path)
        except (OSError, ValueError, RecursionError, UserError):
            return {}

    @cached_property
    def task(self) -> str | None:
        """The task that it is of, by what it says of itself or by its name; None where neither tells."""
        said = self.says.get("task")
        if isinstance(said, str) and is_name(said):
            return whole_name(said)
        return next((told for name in self._names if (told := task_by_name(name)) is not None), None)

    def without_task(self, remedy: str) -> UserError:
        """The error where its task is needed and not known: what it says of it, if anything, and what to do."""
        said = self.says.get("task")
        if isinstance(said, str) and said:
            try:
                told_task(said, self.name)
            except UserError as error:
                return error
        return UserError(f"{self.name} does not say which task it is of; {remedy}")

    @cached_property
    def split(self) -> str:
        """Which of D4RL's splits it is, by what it says or by its name; empty where it is none of them."""
        said = self.says.get("split")
        if isinstance(said, str):
            return said if said in published.SPLITS else ""
        return next((told for name in self._names if (told := split_by_name(name))), "")

    @property
    def _names(self) -> list[str]:
        """What may tell its task and split: as it was asked for, then the path of its folder."""
        return [self.name, *([str(self.path)] if self.path is not None and self.path.is_dir() else [])]

    @cached_property
    def image_size(self) -> int | None:
        """Side of the square images that it holds, in pixels, by the headers of its first file.

        None where it holds none, or is not here, or cannot be read: opening it tells what is wrong.
        """
        try:
            return None if self.path is None or self.format is None else self.format.image_size(self.path)
        except (OSError, ValueError, LookupError, TypeError, RecursionError, UserError):
            return None

    @cached_property
    def local(self) -> Path:
        """Its folder or file on this machine: fetched if need be, and a store's files checked, which reads them whole.

        Raises UserError, with the nearest known names, if there is no such dataset, and as its store does.
        """
        if self.store is not None:
            return self.store.fetch(self.stored_as, self.data_dir)
        if self.path is None:
            raise unknown(self.name, self.data_dir)
        return self.path

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of its content, which is read whole. Raises UserError as `open` does."""
        return self.open().fingerprint()

    def open(self, task: Task | None = None, skip_corrupt: bool = False) -> Source:
        """Open it for reading, fetched if need be; nothing of size is read yet, but where `local` has it checked.

        `task` is what it is said to be of, None to have it told. With `skip_corrupt` damaged files of a folder are left
        out, counted and reported. Raises UserError where there is no such dataset, or its format is not known.
        """
        told = task or (None if self.task is None else get_task(self.task))
        where = self.name if self.store is not None and self.store.by_name else str(self.local)
        skipped = Skipped() if skip_corrupt else None
        form = self.format if self.path == self.local and self.format is not None else format_of(self.local)
        source = form.open(self.local, where, told, self.split, skipped)
        if told is not None:
            _check_environment(source, told)
        return source


def _check_environment(source: Source, task: Task) -> None:
    """Raise UserError for a dataset that says it was recorded in another environment than the task's."""
    said = source.environment
    of = source.metadata.get("task")
    if not said and of is not None and of != task.name and (other := find_task(str(of))) is not None:
        said = other.environment
    if said and task.environment and not same_environment(said, task.environment):
        own = task_of_environment(said)
        remedy = "name a dataset of that" if own is None else f"use --task {own}"
        raise UserError(
            f"{source.where} was recorded in {said}, but {task.name} is played in {task.environment}, whose dynamics "
            f"and rewards are others; {remedy}"
        )


def resolve(name_or_path: str, task: Task | None, data_dir: Path) -> DatasetReference:
    """Find a dataset; no file is read whole, and nothing fetched.

    A name is looked for in what comes with the program and in `data_dir`, then in the stores of formats, such as D4RL's
    own folder; with a task, "medium-replay" will do for "walker-walk-medium-replay". A path that is not here is looked
    for below `data_dir`, and where V-D4RL's folders are there.

    Raises UserError for a name that is no text, or with a home folder that nobody knows.
    """
    path = given_path(name_or_path)
    names = known_names(data_dir)
    short = [f"{plain}-{name_or_path}" for plain in plain_names(task.name)] if task is not None else []
    for name in (name_or_path, *short):
        if name in names:
            return DatasetReference(name_or_path, data_dir, names[name])
        keeper = format_that_keeps(name)
        if keeper is not None and keeper.store is not None and (found := keeper.store.find(name, data_dir)) is not None:
            return DatasetReference(name_or_path, data_dir, found, keeper.store, name)
    for there in (path, *(data_dir / root / path for root in ROOTS)):
        if there.is_dir() or (is_file_of_data(there) and there.is_file()):
            return DatasetReference(name_or_path, data_dir, there)
    keeper = format_that_keeps(name_or_path)
    store = None if keeper is None else keeper.store
    return DatasetReference(name_or_path, data_dir, None, store, name_or_path)
