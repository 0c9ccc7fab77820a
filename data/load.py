"""A dataset decoded for training: rows of all episodes end to end, in memory or as memory maps.

Decoding is done once; a recording is drawn on the way. What comes of it is kept as `.npy` files in the data folder,
under the fingerprint of the dataset, so the next run starts at once.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.lib.format import write_array_header_1_0
from tqdm import tqdm

from data import published
from data.decoded import Decoded
from data.episode import DTYPES, OPTIONAL, Episode
from data.formats.d4rl import is_d4rl, read_d4rl
from data.formats.minari import is_minari, read_minari
from data.locate import find, resolve
from data.manifest import Manifest, check_fits
from data.render import observe_episodes, render_episodes
from data.staging import staged_folder, write_file, writing
from data.store import Dataset
from envs.tasks import Seen, Task
from latent_combo.run.errors import UserError

Storage = Literal["memory", "memmap"]
COLUMNS = ("image", "action", "reward", "is_first", "is_terminal", "physics")
ROWS = "rows.json"
"""Rows of each episode; written last, so a folder that has it is whole."""


def load(name_or_path: str, task: Task, seen: Seen, data_dir: Path, storage: Storage = "memory") -> Decoded:
    """Load a dataset as what of `task` is to be seen, images or states; see `load_pixels` and `load_states`."""
    if seen.pixels:
        return load_pixels(name_or_path, task, seen.look, data_dir, storage, seen.image_size)
    return load_states(name_or_path, task, data_dir)


def load_states(name_or_path: str, task: Task, data_dir: Path, progress: bool = True) -> Decoded:
    """Load a dataset's vector observations: a folder, an HDF5 file in D4RL's layout, or a Minari id.

    Those of a recording that has none are observed in its simulator. Raises UserError when there is no such dataset, or
    it does not fit the task.
    """
    if is_minari(name_or_path) and find(name_or_path, task, data_dir) is None:
        return read_minari(name_or_path, task)
    path = resolve(name_or_path, task, data_dir)
    if is_d4rl(path):
        return read_d4rl(path, task)
    dataset = Dataset(path)
    check_fits(dataset.manifest, task, None, str(path))
    return Decoded.of_states(list(observe_episodes(dataset, progress)))


def load_pixels(
    name_or_path: str,
    task: Task,
    look: str,
    data_dir: Path,
    storage: Storage = "memory",
    image_size: int | None = None,
    progress: bool = True,
) -> Decoded:
    """Load a dataset as images of `task`, `image_size` pixels square (None: the task's).

    A recording is drawn, and any dataset decoded, the first time only. Raises UserError when there is no such dataset,
    it does not fit the task, look or size, one of its files was altered, or `data_dir` cannot be written.
    """
    only_states = published.NAME.fullmatch(name_or_path) or is_minari(name_or_path)
    if only_states and find(name_or_path, task, data_dir) is None:  # nothing is fetched in vain
        raise UserError(f"{name_or_path} holds states and no images; use --obs state")
    path = resolve(name_or_path, task, data_dir)
    if is_d4rl(path):
        raise UserError(f"{path} holds states and no images; use --obs state")
    dataset = Dataset(path)
    size = image_size or task.image_size
    check_fits(dataset.manifest, task, (look, size), str(dataset.folder))
    folder = data_dir / "decoded" / f"{dataset.folder.name}-{dataset.fingerprint()[:16]}-{look}-{size}"
    if (folder / ROWS).exists():
        dataset.verify()
    else:
        episodes = render_episodes(dataset, size, look, progress)
        if dataset.manifest.kind == "pixels":
            episodes = iter(tqdm(dataset, desc=f"decoding {dataset.folder.name}", disable=not progress))
        try:
            _decode(folder, dataset.manifest, episodes)
        except UserError:
            # Another run may have finished the same work first; what it made is as good.
            if not (folder / ROWS).exists():
                raise
    return _open(folder, storage)


def _decode(folder: Path, manifest: Manifest, episodes: Iterator[Episode]) -> None:
    """Write the columns of all episodes, one episode in memory at a time."""
    rows = manifest.transitions + manifest.episodes
    files: dict[str, BinaryIO] = {}
    lengths: list[int] = []
    with staged_folder(folder) as partial, writing(folder), ExitStack() as opened:
        for episode in episodes:
            columns = {name: array for name, array in episode.columns().items() if name in COLUMNS}
            for name, array in columns.items():
                if name not in files:
                    files[name] = opened.enter_context((partial / f"{name}.npy").open("wb"))
                    header = {"descr": array.dtype.str, "fortran_order": False, "shape": (rows, *array.shape[1:])}
                    write_array_header_1_0(files[name], header)
                files[name].write(np.ascontiguousarray(array).data)
            lengths.append(episode.length + 1)
        if sum(lengths) != rows:
            raise UserError(
                f"the manifest of {folder.name} counts {rows} rows, its files {sum(lengths)}; make it again"
            )
        opened.close()
        write_file(partial / ROWS, json.dumps(lengths).encode())


def _open(folder: Path, storage: Storage) -> Decoded:
    """Open a decoded dataset; only images are worth a memory map, the other columns are read."""
    remedy = f"remove {folder} and run again"
    try:
        lengths = np.array(json.loads((folder / ROWS).read_text()), np.int64)
        columns: dict[str, Any] = {
            name: np.load(
                folder / f"{name}.npy", "r" if name == "image" and storage == "memmap" else None, allow_pickle=False
            )
            for name in COLUMNS
            if name not in OPTIONAL or name == "image" or (folder / f"{name}.npy").exists()
        }
    except (OSError, ValueError) as error:
        raise UserError(f"the decoded data in {folder} cannot be read ({error}); {remedy}") from error
    for name, column in columns.items():
        if len(column) != lengths.sum() or column.dtype != DTYPES[name]:
            raise UserError(f"the decoded data in {folder / name}.npy has the wrong size or type; {remedy}")
    return Decoded(observation=columns.pop("image"), **columns, lengths=lengths)
