"""Minari's datasets, by the minari library: vectors, or images that are stored as they are (its default is JPEG).

An observation is a vector, an image (H, W, 3), or a dictionary of both (`state`, `image`), or of whatever keys the task
names; actions are in the simulator's bounds; `infos/physics` has the simulator's states of datasets that were converted
here.
"""

import itertools
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from combo_common.bounded_json import parse_json, read_json
from combo_common.errors import UserError
from combo_common.reason import reason
from data.actions import BOUND, bounds, simulator_actions
from data.episode import Episode
from data.formats.base import Contents, Format, Named, Source, other_discounts, side
from data.formats.minari_episode import episode_of
from data.formats.store import Store
from data.notes import Notes
from data.safe.minari import HDF5, METADATA, check_minari
from data.skipped import Skipped
from envs.registry import task_of_environment
from envs.task import Task

if TYPE_CHECKING:
    import gymnasium  # which minari imports, where it is used

IMAGE_AXES = 3
ID = re.compile(r"[\w-]+(/[\w-]+)+-v\d+")
ROBOT = re.compile(r"mujoco/([a-z0-9]+)/[\w-]+")
"""Ids of Minari's own sets of gymnasium's robots, all of which were recorded in version 5."""


class MinariStore(Store):
    """Minari's ids, in its library's own folder or on the network."""

    by_name: ClassVar[bool] = True

    def has(self, name: str) -> bool:
        """Whether it is an id."""
        return is_minari(name)

    def may_hold_images(self, name: str) -> bool:
        """Those of gymnasium's robots are vectors."""
        return not name.startswith("mujoco/")

    def task(self, name: str) -> str | None:
        """Minari's own sets of robots are of version 5."""
        robot = ROBOT.fullmatch(name)
        return None if robot is None else task_of_environment(f"{robot[1]}-v5")

    def find(self, name: str, data_dir: Path) -> Path | None:
        """The folder in minari's store, unread."""
        root = os.environ.get("MINARI_DATASETS_PATH")
        return minari_folder((Path(root) if root else Path.home() / ".minari" / "datasets") / name)

    def fetch(self, name: str, data_dir: Path) -> Path:
        """The folder, fetched by minari, which says where it is."""
        return locate_minari(name)


class Minari(Format):
    """A folder of Minari's, read by its library."""

    name: ClassVar[str] = "minari"
    title: ClassVar[str] = "Minari"
    store: ClassVar[Store | None] = MinariStore()
    writable: ClassVar[bool] = True

    def matches(self, path: Path) -> bool:
        """A folder with Minari's two files."""
        return minari_folder(path) is not None

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files of the folder."""
        return tuple(sorted(part for part in (minari_folder(path) or path).rglob("*") if part.is_file()))

    def says(self, path: Path) -> dict[str, Any]:
        """The task of the environment that it was recorded in, if that is known."""
        task = task_of_environment(recorded_in(path))
        return {} if task is None else {"task": task}

    def image_size(self, path: Path) -> int | None:
        """By the metadata, where one image is observed."""
        shapes = [tuple(space["shape"]) for space in spaces_of(path).values() if space.get("dtype") == "uint8"]
        images = [shape for shape in shapes if len(shape) == IMAGE_AXES]
        return side(images[0]) if len(images) == 1 else None

    def open(self, path: Path, where: str, task: Task | None, split: str, skipped: Skipped | None) -> Source:
        """Read the metadata."""
        return Source(where, self, path, self.files(path), task, split, environment=recorded_in(path))

    def episodes(self, source: Source) -> Iterator[Named]:
        """The episodes as the library gives them."""
        return minari_episodes(source.path, source.task, source.notes)

    def write(self, out: str, episodes: Iterator[Episode], source: Source, look: str | None) -> int:
        """Write into Minari's store; `out` is an id."""
        task = source.known_task()
        said = f"{task.name}{f', {source.split}' if source.split else ''}: {task.reward}"
        return write_minari(out, episodes, task, f"{said} (converted by latent-combo)")

    def cannot_hold(self, contents: Contents) -> list[str]:
        """Endings are flags."""
        return [*other_discounts(contents), *super().cannot_hold(contents)]

    def unread(self, source: Source, keys: set[str]) -> list[str]:
        """What Minari knows beside the episodes."""
        return ["Minari's metadata (description, authors, references) and infos but for the physics"]


def is_minari(name: str) -> bool:
    """Whether a name is of Minari's form, such as mujoco/hopper/medium-v0."""
    return ID.fullmatch(name) is not None


def minari_folder(path: Path) -> Path | None:
    """The folder with a dataset's files, for its own path or the one above; None where it is no dataset of Minari's."""
    return next(
        (folder for folder in (path, path / "data") if all((folder / name).is_file() for name in (METADATA, HDF5))),
        None,
    )


def spaces_of(path: Path) -> dict[str, dict[str, Any]]:
    """What is observed, as the metadata have it: the spaces of a dictionary by their keys, any other as "".

    Raises OSError, ValueError, LookupError or TypeError for metadata that are not sound.
    """
    space = parse_json(read_json((minari_folder(path) or path) / METADATA)["observation_space"])
    return dict(space["subspaces"]) if space["type"] == "Dict" else {"": space}


def recorded_in(path: Path) -> str:
    """Gymnasium's id of the environment that a dataset says it was recorded in; empty where it does not say."""
    try:
        spec = read_json((minari_folder(path) or path) / METADATA).get("env_spec")
        told = parse_json(spec).get("id") if isinstance(spec, str) else None
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""  # opening it tells what is wrong
    return told if isinstance(told, str) and told.isprintable() else ""


def locate_minari(name: str) -> Path:
    """The folder of a dataset in minari's store, downloaded by minari if need be. Raises UserError where that fails."""
    try:
        import minari
        from minari.storage.datasets_root_dir import get_dataset_path
    except ImportError as error:
        raise UserError(f'{name} is a dataset of Minari: pip install "latent-combo[minari]"') from error
    try:
        local = minari_folder(Path(get_dataset_path(name)))
        if local is None:
            minari.download_dataset(name)
            local = minari_folder(Path(get_dataset_path(name)))
    except Exception as error:  # minari raises what its store, its cache and its network happen to
        raise UserError(
            f"Minari has no dataset {name} here, and it could not be fetched ({reason(error)}); "
            f"on a machine with a network: minari download {name}"
        ) from error
    if local is None:
        raise UserError(f"Minari fetched {name}, but it has no {METADATA}; fetch it anew with --force")
    return local


def open_minari(path: Path) -> Any:
    """A dataset by its folder. Raises UserError for files that minari had better not read, or cannot."""
    try:
        import minari
    except ImportError as error:
        raise UserError(f'{path} is a dataset of Minari: pip install "latent-combo[minari]"') from error
    folder = minari_folder(path)
    if folder is None:
        raise UserError(f"{path} is no dataset of Minari's: it has no {METADATA}")
    check_minari(folder)
    try:
        return minari.MinariDataset(folder)
    except Exception as error:  # whatever minari does not expect of a file
        raise UserError(f"Minari cannot read {path} ({reason(error)}); fetch it again") from error


def minari_episodes(path: Path, task: Task | None = None, notes: Notes | None = None) -> Iterator[tuple[str, Episode]]:
    """The episodes of a dataset, each with what it is called. Raises UserError as `open_minari` does.

    Actions are in the bounds of the task's simulator, but for a set whose space of actions is [-1, 1].
    """
    dataset = open_minari(path)
    space = dataset.action_space
    scaled = bool(np.all(getattr(space, "low", 0.0) == -BOUND) and np.all(getattr(space, "high", 0.0) == BOUND))
    found = iter(dataset.iterate_episodes())
    while True:
        try:
            episode = next(found, None)
        except Exception as error:  # whatever minari does not expect of a file
            raise UserError(f"Minari cannot read {path} ({reason(error)}); fetch it again") from error
        if episode is None:
            return
        where = f"{path}, episode {episode.id}"
        yield where, episode_of(where, episode, task, scaled, notes)


def write_minari(name: str, episodes: Iterable[Episode], task: Task, description: str) -> int:
    """Write a dataset into minari's store under an id; returns the number of episodes.

    Images are stored as they are, and actions in the simulator's bounds. Raises UserError for a name that is no id or
    is there already.
    """
    try:
        import minari
        from gymnasium.spaces import Box
        from minari.data_collector import EpisodeBuffer
        from minari.storage.datasets_root_dir import get_dataset_path
    except ImportError as error:
        raise UserError('writing for Minari needs minari: pip install "latent-combo[minari]"') from error
    if not is_minari(name):
        raise UserError(f"{name} is no id of Minari's, such as walker-walk/medium-v0; name one as OUT")
    if (there := Path(get_dataset_path(name))).exists():
        raise UserError(f"Minari has a dataset {name} already, in {there}; name another, or minari delete {name}")
    following = iter(episodes)
    first = next(following, None)
    if first is None:
        raise UserError(f"there are no episodes to write to {name}")
    count, (low, high) = 0, bounds(task)

    def buffers() -> Iterator[Any]:
        nonlocal count
        for number, episode in enumerate(itertools.chain([first], following)):
            ends = np.arange(1, episode.length + 1) == episode.length
            terminations = episode.is_terminal[1:]
            count += 1
            yield EpisodeBuffer(
                id=number,
                observations=_observations(episode),
                actions=simulator_actions(episode.action[1:], task),
                rewards=episode.reward[1:],
                terminations=terminations,
                truncations=ends & ~terminations,
                infos=None if episode.physics is None else {"physics": episode.physics},
            )

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # at each thing that is not told, such as an author's address
            minari.create_dataset_from_buffers(
                name,
                buffers(),
                observation_space=_space(first),
                action_space=Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32),
                ref_min_score=task.random_return,
                ref_max_score=task.expert_return,
                description=description,
                jpeg_encoding=False,
            )
    except BaseException:  # half of it would be taken for a dataset
        shutil.rmtree(there, ignore_errors=True)
        raise
    return count


def _observations(episode: Episode) -> dict[str, NDArray[Any]] | NDArray[Any] | None:
    if episode.image is not None and episode.state is not None:
        return {"image": episode.image, "state": episode.state}
    return episode.state if episode.image is None else episode.image


def _space(episode: Episode) -> "gymnasium.Space[Any]":
    from gymnasium import spaces as kinds

    spaces: dict[str, gymnasium.Space[Any]] = {}
    if episode.image is not None:
        spaces["image"] = kinds.Box(0, 255, episode.image.shape[1:], np.uint8)
    if episode.state is not None:
        spaces["state"] = kinds.Box(-np.inf, np.inf, episode.state.shape[1:], np.float32)
    if not spaces:
        raise UserError("the episodes have neither images nor states; draw the recording with data.render first")
    return kinds.Dict(spaces) if len(spaces) == 2 else next(iter(spaces.values()))
