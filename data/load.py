"""A dataset decoded for training: rows of all episodes end to end, in memory or as memory maps.

Decoding is done once; a recording is drawn on the way. What comes of it is kept as `.npy` files in the data folder,
under the fingerprint of the dataset, so the next run starts at once.
"""

import hashlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from combo_common.errors import UserError
from combo_common.files import require_room, write_all, write_new, writing
from combo_common.lock import waiting_for
from combo_common.memory import free_memory
from combo_common.progress import progress_bar
from combo_common.staging import staged_folder, sweep
from data.actions import is_scaled
from data.dataset import TrajectoryDataset
from data.episode import DTYPES, OPTIONAL, Episode
from data.formats.base import Source
from data.formats.manifest import check_fits
from data.reference import resolve
from data.rules import check_sizes, endings_at_the_limit, equal_observations, equal_rewards, lacks
from data.simulate.rendering import observe_episodes, render_episodes
from envs.pixels import averaged, drawn_size
from envs.task import VIEWPOINTS, ObservationSpec, Task

Storage = Literal["auto", "memory", "memmap"]
"""Where images are while they are trained on; auto: in memory where they leave room for the rest."""
DECODED_VERSION = 2
"""Rises with what changes how images are drawn or rows are laid out: what was decoded before is not used then."""
SHARE = 0.5
"""Of the free memory, beyond which images stay on the disk."""
COLUMNS = ("image", "action", "reward", "is_first", "is_terminal", "physics")
ROWS = "rows.json"
"""Rows of each episode; written last, so a folder that has it is whole."""


def load(
    name_or_path: str,
    task: Task,
    observation_spec: ObservationSpec,
    data_dir: Path,
    storage: Storage = "auto",
    skip_corrupt: bool = False,
) -> TrajectoryDataset:
    """Load a dataset as what of `task` is to be seen: images, images and vectors, or states.

    See `load_pixels`, `with_vectors` and `load_states`.
    """
    indices = task.vector_indices(observation_spec.vectors)
    if observation_spec.pixels:
        decoded = load_pixels(
            name_or_path,
            task,
            observation_spec.look,
            data_dir,
            storage,
            observation_spec.image_size,
            skip_corrupt=skip_corrupt,
        )
        return with_vectors(decoded, name_or_path, task, indices, data_dir, skip_corrupt) if indices else decoded
    return load_states(name_or_path, task, data_dir, skip_corrupt=skip_corrupt)


def with_vectors(
    decoded: TrajectoryDataset,
    name_or_path: str,
    task: Task,
    indices: Sequence[int],
    data_dir: Path,
    skip_corrupt: bool = False,
) -> TrajectoryDataset:
    """A dataset of images with some numbers of its vector observations beside them.

    They are read, or observed in the simulator, the first time only, and kept beside the decoded images. Raises
    UserError where the dataset has neither states nor what they could be observed from.
    """
    source = resolve(name_or_path, task, data_dir).open(task, skip_corrupt)
    skipping = "-skipping" if skip_corrupt else ""
    read = decoded.fingerprint or source.fingerprint()  # which reads all of a large dataset
    folder = data_dir / "decoded" / f"{_kept_as(read, source, task)}-state{skipping}"
    with _making(folder) as begin:
        if begin:
            _write_states(folder, _states(source, task, progress=True, beside="image"))
    try:
        lengths = json.loads((folder / ROWS).read_text())
        state = np.load(folder / "state.npy", allow_pickle=False)
        action = np.load(folder / "action.npy", allow_pickle=False)
    except (OSError, ValueError, TypeError) as error:
        remedy = f"remove {folder} and run again"
        raise UserError(f"the decoded data in {folder} cannot be read ({error}); {remedy}") from error
    if lengths != decoded.lengths.tolist() or not np.array_equal(action, decoded.action):
        raise UserError(
            f"the states of {source.where} are not of the same steps as its images; remove {folder}, or leave "
            "--vectors out"
        )
    check_sizes(source.where, task, state=state)
    return replace(decoded, vector=np.ascontiguousarray(state[:, list(indices)]))


@contextmanager
def _making(folder: Path) -> Iterator[bool]:
    """Whether what is decoded into a folder is missing; others are kept from making it meanwhile, or waited for."""
    if (folder / ROWS).exists():
        yield False
        return
    with waiting_for(folder.with_name(f"{folder.name}.lock"), str(folder)):
        yield not (folder / ROWS).exists()


def _write_states(folder: Path, states: TrajectoryDataset) -> None:
    """Keep the vectors of all episodes, and the actions that tell of which steps they are."""
    with staged_folder(folder) as partial, writing(folder):
        for name, column in (("state", states.observation), ("action", states.action)):
            whole = np.ascontiguousarray(column)
            write_new(partial / f"{name}.npy", npy_header(whole.dtype, whole.shape), whole.data)
        write_new(partial / ROWS, json.dumps(states.lengths.tolist()).encode())


def _kept_as(fingerprint: str, source: Source, task: Task) -> str:
    """How the names of the folders begin in which what is decoded of a dataset is kept."""
    within = "" if is_scaled(task) else f" {task.action_low} {task.action_high}"
    drawn = hashlib.sha256(
        f"{DECODED_VERSION} {task.name} {VIEWPOINTS.get(task.camera, task.camera)}{within}".encode()
    ).hexdigest()
    return f"{Path(source.where).name}-{fingerprint[:16]}-{drawn[:8]}"


def load_states(
    name_or_path: str, task: Task, data_dir: Path, progress: bool = True, skip_corrupt: bool = False
) -> TrajectoryDataset:
    """Load a dataset's vector observations, whatever its layout.

    Those of a recording that has none are observed in its simulator. Raises UserError when there is no such dataset, or
    it does not fit the task.
    """
    source = resolve(name_or_path, task, data_dir).open(task, skip_corrupt)
    return _marked(source, with_remarks(_states(source, task, progress), source.where, task))


def with_remarks(decoded: TrajectoryDataset, where: str, task: Task) -> TrajectoryDataset:
    """A dataset as it is; what is odd of all of its rewards, observations or endings is said on the standard error."""
    rewards = equal_rewards(decoded.reward[~decoded.is_first], bool(decoded.is_terminal.any()))
    terminates = decoded.is_terminal[decoded.starts + decoded.lengths - 1]
    endings = endings_at_the_limit(decoded.lengths - 1, terminates, task.horizon)
    for remark in (rewards, equal_observations(decoded.observation), endings):
        if remark is not None:
            print(f"{where}: {remark}", file=sys.stderr, flush=True)
    return decoded


def _states(source: Source, task: Task, progress: bool, beside: str = "") -> TrajectoryDataset:
    """The vectors of all episodes; see `load_states`. Where they are read beside images, errors say so."""
    if (decoded := source.format.states(source, task)) is not None:
        source.notes.report(source.where)
        return decoded
    if source.dataset is not None:
        manifest = source.dataset.manifest
        check_fits(manifest, task, None, source.where)
        if beside and manifest.state_dim is None and manifest.physics_dim is None:
            raise lacks(source.where, "state", (beside,), beside)
        return TrajectoryDataset.of_states(list(observe_episodes(source.dataset, source.episodes(progress))))
    episodes = []
    for where, episode in source:
        if episode.state is None:
            raise lacks(where, "state", episode.columns(), beside)
        check_sizes(where, task, state=episode.state, action=episode.action)
        episodes.append(replace(_of_robot(episode, task), image=None))
    if not episodes:
        raise UserError(f"there are no episodes in {source.where}; use another dataset")
    return TrajectoryDataset.of_states(episodes)


def _marked(source: Source, decoded: TrajectoryDataset, files: str = "") -> TrajectoryDataset:
    """A dataset with what it is known by, whatever its layout; `files` is the source's fingerprint, if it is known.

    It is the same with and without `skip_corrupt` where no file is damaged.
    """
    read = files or replace(source, skipped=None).fingerprint()
    counted = hashlib.sha256(read.encode() + decoded.lengths.astype("<i8").tobytes())
    return replace(decoded, fingerprint=counted.hexdigest())


def _of_robot(episode: Episode, task: Task) -> Episode:
    """A foreign episode without physics that are not the task's: other programs may mean something else by the name."""
    fits = episode.physics is not None and episode.physics.shape[1] == task.physics_dim
    return episode if fits else replace(episode, physics=None)


def load_pixels(
    name_or_path: str,
    task: Task,
    look: str,
    data_dir: Path,
    storage: Storage = "auto",
    image_size: int | None = None,
    progress: bool = True,
    skip_corrupt: bool = False,
) -> TrajectoryDataset:
    """Load a dataset as images of `task`, `image_size` pixels square (None: as it holds them; a recording, the task's).

    A recording is drawn, and any dataset decoded, the first time only. Raises UserError when there is no such dataset,
    it does not fit the task, look or size, one of its files was altered, or `data_dir` cannot be written.
    """
    reference = resolve(name_or_path, task, data_dir)
    size = image_size or reference.image_size or task.image_size
    if reference.path is None and reference.store is not None and not reference.store.may_hold_images(name_or_path):
        raise UserError(f"{name_or_path} holds states and no images; use --obs state")  # nothing is fetched in vain
    source = reference.open(task, skip_corrupt)
    if not source.format.holds_images:
        raise UserError(f"{source.where} holds states and no images; use --obs state")
    if source.dataset is not None:
        check_fits(source.dataset.manifest, task, (look, size), source.where)
    if not source.format.tells_look:
        told = f"{source.where} ({source.format.title})"
        print(f"{told} does not say how its images were drawn: taken as --look {look}", flush=True)
    skipping = "-skipping" if skip_corrupt else ""
    read = source.fingerprint()
    name = f"{_kept_as(read, source, task)}-{look}-{size}{skipping}"
    folder = data_dir / "decoded" / name
    with _making(folder) as begin:
        if begin:
            if source.dataset is not None:
                manifest = source.dataset.manifest
                pixels = (manifest.transitions + manifest.episodes) * size * size * 3
                remedy = "set another data folder (--data-dir) or a smaller --rssm.conv.image-size"
                require_room(folder, pixels, "the decoded images", remedy)
            _decode(folder, _pixels(source, task, size, look, progress))
    cached = not begin
    if cached and source.dataset is not None and not skip_corrupt:
        source.dataset.verify()
    decoded = _open(folder, storage)
    left_out = (source.count or 0) - len(decoded.lengths)
    if cached and skip_corrupt and left_out > 0:  # said again: it was not read again
        print(f"{source.where}: left out {left_out} of {source.count} files, which are damaged", file=sys.stderr)
    return _marked(source, with_remarks(decoded, source.where, task), "" if skip_corrupt else read)


def _pixels(source: Source, task: Task, size: int, look: str, progress: bool) -> Iterator[Episode]:
    """Episodes with images of a size: drawn, or as they lie there."""
    dataset = source.dataset
    if dataset is not None and dataset.manifest.kind == "recording":
        yield from render_episodes(dataset, size, look, progress, skipped=source.skipped)
        return
    said = f"decoding {Path(source.where).name}"
    for where, episode in progress_bar(source, desc=said, unit="episode", total=source.count, disable=not progress):
        if episode.image is None:
            raise lacks(where, "image", episode.columns())
        episode = replace(episode, image=resized(where, episode.image, size))
        check_sizes(where, task, action=episode.action)
        yield episode if dataset is not None else _of_robot(episode, task)


def resized(where: str, images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Images (T+1, H, H, 3) of `size` pixels square; larger ones are averaged where they are drawn so when scored.

    Small pictures are drawn at MIN_DRAWN_SIZE pixels and averaged, so 64 pixels make 32 or 16. Raises UserError for
    others: what was averaged is not what the simulator draws at that size.
    """
    height, width = images.shape[1:3]
    if height == width == size:
        return images
    if not height == width == drawn_size(size):
        remedy = f"set --rssm.conv.image-size {height}" if height == width else "cut squares"
        raise UserError(f"{where}: images are of {height} by {width} pixels, not {size} square; {remedy}")
    return averaged(images, size)


def npy_header(dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> bytes:
    """How a `.npy` file begins; it is of one length for any number of rows."""
    header = io.BytesIO()
    write_array_header_1_0(header, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    return header.getvalue()


def _decode(folder: Path, episodes: Iterator[Episode]) -> None:
    """Write the columns of all episodes, one episode in memory at a time."""
    files: dict[str, io.RawIOBase] = {}
    kinds: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
    lengths: list[int] = []
    sweep(folder.parent)  # what was decoded of data that have changed since has other names
    with staged_folder(folder) as partial, writing(folder), ExitStack() as opened:
        for episode in episodes:
            columns = {name: array for name, array in episode.columns().items() if name in COLUMNS}
            for name, array in columns.items():
                if name not in files:
                    if lengths:
                        raise UserError(f"only some episodes for {folder.name} have `{name}`; make the dataset again")
                    files[name] = opened.enter_context((partial / f"{name}.npy").open("wb", buffering=0))
                    kinds[name] = array.dtype, array.shape[1:]
                    write_all(files[name].fileno(), npy_header(array.dtype, (0, *array.shape[1:])))
                if array.shape[1:] != kinds[name][1]:
                    raise UserError(f"`{name}` is not of one size in all episodes for {folder.name}; make it again")
                write_all(files[name].fileno(), np.ascontiguousarray(array).data)
            if len(columns) != len(files):
                raise UserError(f"only some episodes for {folder.name} have {', '.join(files)}; make the dataset again")
            lengths.append(episode.length + 1)
        if not lengths:
            raise UserError(f"there are no episodes for {folder.name}; use another dataset")
        for name, file in files.items():
            file.seek(0)
            write_all(file.fileno(), npy_header(kinds[name][0], (sum(lengths), *kinds[name][1])))
        opened.close()
        write_new(partial / ROWS, json.dumps(lengths).encode())  # which fails where the folder is gone


def _open(folder: Path, storage: Storage) -> TrajectoryDataset:
    """Open a decoded dataset; only images are worth a memory map, the other columns are read."""
    remedy = f"remove {folder} and run again"
    try:
        lengths = np.array(json.loads((folder / ROWS).read_text()), np.int64)
        if storage == "auto":
            storage = "memmap" if (folder / "image.npy").stat().st_size > SHARE * free_memory() else "memory"
        columns: dict[str, Any] = {
            name: np.load(
                folder / f"{name}.npy", "r" if name == "image" and storage == "memmap" else None, allow_pickle=False
            )
            for name in COLUMNS
            if name not in OPTIONAL or name == "image" or (folder / f"{name}.npy").exists()
        }
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"the decoded data in {folder} cannot be read ({error}); {remedy}") from error
    for name, column in columns.items():
        if len(column) != lengths.sum() or column.dtype != DTYPES[name]:
            raise UserError(f"the decoded data in {folder / name}.npy has the wrong size or type; {remedy}")
    return TrajectoryDataset(observation=columns.pop("image"), **columns, lengths=lengths)
