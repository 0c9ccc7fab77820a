"""D4RL's files, read by the letter of their layout, and written so that others can read them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from combo_common.errors import UserError
from data.formats.d4rl import read_d4rl, write_d4rl
from data.formats.hdf5_file import read_metadata
from data.inspection import Report, inspect_dataset
from data.inspection_report import format_report
from data.load import load, load_pixels, load_states
from data.reference import resolve
from data.simulate.rollout import PolicySpec, played_episodes
from data.source import open_source
from envs.registry import get_task
from latent_combo.config.command_line import parse, settings_files
from latent_combo.diagnostics.held_out import DiagnosticSet
from latent_combo.latents.segments import SegmentSampler
from latent_combo.pipeline.model_phase import normaliser_of

HOPPER = get_task("hopper")
Columns = dict[str, Any]


def columns(rows: int = 12) -> Columns:
    """Row n is n everywhere. Episodes: 0-3 falls, 4-7 runs out of time, 8-9 both at once, 10-11 is cut off."""
    number = np.arange(rows, dtype=np.float32)
    observation = np.repeat(number[:, None], 11, 1)
    following = observation + 1.0
    following[[3, 7, 9, 11]] = [[103.0], [107.0], [109.0], [111.0]]  # what is in no other row
    return {
        "observations": observation,
        "next_observations": following,
        "actions": np.repeat(number[:, None], 3, 1) / 100.0,
        "rewards": number * 10.0,
        "terminals": np.isin(number, (3, 9)),
        "timeouts": np.isin(number, (7, 9)),
    }


def write(path: Path, content: Columns) -> Path:
    """A file to the letter of D4RL's version 2: beside the columns, scalars and the policy's weights."""
    with h5py.File(path, "w") as file:
        for key, values in content.items():
            file.create_dataset(key, data=values, compression="gzip")
        rows = len(content["observations"])
        file["infos/action_log_probs"] = np.zeros(rows, np.float32)
        file["infos/qpos"], file["infos/qvel"] = np.zeros((rows, 6)), np.zeros((rows, 6))
        file["metadata/algorithm"] = np.bytes_("SAC")
        file["metadata/iteration"] = 3100
        file["metadata/policy/fc0/weight"] = np.zeros((256, 11), np.float32)
        file["metadata/policy/nonlinearity"] = np.bytes_("relu")
        file["metadata/policy/output_distribution"] = np.bytes_("tanh_gaussian")
    return path


def test_rows_become_episodes_in_dreamer_indexing(tmp_path: Path) -> None:
    read = read_d4rl(write(tmp_path / "hopper.hdf5", columns()), HOPPER)
    assert read.lengths.tolist() == [5, 5, 3, 3]
    assert read.observation[:, 0].tolist() == [0, 1, 2, 3, 103, 4, 5, 6, 7, 107, 8, 9, 109, 10, 11, 111]
    assert read.reward.tolist() == [0, 0, 10, 20, 30, 0, 40, 50, 60, 70, 0, 80, 90, 0, 100, 110]
    np.testing.assert_allclose(read.action[:, 2] * 100, [0, 0, 1, 2, 3, 0, 4, 5, 6, 7, 0, 8, 9, 0, 10, 11], atol=1e-5)
    assert np.flatnonzero(read.is_first).tolist() == [0, 5, 10, 13]
    # a time limit is bootstrapped through; a row that is both is terminal; the cut-off end is no ending
    assert np.flatnonzero(read.is_terminal).tolist() == [4, 12]
    assert read.endings_seen and read.physics is None  # qpos alone does not say in what episodes ended
    assert read.episode_returns.tolist() == [60.0, 220.0, 170.0, 210.0]


def test_a_file_without_timeouts_is_cut_where_the_next_row_does_not_follow(tmp_path: Path) -> None:
    content = columns()
    del content["timeouts"]
    read = read_d4rl(write(tmp_path / "hopper.hdf5", content), HOPPER)
    assert read.lengths.tolist() == [5, 5, 3, 3]
    assert np.flatnonzero(read.is_terminal).tolist() == [4, 12]


def test_a_first_version_has_no_next_observations_and_never_pairs_two_episodes(tmp_path: Path) -> None:
    content = columns()
    del content["next_observations"]
    read = read_d4rl(write(tmp_path / "hopper.hdf5", content), HOPPER)
    # a time limit loses its last transition, whose end nobody knows; a terminal one keeps it: its value is its reward
    assert read.observation[:, 0].tolist() == [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 9, 10, 11]
    assert read.reward.tolist() == [0, 0, 10, 20, 30, 0, 40, 50, 60, 0, 80, 90, 0, 100]
    assert np.flatnonzero(read.is_terminal).tolist() == [4, 11]
    # the made-up rows are not learned from
    assert not read.endings_seen
    sampler = SegmentSampler(read, np.arange(4), 2)
    following = sampler.at(sampler.distinct_rows(100, np.random.default_rng(0))).observation[:, 1, 0]
    assert sorted(following.tolist()) == [1, 2, 3, 5, 6, 7, 9, 11]
    scales = normaliser_of(read, np.arange(4))
    assert scales.change_mean[0] == 1.0 and scales.change_std[0] == 1.0  # never changes, so its unit is 1


def test_pieces_of_a_first_versions_short_falls_are_chosen_by_what_can_be_used(tmp_path: Path) -> None:
    rows = 2 * 45
    number = np.arange(rows, dtype=np.float32)
    content = columns(12) | {
        "observations": np.repeat(number[:, None], 11, 1), "actions": np.zeros((rows, 3), np.float32),
        "rewards": number, "terminals": np.isin(number, (44, 89)), "timeouts": np.zeros(rows, bool),
    }  # fmt: skip
    del content["next_observations"]
    read = read_d4rl(write(tmp_path / "hopper.hdf5", content), HOPPER)
    pieces = DiagnosticSet.choose(read, np.array([0]), np.array([1]), 1, 4, 0, torch.device("cpu"))
    assert pieces.shown.observation.shape[1] == 45  # of 46, the last of which was not seen


def test_what_was_collected_is_what_is_read_and_says_whose_it_is(tmp_path: Path) -> None:
    episodes = list(played_episodes(HOPPER, PolicySpec(), 1, seed=0))
    path = tmp_path / "mine.hdf5"
    assert write_d4rl(path, episodes, HOPPER, {"task": "hopper", "split": "random"}) == sum(e.length for e in episodes)
    read = read_d4rl(path, HOPPER)
    for name in ("state", "action", "reward", "is_first", "is_terminal", "physics"):
        ours = np.concatenate([episode.columns()[name] for episode in episodes])
        np.testing.assert_array_equal(getattr(read, "observation" if name == "state" else name), ours)
    assert read_metadata(path) == {"task": "hopper", "split": "random"}
    assert resolve(str(path), None, tmp_path).task == "hopper"
    assert resolve(str(path), None, tmp_path).split == "random"  # as it says, whatever it is called
    assert resolve("mine", None, tmp_path).path == path
    with pytest.raises(UserError, match="exists already"):
        write_d4rl(path, episodes, HOPPER, {})
    with h5py.File(path) as file:  # the letter of the layout
        assert file["terminals"].dtype == bool and file["observations"].dtype == np.float32
        assert not (file["terminals"][()] & file["timeouts"][()]).any()
        end = np.flatnonzero(file["terminals"][()] | file["timeouts"][()])
        inside = np.setdiff1d(np.arange(len(file["rewards"])), end)
        np.testing.assert_array_equal(file["next_observations"][()][inside], file["observations"][()][inside + 1])


def test_an_ants_contact_forces_are_left_out(tmp_path: Path) -> None:
    ant = get_task("ant")
    content = columns()
    for key in ("observations", "next_observations"):
        content[key] = np.pad(np.repeat(content[key][:, :1], 27, 1), ((0, 0), (0, 84)))
    content["actions"] = np.repeat(content["actions"][:, :1], 8, 1)
    read = read_d4rl(write(tmp_path / "ant.hdf5", content), ant)
    assert read.observation.shape == (16, 27) and read.observation[-1, -1] == 111.0


def of(key: str, change: Callable[[NDArray[Any]], Any]) -> Callable[[Columns], None]:
    def apply(content: Columns) -> None:
        content[key] = change(content[key])

    return apply


def put(key: str, index: Any, value: float) -> Callable[[Columns], None]:
    def apply(content: Columns) -> None:
        content[key][index] = value

    return apply


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda c: c.pop("rewards"), "lacks `rewards`"),
        (lambda c: (c.pop("terminals"), c.pop("actions")), "lacks `actions`, `terminals`"),
        (lambda c: (c.pop("timeouts"), c.pop("next_observations")), "where its episodes end"),
        (of("observations", lambda v: v[:, :9]), "`observations` has 9 numbers a row, but hopper has 11"),
        (of("actions", lambda v: v[:, :2]), "`actions` has 2 numbers a row, but hopper has 3"),
        (of("next_observations", lambda v: v[:, :10]), "`next_observations` has 10 numbers"),
        (of("observations", lambda v: v.astype(np.int32)), "`observations` is int32"),
        (of("rewards", lambda v: np.array([b"a"] * 12)), "`rewards` is of type .*, not numbers"),
        (of("rewards", lambda v: v[:9]), "`rewards` has 9 rows where `observations` has 12"),
        (of("timeouts", lambda v: v[:9]), "`timeouts` has 9 rows"),
        (of("next_observations", lambda v: v[:9]), "`next_observations` has 9 rows"),
        (of("terminals", lambda v: v * 2), "`terminals` .* must be one 0 or 1"),
        (of("rewards", lambda v: v[:, None].repeat(2, 1)), "`rewards` of shape .* one number a row"),
        (put("rewards", 5, np.nan), "`rewards` hold a NaN or Inf, first in row 5"),
        (put("observations", (4, 2), np.nan), "NaN or Inf, first in row 4"),
        (put("rewards", 4, np.inf), "`rewards` hold a NaN or Inf, first in row 4"),
        (put("actions", (7, 1), -1.5), r"leaves \[-1, 1\], first in row 7; the largest is 1.5 in size"),
    ],
)
def test_a_file_that_can_not_be_right_is_refused_in_a_line(
    damage: Callable[[Columns], Any], reason: str, tmp_path: Path
) -> None:
    content = columns()
    damage(content)
    path = write(tmp_path / "bad.hdf5", content)
    with pytest.raises(UserError, match=reason) as error:
        read_d4rl(path, HOPPER)
    assert "bad.hdf5" in str(error.value) and "\n" not in str(error.value)


def test_rounding_beyond_1_is_clipped_and_columns_of_one_number_are_flat(tmp_path: Path) -> None:
    content = columns()
    content["actions"][0] = 1.0 + 1e-6
    for key in ("rewards", "terminals", "timeouts"):
        content[key] = content[key][:, None]
    read = read_d4rl(write(tmp_path / "hopper.hdf5", content), HOPPER)
    assert read.action.max() == 1.0 and read.lengths.tolist() == [5, 5, 3, 3]


def test_a_file_that_is_no_hdf5_or_reaches_outside_itself_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.hdf5"
    text.write_text("not at all")
    with pytest.raises(UserError, match=r"text.hdf5 cannot be read as HDF5"):
        read_d4rl(text, HOPPER)
    other = write(tmp_path / "other.hdf5", columns())
    cut = tmp_path / "cut.hdf5"
    cut.write_bytes(other.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"cut.hdf5 cannot be read as HDF5"):
        read_d4rl(cut, HOPPER)
    linked = tmp_path / "linked.hdf5"
    with h5py.File(linked, "w") as file:
        for key in columns():
            file[key] = h5py.ExternalLink(str(other), key)
    with pytest.raises(UserError, match="`observations` is a link out of its place"):
        read_d4rl(linked, HOPPER)
    virtual = tmp_path / "virtual.hdf5"
    with h5py.File(virtual, "w") as file:
        layout = h5py.VirtualLayout((12, 11), np.float32)
        layout[:] = h5py.VirtualSource(str(other), "observations", (12, 11))
        file.create_virtual_dataset("observations", layout)
    with pytest.raises(UserError, match="`observations` is no dataset of this file"):
        read_d4rl(virtual, HOPPER)


def test_images_are_not_asked_of_a_file_of_states(tmp_path: Path) -> None:
    path = write(tmp_path / "walker-walk.hdf5", columns())
    with pytest.raises(UserError, match="use --obs state"):
        load_pixels(str(path), get_task("walker-walk"), "fast", tmp_path)


@pytest.mark.parametrize("name", ["hopper-medium-v2", "medium-v2"])
def test_flags_and_loading_hash_a_file_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "hopper_medium-v2.hdf5", columns())
    hashed, sha256 = [0], hashlib.sha256

    class Counting:
        """SHA-256 that counts what it is given."""

        def __init__(self, content: bytes = b"") -> None:
            self._digest = sha256()
            self.update(content)

        def update(self, content: bytes) -> None:
            hashed[0] += len(content)
            self._digest.update(content)

        def hexdigest(self) -> str:
            return self._digest.hexdigest()

    monkeypatch.setattr(hashlib, "sha256", Counting)
    arguments = ["--obs", "state", "--preset", "small", "--task", "hopper", "--dataset", name]
    arguments += ["--data-dir", str(tmp_path)]
    config, _ = parse(arguments)
    assert settings_files(arguments)[0].stem == "hopper-medium"
    assert hashed == [0]  # flags are parsed at once, however large the file
    assert load(config.dataset, HOPPER, config.observation_spec, config.data_folder).lengths.tolist() == [5, 5, 3, 3]
    whole = path.stat().st_size
    assert whole <= hashed[0] < 1.05 * whole  # once; what comes of that is hashed on


def test_flags_fetch_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for fetch in ("data.d4rl_download.download", "data.formats.minari.locate_minari"):
        monkeypatch.setattr(fetch, lambda *_: pytest.fail("fetched"))
    for name, task in (("hopper-medium-v2", "hopper"), ("mujoco/hopper/medium-v0", "hopper-v5")):
        assert parse(["--obs", "state", "--data-dir", str(tmp_path), "--dataset", name])[0].task == task
        reference = resolve(name, None, tmp_path)
        assert (reference.path, reference.task, reference.split) == (None, task, "medium")
        assert reference.format is not None and reference.format.store is reference.store


def test_a_reference_looks_once(tmp_path: Path) -> None:
    path = write(tmp_path / "hopper-medium.hdf5", columns())
    reference = resolve(str(path), None, tmp_path)
    assert (reference.task, reference.split, reference.local) == ("hopper", "medium", path)
    first = reference.fingerprint
    assert first == open_source(str(path), None, tmp_path).fingerprint()
    path.write_bytes(path.read_bytes() + b"more")
    assert reference.fingerprint == first
    assert resolve(str(path), None, tmp_path).fingerprint != first


def test_nothing_is_fetched_for_images_that_no_one_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.d4rl_download.download", lambda *_: pytest.fail("fetched"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("hopper-medium-v2", "mujoco/hopper/medium-v0"):
        with pytest.raises(UserError, match="holds states and no images; use --obs state"):
            load_pixels(name, HOPPER, "fast", tmp_path)


def inspected(path: Path, data_dir: Path) -> Report:
    source = open_source(str(path), None, data_dir)
    return inspect_dataset(source.about(), source.format.name, source)


def test_a_file_is_described(tmp_path: Path) -> None:
    path = write(tmp_path / "hopper-medium.hdf5", columns())
    report = inspected(path, tmp_path)
    assert (report.episodes, report.transitions, report.terminals) == (4, 12, 2)
    assert report.return_quantiles[0] == 60.0 and report.reward_max == 110.0
    text = format_report(report)
    assert text.startswith("hopper medium (D4RL's HDF5)")
    assert "2 episodes end neither at the horizon of 1000 nor by the task" in text
    at_the_limit = columns(1000)
    at_the_limit["terminals"], at_the_limit["timeouts"] = (np.arange(1000) == 999,) * 2
    at_the_limit["next_observations"] = at_the_limit["observations"] + 1.0
    at_the_limit["actions"] /= 10.0
    path = write(tmp_path / "hopper-expert.hdf5", at_the_limit)
    assert inspected(path, tmp_path).oddities == []
    with pytest.raises(UserError, match="name it with --task"):
        inspected(path.rename(tmp_path / "some.hdf5"), tmp_path)


def test_an_unknown_name_is_answered_with_the_nearest_known_ones(tmp_path: Path) -> None:
    for wrong, near in (("hopper-medum-v2", "hopper-medium-v2"), ("halfcheeta-expert-v0", "halfcheetah-expert-v0")):
        with pytest.raises(UserError, match=near):
            resolve(wrong, None, tmp_path).open()
    with pytest.raises(UserError, match="there is no dataset 'missing.hdf5'"):
        load_states("missing.hdf5", HOPPER, tmp_path)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("hopper-medium-v2", "hopper"),
        ("halfcheetah-jump", "halfcheetah-jump"),
        ("some/where/walker2d_medium_expert-v2.hdf5", "walker2d"),
        ("mujoco/ant/medium-v0", "ant-v5"),  # what Minari's own sets were recorded in
        ("elephant-medium", None),
        ("walker-walk-medium", "walker-walk"),
    ],
)
def test_a_name_tells_the_task(name: str, task: str | None, tmp_path: Path) -> None:
    assert resolve(name, None, tmp_path).task == task
