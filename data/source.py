"""A dataset opened by its name."""

from pathlib import Path

from data.formats.base import Source
from data.reference import resolve
from envs.task import Task


def open_source(name_or_path: str, task: Task | None, data_dir: Path, skip_corrupt: bool = False) -> Source:
    """Find a dataset by its name, path or Minari id and open it, as `resolve` and `DatasetReference.open` do."""
    return resolve(name_or_path, task, data_dir).open(task, skip_corrupt)
