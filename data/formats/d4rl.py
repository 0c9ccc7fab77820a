"""D4RL's HDF5 files: columns of transitions, one after another, episodes cut by flags.

`observations` (M, S), `actions` (M, A), `rewards` (M,), `terminals` (M,), `timeouts` (M,) and, from version 2 on,
`next_observations` (M, S). `infos/*` are further columns, `metadata/*` scalars and weights of the behaviour policy. A
terminal row ends an episode for good, even if it is a timeout, too; a timeout ends it, and is bootstrapped through.
Actions are in the simulator's bounds.

Files of this project keep the simulator's state as D4RL does, in `infos/qpos` and `infos/qvel` before each step, and,
since what an episode ends in is no row of such a file, in `infos/final_qpos` and `infos/final_qvel` (E, ...).
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from combo_common.files import write_atomically
from data.actions import simulator_actions
from data.d4rl_download import D4RLStore
from data.dataset import TrajectoryDataset
from data.episode import Episode
from data.formats.base import Contents, Format, Named, Source, other_discounts
from data.formats.d4rl_columns import PHYSICS, checked, flags, read_columns, vectors
from data.formats.d4rl_rows import to_episodes
from data.formats.hdf5_file import SUFFIXES, is_hdf5, read_metadata
from data.formats.store import Store
from data.notes import Notes
from data.rows import Rows, cut
from data.safe.hdf5 import open_hdf5
from data.skipped import Skipped
from envs.task import Task


class D4RL(Format):
    """One file, of vector observations."""

    name: ClassVar[str] = "d4rl"
    title: ClassVar[str] = "D4RL's HDF5"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    store: ClassVar[Store | None] = D4RLStore()
    holds_images: ClassVar[bool] = False
    writable: ClassVar[bool] = True

    def matches(self, path: Path) -> bool:
        """An HDF5 file; V-D4RL's, which look alike, are told before."""
        return is_hdf5(path)

    def says(self, path: Path) -> dict[str, Any]:
        """What is below `metadata/`."""
        return {**read_metadata(path)}

    def open(self, path: Path, where: str, task: Task | None, split: str, skipped: Skipped | None) -> Source:
        """Read the metadata."""
        return Source(where, self, path, (path,), task, split, metadata=read_metadata(path))

    def episodes(self, source: Source) -> Iterator[Named]:
        """The episodes, once the whole file is read."""
        for number, episode in enumerate(read_d4rl(source.path, source.known_task(), source.notes).episodes()):
            yield f"episode {number}", episode

    def states(self, source: Source, task: Task) -> TrajectoryDataset:
        """The whole file."""
        return read_d4rl(source.path, task, source.notes)

    def write(self, out: str, episodes: Iterator[Episode], source: Source, look: str | None) -> int:
        """Write a file, with the source's metadata."""
        if not is_hdf5(Path(out)):
            raise UserError(f"{out} is to be an HDF5 file; name it {out}.hdf5")
        task, count = source.known_task(), 0

        def with_states() -> Iterator[Episode]:
            nonlocal count
            for episode in episodes:
                count += 1
                if episode.state is None:
                    raise UserError(
                        f"{source.where} holds no vector observations, which D4RL's layout is of; convert to another"
                    )
                yield episode

        write_d4rl(Path(out), with_states(), task, {"task": task.name, "split": source.split} | source.metadata)
        return count

    def cannot_hold(self, contents: Contents) -> list[str]:
        """It has vectors and flags alone; metadata are kept."""
        lost = ["images"] if "image" in contents.keys else []
        return [*lost, *other_discounts(contents), *super().cannot_hold(replace(contents, metadata=False))]

    def unread(self, source: Source, keys: set[str]) -> list[str]:
        """Columns that are no part of an episode, and observations that are not in the file."""
        unread = []
        with open_hdf5(source.path) as columns:
            if "infos" in columns.names() and "physics" not in keys:
                unread.append("what is below infos/, and numbers below metadata/")
            if columns.dataset("next_observations") is None:
                unread.append(
                    "what episodes ended in, which the file does not tell (a time limit loses its last step, a "
                    "terminal row repeats the observation before)"
                )
        return unread


def read_d4rl(path: Path, task: Task, notes: Notes | None = None) -> TrajectoryDataset:
    """Read a whole file; what is done with it is noted.

    Raises UserError naming the file, the key and what is wrong with it.
    """
    notes = Notes() if notes is None else notes
    columns = read_columns(path)
    observation, action, reward, terminal = checked(path, columns, task, notes)
    next_observations = columns.get("next_observations")
    if next_observations is not None:
        next_observations = vectors(path, "next_observations", next_observations, task.state_dim, task, notes)
    timeout = columns.get("timeouts")
    if timeout is not None:
        timeout = flags(path, "timeouts", timeout)
    found = cut(Rows(str(path), observation, next_observations, terminal, timeout), task.horizon, task.name, notes)
    physics = _physics(path, columns, task, found.end)
    decoded = to_episodes(observation, action, reward, terminal, found.end, next_observations, found.known, physics)
    if not len(decoded.lengths):
        raise UserError(f"{path}: no episode has a step whose next observation is known; use version 2 of the dataset")
    return decoded


def _physics(
    path: Path, columns: dict[str, NDArray[Any]], task: Task, end: NDArray[np.bool_]
) -> tuple[NDArray[Any], ...] | None:
    """The simulator's states before each step and at each end, if the file has all of them."""
    parts = [columns.get(f"infos/{name}") for name in PHYSICS]
    if any(part is None or part.ndim != 2 for part in parts):
        return None
    qpos, qvel, final_qpos, final_qvel = (np.asarray(part, np.float64) for part in parts)
    if len(qpos) != len(qvel) or len(final_qpos) != len(final_qvel):
        return None
    before, final = np.concatenate([qpos, qvel], -1), np.concatenate([final_qpos, final_qvel], -1)
    if before.shape != (len(end), task.physics_dim) or final.shape != (int(end.sum()), task.physics_dim):
        return None
    if not (np.isfinite(before).all() and np.isfinite(final).all()):
        raise UserError(f"{path}: `infos` has simulator's states with a NaN or Inf; mend or remove them")
    return before, final


def write_d4rl(path: Path, episodes: Iterable[Episode], task: Task, metadata: dict[str, str]) -> int:
    """Write episodes that have states, in D4RL's layout of version 2; returns the number of transitions.

    Actions are written in the simulator's bounds, as D4RL's are. `metadata` becomes scalars below `metadata/`. Raises
    UserError where the file exists or can't be written.
    """
    if path.exists():
        raise UserError(f"{path} exists already; remove it or name another")
    columns: dict[str, list[NDArray[Any]]] = {}

    def add(key: str, values: NDArray[Any]) -> None:
        columns.setdefault(key, []).append(values)

    for episode in episodes:
        assert episode.state is not None, "episodes of a D4RL file have states"
        ends = np.arange(1, episode.length + 1) == episode.length
        add("observations", episode.state[:-1])
        add("next_observations", episode.state[1:])
        add("actions", simulator_actions(episode.action[1:], task))
        add("rewards", episode.reward[1:])
        add("terminals", episode.is_terminal[1:])
        add("timeouts", ends & ~episode.is_terminal[1:])
        if episode.physics is not None:
            positions = task.positions
            add("infos/qpos", episode.physics[:-1, :positions])
            add("infos/qvel", episode.physics[:-1, positions:])
            add("infos/final_qpos", episode.physics[-1:, :positions])
            add("infos/final_qvel", episode.physics[-1:, positions:])
    if not columns:
        raise UserError(f"no episodes to write to {path}")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for key, parts in columns.items():
            file.create_dataset(key, data=np.concatenate(parts), compression="gzip", shuffle=True)
        for key, text in metadata.items():
            file[f"metadata/{key}"] = text
    write_atomically(path, buffer.getvalue())
    return sum(len(part) for part in columns["rewards"])
