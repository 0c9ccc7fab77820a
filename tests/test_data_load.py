"""Finding a dataset, drawing and decoding it, and sampling segments of it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from combo_common.errors import UserError
from data.dataset import TrajectoryDataset
from data.episode import Episode
from data.formats.manifest import describe
from data.formats.native import Dataset, write_dataset
from data.inspection import inspect_dataset
from data.inspection_report import format_report
from data.load import Storage, load_pixels, load_states
from data.locate import default_data_dir
from data.reference import resolve
from data.simulate.rendering import render_dataset
from data.source import open_source
from data.split import split_episodes
from envs.make import make
from envs.registry import get_task
from latent_combo.config.schema import Config
from latent_combo.latents.segments import SegmentSampler

TASK = get_task("walker-walk")
SIZE = 16
LENGTHS = (3, 9, 5, 2)
"""Transitions of the test's episodes."""


def numbered_episode(number: int, transitions: int) -> Episode:
    """An episode whose every value tells the episode and the row."""
    rows = np.arange(transitions + 1)
    image = np.zeros((transitions + 1, SIZE, SIZE, 3), np.uint8)
    image[..., 0], image[..., 1] = number + 1, rows[:, None, None]
    actions = np.tile((rows[1:, None] + 100 * number) / 1000.0, (1, TASK.action_dim))
    return Episode.from_transitions(actions, rows[1:] + 100.0 * number, image=image, terminal=number == 1)


@pytest.fixture
def pixels(tmp_path: Path) -> Path:
    """A dataset of numbered episodes."""
    description = dataclasses.replace(describe(TASK, "test", 0, {}), image_size=SIZE, look="fast")
    episodes = (numbered_episode(number, length) for number, length in enumerate(LENGTHS))
    write_dataset(tmp_path / "pixels", episodes, description, progress=False)
    return tmp_path / "pixels"


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two episodes of three random steps of the walker, without images."""
    env = make("walker-walk", "state")
    rng = np.random.default_rng(0)
    episodes = []
    for seed in range(2):
        _, info = env.reset(seed=seed)
        physics, actions, rewards = [info["physics"]], [], []
        for _ in range(3):
            actions.append(rng.uniform(-1.0, 1.0, TASK.action_dim).astype(np.float32))
            _, reward, _, _, info = env.step(actions[-1])
            physics.append(info["physics"])
            rewards.append(reward)
        episodes.append(Episode.from_transitions(np.stack(actions), np.array(rewards), np.stack(physics)))
    write_dataset(tmp_path / "recording", episodes, describe(TASK, "random", 0, {}), progress=False)
    return tmp_path / "recording"


def load(folder: Path, data_dir: Path, look: str = "fast", storage: Storage = "memory") -> TrajectoryDataset:
    """Load at the test's size."""
    return load_pixels(str(folder), TASK, look, data_dir, storage, image_size=SIZE, progress=False)


def test_decoded_rows_follow_one_another(pixels: Path, tmp_path: Path) -> None:
    decoded = load(pixels, tmp_path)
    np.testing.assert_array_equal(decoded.lengths, np.array(LENGTHS) + 1)
    np.testing.assert_array_equal(decoded.starts, [0, 4, 14, 20])
    np.testing.assert_array_equal(np.flatnonzero(decoded.is_first), decoded.starts)
    np.testing.assert_array_equal(np.flatnonzero(decoded.is_terminal), [13])
    returns = [episode.episode_return for episode in Dataset(pixels)]
    np.testing.assert_allclose(decoded.episode_returns, returns)
    np.testing.assert_array_equal(decoded.observation, np.concatenate([episode.image for episode in Dataset(pixels)]))


def test_a_memory_map_holds_the_same_as_memory(pixels: Path, tmp_path: Path) -> None:
    in_memory, mapped = load(pixels, tmp_path), load(pixels, tmp_path, storage="memmap")
    assert isinstance(mapped.observation, np.memmap) and not isinstance(in_memory.observation, np.memmap)
    samples = [SegmentSampler(d, range(4), 3).sample(8, np.random.default_rng(0)) for d in (in_memory, mapped)]
    for name, part in samples[0].tensors().items():
        assert torch.equal(part, samples[1].tensors()[name])


def test_the_second_time_nothing_is_decoded_but_all_is_verified(pixels: Path, tmp_path: Path) -> None:
    load(pixels, tmp_path)
    (cached,) = (tmp_path / "decoded").iterdir()
    stamp = (cached / "image.npy").stat().st_mtime_ns
    load(pixels, tmp_path)
    assert (cached / "image.npy").stat().st_mtime_ns == stamp
    path = pixels / "episode-000000.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="truncated or altered"):
        load(pixels, tmp_path)


def test_a_damaged_cache_is_named(pixels: Path, tmp_path: Path) -> None:
    load(pixels, tmp_path)
    (cached,) = (tmp_path / "decoded").iterdir()
    content = (cached / "image.npy").read_bytes()
    (cached / "image.npy").write_bytes(content[: len(content) // 2])
    storages: tuple[Storage, ...] = ("memory", "memmap")
    for storage in storages:
        with pytest.raises(UserError, match=f"remove {cached}"):
            load(pixels, tmp_path, storage=storage)


def test_a_failed_decoding_leaves_nothing(pixels: Path, tmp_path: Path) -> None:
    (pixels / "episode-000003.npz").write_bytes(b"")
    with pytest.raises(UserError, match=r"episode-000003\.npz"):
        load(pixels, tmp_path)
    assert list((tmp_path / "decoded").iterdir()) == []


def test_a_data_folder_that_cannot_be_written_is_named(pixels: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write to .*file"):
        load(pixels, tmp_path / "file")


def test_images_of_another_look_or_size_are_refused(pixels: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its look is 'fast', but 'full' is asked for"):
        load(pixels, tmp_path, look="full")
    with pytest.raises(UserError, match="its image_size is 16, but 64"):
        load_pixels(str(pixels), TASK, "fast", tmp_path, image_size=64, progress=False)
    as_it_is = load_pixels(str(pixels), TASK, "fast", tmp_path, progress=False)
    assert as_it_is.observation.shape[1:] == (SIZE, SIZE, 3)


def test_a_recording_is_drawn_as_the_environment_draws(recording: Path, tmp_path: Path) -> None:
    drawn = load(recording, tmp_path)
    observed = load_states(str(recording), TASK, tmp_path, progress=False)
    env = make("walker-walk", "pixels", image_size=SIZE)
    rng = np.random.default_rng(0)
    row = 0
    for seed in range(2):
        image, info = env.reset(seed=seed)
        for step in range(4):
            if step:
                image, _, _, _, info = env.step(rng.uniform(-1.0, 1.0, TASK.action_dim).astype(np.float32))
            np.testing.assert_array_equal(drawn.observation[row], image)
            np.testing.assert_allclose(observed.observation[row], info["state"], atol=1e-6)
            row += 1
    assert row == len(drawn.observation)


def test_rendering_to_a_folder_and_loading_it_is_loading_the_recording(recording: Path, tmp_path: Path) -> None:
    manifest = render_dataset(recording, tmp_path / "drawn", SIZE, "fast", progress=False)
    assert (manifest.kind, manifest.image_size, manifest.look, manifest.split) == ("pixels", SIZE, "fast", "random")
    np.testing.assert_array_equal(load(tmp_path / "drawn", tmp_path).observation, load(recording, tmp_path).observation)
    with pytest.raises(UserError, match="holds images already"):
        render_dataset(tmp_path / "drawn", tmp_path / "twice", SIZE, "fast", progress=False)


def test_names_are_looked_up_and_nearest_ones_offered(pixels: Path, tmp_path: Path) -> None:
    named = tmp_path / "walker-walk-medium"
    pixels.rename(named)
    assert resolve("walker-walk-medium", None, tmp_path).local == named
    assert resolve("medium", TASK, tmp_path).local == named
    assert resolve(str(named), None, tmp_path / "elsewhere").local == named
    with pytest.raises(UserError, match="no dataset 'walker-walk-medum'.*walker-walk-medium"):
        resolve("walker-walk-medum", None, tmp_path).open()


def test_segments_never_cross_episodes_and_start_anywhere(pixels: Path, tmp_path: Path) -> None:
    decoded = load(pixels, tmp_path)
    length = 4
    segment = SegmentSampler(decoded, [0, 1, 2, 3], length).sample(4000, np.random.default_rng(0))
    episode, row = segment.observation[:, :, 0, 0, 0].long() - 1, segment.observation[:, :, 0, 0, 1].long()
    assert torch.equal(episode, episode[:, :1].expand(-1, length))
    assert torch.equal(row, row[:, :1] + torch.arange(length))
    assert torch.equal(segment.is_first, row == 0)
    assert torch.equal(segment.terminal, (episode == 1) & (row == 9))
    expected = torch.where(row == 0, 0.0, row + 100.0 * episode)
    assert torch.equal(segment.reward, expected)
    torch.testing.assert_close(segment.action, (expected / 1000.0)[..., None].expand(-1, -1, TASK.action_dim))
    # Windows of 4 overlap episodes of 4, 10 and 6 rows in 7, 13 and 9 ways; those that stick out move to the ends.
    weight = np.array([7, 4, 1, 1, 1, 1, 1, 4, 4, 1, 4])
    starts, counts = np.unique(decoded.starts[episode[:, 0]] + row[:, 0].numpy(), return_counts=True)
    np.testing.assert_array_equal(starts, [0, *range(4, 11), *range(14, 17)])
    expected_counts = 4000 / 29 * weight
    assert (np.abs(counts - expected_counts) < 5.0 * np.sqrt(expected_counts)).all()
    # no row is seen less often than in the mean over its episode
    seen = np.bincount(row[episode == 1].numpy(), minlength=10)
    assert seen.min() > 0.8 * 4 * 4000 / 29


def test_a_share_of_the_segments_begins_with_an_episode(pixels: Path, tmp_path: Path) -> None:
    decoded = load(pixels, tmp_path)
    always = SegmentSampler(decoded, [0, 1, 2, 3], 5, episode_start_fraction=1.0).sample(4000, np.random.default_rng(0))
    episode, row = always.observation[:, :, 0, 0, 0].long() - 1, always.observation[:, :, 0, 0, 1].long()
    assert torch.equal(row, torch.arange(5).expand(4000, -1))
    assert bool(always.is_first[:, 0].all())
    counts = torch.bincount(episode[:, 0], minlength=4)
    assert set(np.flatnonzero(decoded.lengths >= 5)) == set(counts.nonzero().squeeze(-1).tolist())  # too short: never
    assert counts[counts > 0].tolist() == pytest.approx([2000, 2000], abs=150)  # 10 rows count no more than 6
    half = SegmentSampler(decoded, [1], 2, episode_start_fraction=0.5).sample(4000, np.random.default_rng(0))
    share = half.is_first[:, 0].float().mean()
    assert float(share) == pytest.approx(0.5 + 0.5 * 1 / 9, abs=0.03)  # 1 of 9 transitions begins there as well


def test_single_transitions_are_all_alike(pixels: Path, tmp_path: Path) -> None:
    decoded = load(pixels, tmp_path)
    rows = SegmentSampler(decoded, [0, 1, 2, 3], 2).rows(8000, np.random.default_rng(0))
    starts, counts = np.unique(rows, return_counts=True)
    assert len(starts) == sum(LENGTHS)
    expected = 8000 / sum(LENGTHS)
    assert (np.abs(counts - expected) < 5.0 * np.sqrt(expected)).all()


def test_segments_to_look_at_do_not_repeat(pixels: Path, tmp_path: Path) -> None:
    sampler = SegmentSampler(load(pixels, tmp_path), [0, 1, 2, 3], 5)  # long enough: 10 and 6 rows
    shown = sampler.at(sampler.spread_rows(2, np.random.default_rng(0)))
    episode, row = shown.observation[:, 0, 0, 0, 0].long() - 1, shown.observation[:, 0, 0, 0, 1].long()
    assert sorted(sampler.decoded.lengths[episode].tolist()) == [6, 10]
    assert row[0] == 0 and row[1] == sampler.decoded.lengths[episode[1]] - 5
    assert len(sampler.spread_rows(3, np.random.default_rng(0))) == 3


def test_segments_to_measure_on_are_all_different(pixels: Path, tmp_path: Path) -> None:
    sampler = SegmentSampler(load(pixels, tmp_path), [0, 1, 2, 3], 5)  # 6 + 2 places to start
    assert len(set(sampler.distinct_rows(8, np.random.default_rng(0)).tolist())) == 8
    rows = sampler.distinct_rows(9, np.random.default_rng(0))
    assert len(rows) == 8
    starts = sampler.decoded.starts[sampler.decoded.lengths >= 5]
    assert sorted(row - starts[starts <= row].max() for row in rows) == [0, 0, 1, 1, 2, 3, 4, 5]


def test_a_segment_longer_than_every_episode_is_refused(pixels: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the longest has 6"):
        SegmentSampler(load(pixels, tmp_path), [0, 2], 7)


@pytest.mark.parametrize(("num", "fraction", "held_out"), [(200, 0.1, 20), (3, 0.1, 1), (10, 0.0, 0)])
def test_the_split_is_a_partition(num: int, fraction: float, held_out: int) -> None:
    train, held = split_episodes(num, fraction, seed=0)
    assert len(held) == held_out
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held])), np.arange(num))
    np.testing.assert_array_equal(train, split_episodes(num, fraction, seed=0)[0])
    if held_out > 1:
        assert not np.array_equal(held, split_episodes(num, fraction, seed=1)[1])


def test_too_few_episodes_to_hold_any_out() -> None:
    with pytest.raises(UserError, match="too few"):
        split_episodes(1, 0.1, seed=0)


def test_the_report_counts_and_points_at_what_is_odd(tmp_path: Path) -> None:
    still = numbered_episode(0, 4)
    still = dataclasses.replace(still, reward=np.zeros_like(still.reward), image=np.zeros_like(still.image))
    description = dataclasses.replace(
        describe(TASK, "test", 0, {}, random_return=0.0, expert_return=10.0), image_size=SIZE, look="fast"
    )
    write_dataset(tmp_path / "odd", [still, numbered_episode(0, 4)], description, progress=False)
    source = open_source(str(tmp_path / "odd"), None, tmp_path)
    report = inspect_dataset(source.about(), source.format.name, source)
    assert (report.episodes, report.transitions, report.return_mean, report.normalised_mean) == (
        2,
        8,
        5.0,
        TASK.normalised_score(5.0),
    )
    assert report.reward_zero_fraction == 0.5
    assert sum(report.histogram_counts) == 2
    text = format_report(report)
    for odd in (
        "episode-000000.npz: no reward at all",
        "episode-000000.npz: 5 black frames",
        "episode-000000.npz: 4 frames equal to the one before",
        "episode-000001.npz: has the same actions as episode-000000.npz",
    ):
        assert odd in text


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({}, "home/.cache/latent-combo"),
        ({"XDG_CACHE_HOME": "/caches"}, "/caches/latent-combo"),
        ({"XDG_CACHE_HOME": ""}, "home/.cache/latent-combo"),
        ({"XDG_CACHE_HOME": "caches"}, "home/.cache/latent-combo"),  # relative: ignored, as its specification has it
        ({"XDG_CACHE_HOME": "~/caches"}, "home/.cache/latent-combo"),
        ({"XDG_CACHE_HOME": "/caches", "LATENT_COMBO_DATA": "/data"}, "/data"),
        ({"XDG_CACHE_HOME": "/caches", "LATENT_COMBO_DATA": ""}, "/caches/latent-combo"),
        ({"LATENT_COMBO_DATA": "~/data"}, "home/data"),
    ],
)
def test_the_data_folder_is_among_the_users_caches(
    variables: dict[str, str], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "LATENT_COMBO_DATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**variables, "HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    assert default_data_dir() == tmp_path / folder
    assert Config().data_folder == tmp_path / folder  # where choices of kernels and decoded images are kept, too
