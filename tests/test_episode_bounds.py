"""Where episodes end that did not say so: longer ones than the task's, jumps, and last steps that lead elsewhere."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import HOPPER, OF_STATES, both, d4rl_columns, hop, joined, read, write_columns, write_in

import latent_combo
from combo_common.errors import UserError
from data.episode import Episode
from data.formats.d4rl import read_d4rl
from data.inspection import inspect_dataset
from data.jumps import jumps
from data.notes import Notes
from data.source import open_source

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def version_0(path: Path, lengths: tuple[int, ...], ended: tuple[bool, ...], **change: Any) -> Path:
    """A file of version 0 in which no time limit is marked."""
    episodes = [hop(length, seed, terminal) for seed, (length, terminal) in enumerate(zip(lengths, ended, strict=True))]
    columns = d4rl_columns(episodes, version=0)
    columns["timeouts"][:] = False
    return write_columns(path, columns | change)


def test_a_replay_without_marked_time_limits_is_cut_at_the_horizon(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = version_0(tmp_path / "hopper-medium-replay.hdf5", (1000, 700, 300), (False, True, False))
    decoded = read(str(path), tmp_path)
    # the time limits' last steps are not known, as in any file of that version; the fall's is
    assert decoded.lengths.tolist() == [1000, 701, 300]
    assert decoded.episode_returns.tolist() == [999.0, 699.5, 299.0] and decoded.episode_returns.max() == 999.0
    assert np.flatnonzero(decoded.is_terminal).tolist() == [1700]
    said = capsys.readouterr().err
    assert "no time limits are marked, and up to 1700 rows" in said and "cut after every 1000, 1 times" in said


def test_what_that_cut_leaves_whole_may_not_jump(tmp_path: Path) -> None:
    path = version_0(tmp_path / "hopper.hdf5", (600, 700), (False, False))
    with pytest.raises(UserError, match=r"observations jump \(1 times, first after row 599\); mark where episodes end"):
        read(str(path), tmp_path)


def test_marked_episodes_that_are_too_long_are_refused(tmp_path: Path) -> None:
    columns = d4rl_columns([hop(1000, 0), hop(1001, 1)])
    path = write_columns(tmp_path / "hopper.hdf5", columns)
    with pytest.raises(UserError, match=r"an episode has 1001 steps \(rows 1000 to 2000\), but .* hopper have 1000"):
        read(str(path), tmp_path)


def test_arrays_are_cut_by_the_same_rule() -> None:
    columns = d4rl_columns([hop(1000, 0), hop(700, 1)], version=0)
    arrays = [columns[key] for key in ("observations", "actions", "rewards", "terminals")]
    none = np.zeros(1700, bool)
    cut = latent_combo.episodes_from_arrays(*arrays, none, task="hopper")
    assert [(episode.length, episode.episode_return) for episode in cut] == [(999, 999.0), (699, 699.0)]
    (uncut,) = latent_combo.episodes_from_arrays(*arrays, none)
    with pytest.raises(UserError, match="episode 0 has 1699 steps, but episodes of hopper have 1000"):
        latent_combo.save_dataset("unused", [uncut], "hopper")


@pytest.mark.parametrize(("layout", "pixels"), both())
def test_a_longer_episode_is_refused_in_every_layout(
    layout: str, pixels: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_in(layout, tmp_path, [hop(20, 0, image=pixels), hop(1001, 1, image=pixels)], monkeypatch)
    with pytest.raises(UserError, match=r"has 1001 steps.* episodes of hopper have 1000 at most"):
        read(dataset, tmp_path, pixels)
    whole = write_in(layout, tmp_path / "minari", [hop(1000, 1, image=pixels)], monkeypatch)
    assert read(whole, tmp_path, pixels).lengths.tolist() == [1001]


@pytest.mark.parametrize(("layout", "pixels"), both())
def test_a_jump_is_named_in_every_layout(
    layout: str, pixels: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = [hop(300, seed, image=pixels) for seed in range(3)]
    bad = joined(hop(400, 3, image=pixels), hop(200, 4, image=pixels))
    if pixels:  # what is only seen by its images
        episodes, bad = [replace(e, state=None) for e in episodes], replace(bad, state=None)
    dataset = write_in(layout, tmp_path, [*episodes, bad], monkeypatch)
    source = open_source(dataset, HOPPER, tmp_path)
    report = inspect_dataset(source.about(), source.format.name, source.read(), notes=source.notes)
    (jump,) = [odd for odd in report.oddities if "jump" in odd]
    assert "the observations jump in 1 step, first in step 400 of 600" in jump


def test_steps_of_the_bundled_recordings_are_no_jumps_and_their_resets_are() -> None:
    for name in ("hopper-mini", "walker-walk-mini"):
        episodes = list(open_source(name, None, Path("nowhere")).episodes())
        rows = [np.asarray(e.physics if e.state is None else e.state, np.float32) for e in episodes]
        before, after = (np.concatenate([row[part] for row in rows]) for part in (slice(-1), slice(1, None)))
        assert not jumps(before, after).any()
        resets = [(one[-1], other[0]) for one, other in itertools.pairwise(rows)]
        ends, starts = (np.stack(part) for part in zip(*resets, strict=True))
        assert jumps(np.concatenate([before, ends]), np.concatenate([after, starts]))[len(before) :].all()


def moved_up(episodes: list[Episode], last: str) -> dict[str, Any]:
    """Columns whose next observations are the observations moved up by a row."""
    columns = d4rl_columns(episodes)
    following = np.roll(columns["observations"], -1, axis=0)
    following[-1] = {"first": following[-1], "same": columns["observations"][-1], "zeros": np.zeros(11)}[last]
    return columns | {"next_observations": following}


@pytest.mark.parametrize("last", ["first", "same", "zeros"])
def test_next_observations_moved_up_by_a_row_teach_no_teleports(
    last: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    episodes = [hop(length, seed) for seed, length in enumerate((50, 60, 70))]
    path = write_columns(tmp_path / "hopper.hdf5", moved_up(episodes, last))
    decoded = read(str(path), tmp_path)
    assert decoded.lengths.tolist() == [50, 60, 70]  # each without its last step
    states = [episode.columns()["state"][:-1] for episode in episodes]
    np.testing.assert_array_equal(decoded.observation, np.concatenate(states))
    assert "in 3 last rows `next_observations` is not what the step led to" in capsys.readouterr().err
    columns = moved_up(episodes, last)
    arrays = [columns[key] for key in ("observations", "actions", "rewards", "terminals", "timeouts")]
    cut = latent_combo.episodes_from_arrays(*arrays, columns["next_observations"])
    assert [episode.length for episode in cut] == [49, 59, 69]


def test_an_honest_last_observation_is_kept(tmp_path: Path) -> None:
    notes = Notes()
    path = write_columns(tmp_path / "hopper.hdf5", d4rl_columns([hop(50, 0), hop(60, 1, terminal=True), hop(70, 2)]))
    decoded = read_d4rl(path, HOPPER, notes)
    assert decoded.lengths.tolist() == [51, 61, 71] and notes.lines() == [] and decoded.endings_seen
    whole = d4rl_columns([hop(300, 0)])  # a long run that was cut into pieces goes on
    whole["timeouts"][[99, 199]] = True
    pieces = read_d4rl(write_columns(tmp_path / "pieces.hdf5", whole), HOPPER, notes)
    assert pieces.lengths.sum() >= 302 and pieces.lengths.max() == 101


def test_the_fall_of_a_moved_up_column_is_unknown_and_its_reward_is_kept(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "hopper.hdf5", moved_up([hop(50, 0, True), hop(60, 1, True), hop(70, 2)], "first"))
    decoded = read_d4rl(path, HOPPER)
    assert decoded.lengths.tolist() == [51, 61, 70] and not decoded.endings_seen
    assert decoded.reward[50] == 0.5 and decoded.is_terminal[50]
    np.testing.assert_array_equal(decoded.observation[50], decoded.observation[49])


@pytest.mark.parametrize(("layout", "pixels"), both())
def test_an_episode_that_ends_where_the_next_starts_loses_that_step(
    layout: str, pixels: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    episodes = [hop(80, seed, image=pixels) for seed in range(3)]
    for one, other in itertools.pairwise(episodes):
        for key in ("state", "image"):
            if key in one.columns():
                one.columns()[key][-1] = other.columns()[key][0]
    if pixels:
        episodes[0].columns()["image"][-1] = episodes[1].columns()["image"][0] = 200
        episodes = [replace(episode, state=None) for episode in episodes]
    dataset = write_in(layout, tmp_path, episodes, monkeypatch)
    decoded = read(dataset, tmp_path, pixels)
    assert decoded.lengths.tolist()[0] == 80 and decoded.lengths[-1] == 81 and decoded.is_first.sum() == 3
    assert pixels or decoded.lengths.tolist() == [80, 80, 81]
    assert "left out" in capsys.readouterr().err


def test_jumps_are_looked_for_in_any_numbers() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows, size = int(rng.integers(1, 300)), int(rng.choice([1, 2, 11, 64]))
        scale = np.exp(rng.uniform(-60.0, 60.0, size)) * (rng.random(size) < 0.8)  # some never change
        seen = np.clip(rng.normal(size=(rows, size)).cumsum(axis=0) * scale, -1e30, 1e30).astype(np.float32)
        if rng.random() < 0.3:
            seen[rng.integers(rows)] = rng.choice([0.0, 1e30])
        assert jumps(seen[:-1], seen[1:]).shape == (rows - 1,)
        assert not seen[:1].any() or not jumps(np.repeat(seen[:1], 9, 0), np.repeat(seen[:1], 9, 0)).any()


def test_a_teleport_that_no_horizon_tells_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two episodes that are shorter together than one may be, of which no end is marked."""
    columns = d4rl_columns([hop(400, 0), hop(300, 1)], version=0)
    sound = write_columns(tmp_path / "hopper-sound.hdf5", columns)
    read(str(sound), tmp_path)
    assert "jump" not in capsys.readouterr().err
    columns["timeouts"][:] = False
    read(str(write_columns(tmp_path / "hopper-unmarked.hdf5", columns)), tmp_path)
    assert "the observations jump (1 times, first after row 399)" in capsys.readouterr().err


def test_next_observations_that_are_the_observations_are_refused(tmp_path: Path) -> None:
    columns = d4rl_columns([hop(30, 0), hop(30, 1)])
    columns["next_observations"] = columns["observations"]
    with pytest.raises(UserError, match="`next_observations` is the row's own observation in 100% of the rows"):
        read(str(write_columns(tmp_path / "hopper.hdf5", columns)), tmp_path)


@pytest.mark.parametrize("layout", OF_STATES)
def test_time_limits_that_are_marked_as_terminations_are_said(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def of(*terminal: bool) -> str:
        episodes = [hop(1000, number, ends) for number, ends in enumerate(terminal)]
        return write_in(layout, tmp_path / str(terminal.count(True)), [*episodes, hop(600, 7, True)], monkeypatch)

    said = "all 2 episodes of 1000 steps, which is the time limit, are said to be ended by the task"
    for name in ("0", "1", "2"):
        (tmp_path / name).mkdir()
    read(of(True, True), tmp_path)
    assert said in capsys.readouterr().err
    for told in (of(True, False), of(False, False)):
        read(told, tmp_path)
        assert "time limit, are said" not in capsys.readouterr().err
