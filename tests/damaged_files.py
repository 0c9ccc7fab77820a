"""Tiny valid datasets of every layout, for the tests that damage them."""

import warnings
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from data.episode import Episode
from data.formats.dreamer import write_episodes
from data.formats.manifest import describe
from data.formats.minari import write_minari
from data.formats.native import write_dataset
from envs.registry import get_task

HOPPER = get_task("hopper")


def tiny_episode(seed: int = 0, transitions: int = 3, image_size: int | None = None) -> Episode:
    """A random episode of the hopper, without its simulator's state."""
    rng = np.random.default_rng(seed)
    image = None
    if image_size is not None:
        image = rng.integers(0, 256, (transitions + 1, image_size, image_size, 3), np.uint8)
    return Episode.from_transitions(
        rng.uniform(-1.0, 1.0, (transitions, HOPPER.action_dim)),
        rng.uniform(0.0, 2.0, transitions),
        state=rng.normal(size=(transitions + 1, HOPPER.state_dim)),
        image=image,
        terminal=seed % 2 == 0,
    )


def own_folder(folder: Path, episodes: int = 1) -> Path:
    """A dataset in the project's own layout."""
    played = [tiny_episode(seed) for seed in range(episodes)]
    write_dataset(folder, played, describe(HOPPER, "random", 0, {"algorithm": "none"}), progress=False)
    return folder


def dreamer_folder(folder: Path, episodes: int = 1, flags: bool = True) -> Path:
    """Files of Dreamer's layout and V-D4RL's (with flags), or of LOMPO's."""
    write_episodes(folder, [tiny_episode(seed, image_size=4) for seed in range(episodes)], flags)
    return folder


def shard_columns() -> dict[str, NDArray[Any]]:
    """Two episodes of 4 and 3 rows, the second of which ends for good."""
    rng = np.random.default_rng(0)
    step_type = np.array([0, 1, 1, 2, 0, 1, 2])
    first = step_type == 0
    return {
        "observation": rng.integers(0, 256, (7, 3, 4, 4), np.uint8),
        "action": np.where(first[:, None], 0.0, rng.uniform(-1.0, 1.0, (7, 6))).astype(np.float32),
        "reward": np.where(first, 0.0, rng.uniform(0.0, 2.0, 7)).astype(np.float32),
        "discount": np.array([1, 1, 1, 1, 1, 1, 0], np.float32),
        "step_type": step_type,
    }


def hopper_columns() -> dict[str, NDArray[Any]]:
    """D4RL's columns: 12 transitions of two episodes; the first falls."""
    rng = np.random.default_rng(0)
    observation = rng.normal(size=(12, 11)).astype(np.float32)
    number = np.arange(12)
    following = np.roll(observation, -1, 0)
    following[[5, 11]] = np.random.default_rng(1).normal(size=(2, 11))  # what is in no other row
    return {
        "observations": observation,
        "next_observations": following,
        "actions": rng.uniform(-1.0, 1.0, (12, 3)).astype(np.float32),
        "rewards": rng.uniform(0.0, 2.0, 12).astype(np.float32),
        "terminals": number == 5,
        "timeouts": number == 11,
        "infos/qpos": rng.normal(size=(12, 6)),
        "infos/qvel": rng.normal(size=(12, 6)),
        "infos/final_qpos": rng.normal(size=(2, 6)),
        "infos/final_qvel": rng.normal(size=(2, 6)),
    }


def write_hdf5(path: Path, columns: dict[str, Any], texts: dict[str, str] | None = None, packed: bool = False) -> Path:
    """An HDF5 file of these datasets, packed or as they are, and scalars of text below `metadata`."""
    with h5py.File(path, "w") as file:
        for key, values in columns.items():
            file.create_dataset(key, data=values, compression="gzip" if packed else None, shuffle=packed)
        for key, text in (texts or {}).items():
            file[f"metadata/{key}"] = text
    return path


def minari_dataset(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a dataset of vectors that minari wrote below `root`."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    write_minari("test/hopper-v0", [tiny_episode(0, 3), tiny_episode(1, 2)], HOPPER, "a test")
    return root / "test" / "hopper-v0" / "data"


def minari_pictures(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a dataset of images as minari stores them, if not told otherwise: JPEG, of any length."""
    import minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    episode, box = tiny_episode(0, 2, 32), gymnasium.spaces.Box
    buffer = minari.data_collector.EpisodeBuffer(
        id=0, observations=episode.image, actions=episode.action[1:], rewards=episode.reward[1:],
        terminations=episode.is_terminal[1:], truncations=episode.is_terminal[1:] & False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        minari.create_dataset_from_buffers(
            "test/pictures-v0", [buffer], observation_space=box(0, 255, (32, 32, 3), np.uint8),
            action_space=box(-1.0, 1.0, (HOPPER.action_dim,), np.float32),
        )  # fmt: skip
    return root / "test" / "pictures-v0" / "data"
