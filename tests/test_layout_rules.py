"""What a dataset may hold: the same rule in every layout, for actions, rewards, endings, keys and sizes."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from layouts import HOPPER, OF_IMAGES, OF_STATES, both, d4rl_columns, hop, read, write_columns, write_in

import latent_combo
from combo_common.errors import UserError
from data.conversion import convert
from data.episode import Episode
from data.inspection import inspect_dataset
from data.source import open_source
from envs.registry import get_task
from latent_combo.pipeline.checks import check_endings

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
WRITES_ITS_OWN = "own"
"""The layout whose writer refuses what it would refuse to read."""


def with_action(episode: Episode, value: float) -> Episode:
    action = episode.action.astype(np.float64)
    action[2, 1] = value
    return replace(episode, action=action.astype(np.float32))


@pytest.mark.parametrize(("layout", "pixels"), both())
def test_actions_beyond_their_bound_by_rounding_are_clipped_and_others_refused(
    layout: str, pixels: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (value, clipped) in enumerate(((1.0000001, 1.0), (-1.000009, -1.0))):
        root = tmp_path / str(number)
        root.mkdir()
        if layout != WRITES_ITS_OWN:  # which cannot hold these
            dataset = write_in(layout, root, [with_action(hop(5, 0, image=pixels), value)], monkeypatch)
            assert read(dataset, root, pixels).action[2, 1] == clipped
    episode = with_action(hop(5, 0, image=pixels), -1.5)
    with pytest.raises(UserError, match=r"leaves \[-1, 1\], first in row [12]; .*") as error:
        read(write_in(layout, tmp_path, [episode], monkeypatch), tmp_path, pixels)
    assert layout == WRITES_ITS_OWN or "the largest is 1.5 in size; scale the actions" in str(error.value)


def test_actions_from_python_have_the_same_rule() -> None:
    seen, rewards = np.random.default_rng(0).normal(size=(6, 11)), np.ones(5)
    action = np.full((5, 3), 1.0000001)
    assert latent_combo.make_episode(seen, action, rewards).action.max() == 1.0
    with pytest.raises(UserError, match=r"leaves \[-1, 1\], first in row 0; the largest is 1.00002 in size"):
        latent_combo.make_episode(seen, action + 2e-5, rewards)


@pytest.mark.parametrize(("layout", "pixels"), both())
@pytest.mark.parametrize("terminal", [False, True])
def test_equal_rewards_are_trained_on_and_said(
    layout: str, pixels: bool, terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    episodes = [hop(5, 0, terminal, pixels), hop(6, 1, image=pixels)]
    for episode in episodes:
        episode.reward[1:] = 3.0
    dataset = write_in(layout, tmp_path, episodes, monkeypatch)
    assert read(dataset, tmp_path, pixels).reward.sum() == 33.0
    left = "only its terminations tell one policy from another" if terminal else "no policy is better than another"
    expected = f"the reward is 3 in every step, so {left}"
    assert expected in capsys.readouterr().err
    source = open_source(dataset, HOPPER, tmp_path)
    report = inspect_dataset(source.about(), source.format.name, source)
    assert sum(expected in odd for odd in report.oddities) == 1
    if not pixels:
        latent_combo.save_dataset(tmp_path / "saved", episodes, "hopper")
        assert expected in capsys.readouterr().err


@pytest.mark.parametrize(("layout", "pixels"), [case for case in both() if "d4rl" not in case.values])
def test_a_termination_within_an_episode_is_refused(
    layout: str, pixels: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episode = hop(9, 0, image=pixels)
    episode.is_terminal[4], episode.discount[4] = True, 0.0
    with pytest.raises(UserError, match=r"says that the task ended .* in step 4 of 9; cut it|may be true in the last"):
        read(write_in(layout, tmp_path, [hop(9, 1, image=pixels), episode], monkeypatch), tmp_path, pixels)


def test_a_termination_ends_an_episode_of_rows(tmp_path: Path) -> None:
    columns = d4rl_columns([hop(9, 0)])
    columns["terminals"][3] = True
    decoded = read(str(write_columns(tmp_path / "hopper.hdf5", columns)), tmp_path)
    assert decoded.lengths.tolist() == [5, 6] and np.flatnonzero(decoded.is_terminal).tolist() == [4]


@pytest.mark.parametrize("layout", [OF_STATES[1], OF_STATES[2]])
def test_an_episode_without_image_and_state_says_what_there_is(layout: str, tmp_path: Path) -> None:
    episode = hop(5, 0)
    columns = {"obs": episode.state, "action": episode.action, "reward": episode.reward, "discount": episode.discount}
    (tmp_path / "hopper").mkdir()
    np.savez_compressed(tmp_path / "hopper" / "0.npz", **columns)
    for pixels in (False, True):
        with pytest.raises(
            UserError, match="holds neither `image` nor `state`, but action, discount, obs, reward; name"
        ):
            read(str(tmp_path / "hopper"), tmp_path, pixels)


@pytest.mark.parametrize("layout", [layout for layout in OF_IMAGES if layout in OF_STATES])
def test_what_is_missing_sends_no_one_in_a_circle(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states, images = [hop(5, 0)], [replace(hop(5, 0, image=True), state=None)]
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="holds states and no images; use --obs state"):
        read(write_in(layout, tmp_path, states, monkeypatch), tmp_path, pixels=True)
    assert (
        read(str(tmp_path / f"hopper-{layout}") if layout != "minari" else "test/hopper/some-v0", tmp_path) is not None
    )
    with pytest.raises(UserError, match=r"holds images and no states; use --obs pixels|neither states nor physics"):
        read(write_in(layout, tmp_path / "images", images, monkeypatch), tmp_path / "images")


def test_keys_that_are_not_read_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hopper").mkdir()
    for number in range(2):
        episode = hop(5, number)
        np.savez_compressed(tmp_path / "hopper" / f"{number}.npz", **episode.columns(), goal=np.zeros((6, 2)))
    read(str(tmp_path / "hopper"), tmp_path)
    assert "hopper: not read of each episode: `goal`\n" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["rewards", "terminals", "timeouts", "next_observations", "observations"])
@pytest.mark.parametrize("chunks", [None, True])
def test_a_column_that_was_never_written_is_no_column_of_zeros(key: str, chunks: Any, tmp_path: Path) -> None:
    columns = d4rl_columns([hop(50, 0), hop(60, 1)])
    like = columns.pop(key)
    path = write_columns(tmp_path / "hopper.hdf5", columns)
    with h5py.File(path, "a") as file:
        file.create_dataset(key, like.shape, like.dtype, chunks=chunks)
    reason = f"`{key}` says it has {like.nbytes} bytes, and 0 are stored; it was declared and never written: write it"
    with pytest.raises(UserError, match=re.escape(reason)):
        read(str(path), tmp_path)


def test_a_column_that_was_written_in_part_is_refused(tmp_path: Path) -> None:
    columns = d4rl_columns([hop(50, 0), hop(60, 1)])
    rewards = columns.pop("rewards")
    path = write_columns(tmp_path / "hopper.hdf5", columns)
    with h5py.File(path, "a") as file:
        file.create_dataset("rewards", rewards.shape, rewards.dtype, chunks=(10,))[:50] = rewards[:50]
    with pytest.raises(UserError, match="`rewards` was written in part, 5 of its 11 chunks; write the rest"):
        read(str(path), tmp_path)


def test_a_shards_column_that_was_never_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = Path(write_in("vd4rl", tmp_path, [hop(5, 0, image=True)], monkeypatch)) / "0.hdf5"
    with h5py.File(shard, "a") as file:
        del file["reward"]
        file.create_dataset("reward", (6,), np.float32)
    with pytest.raises(UserError, match="`reward` says it has 24 bytes, and 0 are stored; it was declared"):
        read(str(shard), tmp_path, pixels=True)


@pytest.mark.parametrize("size", [105, 111])
@pytest.mark.parametrize("forces", [False, True])
@pytest.mark.parametrize("layout", ["d4rl", "dreamer", "python", OF_STATES[-1]])
def test_ants_with_contact_forces_keep_the_27_numbers_that_the_task_observes(
    layout: str, forces: bool, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    rng, ant = np.random.default_rng(0), get_task("ant")
    seen = rng.normal(size=(2, 6, size)).astype(np.float32)
    if not forces:
        seen[..., 27:] = 0.0
    episodes = [Episode.from_transitions(rng.uniform(-1, 1, (5, 8)), rng.normal(size=5), state=state) for state in seen]
    if layout == "python":
        dataset = latent_combo.save_dataset(tmp_path / "own", episodes, "ant")
    else:
        dataset = write_in(layout, tmp_path, episodes, monkeypatch)
    decoded = read(dataset, tmp_path, task=ant)
    np.testing.assert_array_equal(decoded.observation, np.concatenate(seen)[:, :27])
    assert (f"observations of {size} numbers are those of" in capsys.readouterr().err) == forces


@pytest.mark.parametrize("to", ["own", "d4rl", OF_STATES[-1]])
def test_a_copy_of_a_first_version_is_trained_on_as_that_is(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    falls = [hop(50, 0, terminal=True), hop(60, 1, terminal=True), hop(70, 2)]
    path = write_columns(tmp_path / "hopper-medium-v0.hdf5", d4rl_columns(falls, version=0))
    first = read(str(path), tmp_path)
    assert not first.endings_seen and first.lengths.tolist() == [51, 61, 70]
    out = "test/copy-v0" if to == "minari" else str(tmp_path / f"copy{'.hdf5' if to == 'd4rl' else ''}")
    convert(open_source(str(path), HOPPER, tmp_path), out, to, progress=False)
    copy = read(out, tmp_path)
    for name in ("observation", "action", "reward", "is_terminal", "lengths"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(first, name))
    assert not copy.endings_seen
    check_endings(copy, HOPPER, out, model_learns_them=False)  # as the file itself, it is trained on
