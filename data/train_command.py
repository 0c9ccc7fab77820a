"""The command that trains on a dataset which was just written."""

from pathlib import Path

from combo_common.commands import command
from data.formats.hdf5_file import is_hdf5
from data.formats.manifest import read_manifest
from envs.registry import names_module


def train_line(out: Path, task: str | None) -> str:
    """A line with the command that trains on a dataset of this project, which was written to `out`.

    `task` is the word by which a user named its task: one that has a module imported is said again, since data have
    none imported. An HDF5 file holds vectors, and so does a recording without physics to draw and without images. The
    path is absolute, so that no dataset's name hides it.
    """
    words: list[object] = ["--dataset", out.absolute()]
    if task is not None and names_module(task):
        words += ["--task", task]
    manifest = None if is_hdf5(out) else read_manifest(out)
    if manifest is None or (manifest.physics_dim is None and manifest.image_size is None):
        words += ["--obs", "state"]
    elif manifest.image_size is not None and manifest.look not in (None, "fast"):
        words += ["--look", manifest.look]
    return f"train on it with: {command('train', *words)}"
