"""Minari's datasets, made by minari itself."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from combo_common.errors import UserError
from data.load import load_states
from data.simulate.rollout import PolicySpec, played_episodes
from envs.registry import get_task

minari = pytest.importorskip("minari")
EpisodeBuffer = pytest.importorskip("minari.data_collector").EpisodeBuffer
HOPPER = get_task("hopper")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def test_a_minari_dataset_is_read_as_what_was_collected(tmp_path: Path) -> None:
    episodes = [episode for episode, _ in zip(played_episodes(HOPPER, PolicySpec(), 1, seed=0), range(5), strict=False)]
    buffers = []
    for number, episode in enumerate(episodes):
        terminal = np.zeros(episode.length, bool)
        terminal[-1] = episode.is_terminal[-1] and number != 2  # one that ran out of time
        ends = np.arange(1, episode.length + 1) == episode.length
        buffers.append(
            EpisodeBuffer(
                id=number, observations=episode.state, actions=episode.action[1:], rewards=episode.reward[1:],
                terminations=terminal, truncations=ends & ~terminal,
            )
        )  # fmt: skip
    box = gymnasium.spaces.Box
    minari.create_dataset_from_buffers(
        "test/hopper/random-v0", buffers, observation_space=box(-np.inf, np.inf, (11,), np.float32),
        action_space=box(-1.0, 1.0, (3,), np.float32),
    )  # fmt: skip
    read = load_states("test/hopper/random-v0", HOPPER, tmp_path)
    np.testing.assert_array_equal(read.observation, np.concatenate([episode.state for episode in episodes]))
    np.testing.assert_array_equal(read.action, np.concatenate([episode.action for episode in episodes]))
    assert read.lengths.tolist() == [episode.length + 1 for episode in episodes]
    ended = np.cumsum(read.lengths) - 1
    assert np.flatnonzero(read.is_terminal).tolist() == [int(row) for n, row in enumerate(ended) if n != 2]
    with pytest.raises(UserError, match="episode 0: `state` has 11 numbers, but walker2d has 17"):
        load_states("test/hopper/random-v0", get_task("walker2d"), tmp_path)


def test_what_can_not_be_fetched_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*given: object, **more: object) -> None:
        raise ConnectionError("no network\nhere")

    monkeypatch.setattr(minari, "download_dataset", offline)
    with pytest.raises(UserError, match="minari download mujoco/hopper/medium-v0") as error:
        load_states("mujoco/hopper/medium-v0", HOPPER, tmp_path)
    assert "\n" not in str(error.value)
