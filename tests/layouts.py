"""The same episodes in every layout that holds them, written without this project's own checks where it has some."""

import itertools
import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from data.dataset import TrajectoryDataset
from data.episode import Episode
from data.formats.manifest import describe
from data.formats.native import write_dataset
from data.load import load_pixels, load_states
from envs.registry import get_task
from envs.task import Task

HOPPER = get_task("hopper")
SIZE = 32
"""Pixels; minari packs none of fewer."""
OF_STATES = [
    "own", "dreamer", "lompo", "d4rl",
    pytest.param("minari", marks=pytest.mark.skipif(find_spec("minari") is None, reason="minari is not installed")),
]  # fmt: skip
OF_IMAGES = ["own", "dreamer", "lompo", "vd4rl", OF_STATES[-1]]


def hop(steps: int, seed: int, terminal: bool = False, image: bool = False) -> Episode:
    """Positions that move by their velocities, from a start near zero; each step pays 1 but the last, 0.5."""
    rng = np.random.default_rng(seed)
    action = rng.uniform(-0.9, 0.9, (steps, HOPPER.action_dim))
    velocity, position = np.zeros((steps + 1, 6)), np.zeros((steps + 1, 5))
    position[0] = rng.uniform(-0.01, 0.01, 5)
    for t in range(steps):
        velocity[t + 1] = 0.98 * velocity[t] + np.tile(action[t], 2) + rng.normal(0.0, 0.1, 6)
        position[t + 1] = position[t] + 0.01 * velocity[t + 1, :5] + 0.001
    reward = np.ones(steps)
    reward[-1] = 0.5
    state = np.concatenate([position, velocity], axis=1)
    frames = None
    if image:
        shade = np.clip(100.0 + 20.0 * position[:, :1] + np.arange(SIZE), 0, 255).astype(np.uint8)
        frames = np.broadcast_to(shade[:, None, :, None], (steps + 1, SIZE, SIZE, 3)).copy()
    return Episode.from_transitions(action, reward, state=state, image=frames, terminal=terminal)


def joined(one: Episode, other: Episode) -> Episode:
    """Two episodes as one whose end in between is not marked: the last observation of the first is lost."""
    parts = {
        key: np.concatenate([column[:-1] if key in ("state", "image") else column, other.columns()[key][1:]])
        if key in ("action", "reward")
        else np.concatenate([column[:-1], other.columns()[key]])
        for key, column in one.columns().items()
        if key in ("state", "image", "action", "reward")
    }
    return Episode.from_transitions(
        parts["action"][1:], parts["reward"][1:], state=parts["state"], image=parts.get("image"),
        terminal=bool(other.is_terminal[-1]),
    )  # fmt: skip


def d4rl_columns(episodes: list[Episode], version: int = 2) -> dict[str, NDArray[Any]]:
    """D4RL's columns; version 0 has no next observations."""
    last = [np.arange(1, episode.length + 1) == episode.length for episode in episodes]
    columns = {
        "observations": np.concatenate([episode.columns()["state"][:-1] for episode in episodes]),
        "actions": np.concatenate([episode.action[1:] for episode in episodes]),
        "rewards": np.concatenate([episode.reward[1:] for episode in episodes]),
        "terminals": np.concatenate([episode.is_terminal[1:] for episode in episodes]),
        "timeouts": np.concatenate(
            [end & ~episode.is_terminal[1:] for end, episode in zip(last, episodes, strict=True)]
        ),
    }
    if version:
        columns["next_observations"] = np.concatenate([episode.columns()["state"][1:] for episode in episodes])
    return columns


def write_columns(path: Path, columns: dict[str, NDArray[Any]]) -> Path:
    """An HDF5 file of these columns."""
    with h5py.File(path, "w") as file:
        for key, values in columns.items():
            file[key] = values
    return path


def write_minari(
    root: Path, episodes: list[Episode], task: Task = HOPPER, environment: str | None = None, **observed: Any
) -> str:
    """A dataset by minari; `observed` are further observations of its dictionary, by key. Returns its id."""
    import minari
    from minari.data_collector import EpisodeBuffer

    box, first = gymnasium.spaces.Box, episodes[0]
    image = first.image is not None and not observed
    seen = first.image if image else first.state
    assert seen is not None
    space: Any = box(0, 255, seen.shape[1:], np.uint8) if image else box(-np.inf, np.inf, seen.shape[1:], np.float32)
    if observed:
        further = {key: box(-np.inf, np.inf, (width,), np.float32) for key, width in observed.items()}
        space = gymnasium.spaces.Dict({"observation": space, **further})
    buffers = []
    for number, episode in enumerate(episodes):
        shown: Any = episode.image if image else episode.state
        if observed:
            shown = {"observation": shown}
            shown |= {key: np.zeros((episode.length + 1, width), np.float32) for key, width in observed.items()}
        ends = np.arange(1, episode.length + 1) == episode.length
        buffers.append(
            EpisodeBuffer(
                id=number, observations=shown, actions=episode.action[1:], rewards=episode.reward[1:],
                terminations=episode.is_terminal[1:], truncations=ends & ~episode.is_terminal[1:],
            )
        )  # fmt: skip
    name = f"test/{task.name}/some-v0"
    more = {} if environment is None else {"env": environment}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            name, buffers, observation_space=space, jpeg_encoding=False,
            action_space=box(-2.0, 2.0, (first.action.shape[1],), np.float32), **more,
        )  # fmt: skip
    return name


def write_in(layout: str, root: Path, episodes: list[Episode], monkeypatch: pytest.MonkeyPatch) -> str:
    """Episodes of the hopper in a layout, as they are; returns what the setting `dataset` takes."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root / "minari"))
    (root / "minari").mkdir(exist_ok=True)
    folder = root / f"hopper-{layout}"
    if layout == "own":
        described = describe(HOPPER, "random", 0, {})
        if episodes[0].image is not None:
            described = replace(described, image_size=SIZE, look="fast")
        write_dataset(folder, episodes, described, progress=False)
    elif layout == "minari":
        return write_minari(root, episodes)
    elif layout == "d4rl":
        return str(write_columns(folder.with_suffix(".hdf5"), d4rl_columns(episodes)))
    elif layout == "vd4rl":
        columns = {key: np.concatenate([getattr(e, key) for e in episodes]) for key in ("action", "reward", "discount")}
        columns["observation"] = np.concatenate([e.columns()["image"] for e in episodes]).transpose(0, 3, 1, 2)
        columns["step_type"] = np.concatenate([np.array([0, *[1] * (e.length - 1), 2]) for e in episodes])
        folder.mkdir()
        write_columns(folder / "0.hdf5", columns)
    else:
        folder.mkdir()
        for number, episode in enumerate(episodes):
            flags = () if layout == "dreamer" else ("is_first", "is_last", "is_terminal")
            kept = {key: column for key, column in episode.columns().items() if key not in flags}
            np.savez_compressed(folder / f"{number:03d}.npz", **kept)
    return str(folder)


def read(dataset: str, root: Path, pixels: bool = False, task: Task = HOPPER) -> TrajectoryDataset:
    """What training reads of it."""
    if pixels:
        return load_pixels(dataset, task, "fast", root, image_size=SIZE, progress=False)
    return load_states(dataset, task, root, progress=False)


def both() -> list[Any]:
    """Every layout, of states and of images, as parameters (layout, pixels)."""

    def of(layout: Any, pixels: bool) -> Any:
        if isinstance(layout, str):
            return pytest.param(layout, pixels, id=f"{layout}-{'images' if pixels else 'states'}")
        return pytest.param(*layout.values, pixels, marks=layout.marks, id=f"minari-{'images' if pixels else 'states'}")

    return list(
        itertools.chain((of(layout, False) for layout in OF_STATES), (of(layout, True) for layout in OF_IMAGES))
    )
