"""Foreign layouts by the letter of what made them, copies there and back, other rewards, and work over processes."""

import json
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from same_episodes import assert_same
from toy_format import Toy

from combo_common.errors import UserError
from data import convert as convert_command
from data.conversion import convert
from data.dataset import TrajectoryDataset
from data.episode import Episode
from data.formats.hdf5_file import read_metadata
from data.formats.manifest import MANIFEST_NAME, describe
from data.formats.native import Dataset, write_dataset
from data.formats.registry import FORMATS, format_named
from data.load import load_pixels, load_states
from data.reference import resolve
from data.simulate.rollout import PolicySpec, play
from data.source import open_source
from envs.registry import get_task
from envs.task import Task
from latent_combo.config.command_line import parse
from latent_combo.latents.segments import SegmentSampler

WALKER, HOPPER = get_task("walker-walk"), get_task("hopper")
SIZE = 32
"""Pixels; minari leaves smaller images alone, JPEG or not."""
needs_minari = pytest.mark.skipif(find_spec("minari") is None, reason="minari is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")
TERMINATION_FNS = (False, True, False)
"""Of the tests' three episodes the second is ended by the task."""
Columns = dict[str, NDArray[Any]]


def columns(number: int, size: int = SIZE, task: Task = WALKER) -> Columns:
    """Random rows of one of them, 3 to 5 transitions long, in Dreamer indexing."""
    rng, rows = np.random.default_rng(number), 4 + number % 3
    action = rng.uniform(-1.0, 1.0, (rows, task.action_dim)).astype(np.float32)
    reward = rng.uniform(0.0, 2.0, rows).astype(np.float32)
    action[0] = reward[0] = 0.0
    discount = np.ones(rows, np.float32)
    discount[-1] -= TERMINATION_FNS[number % 3]
    image = rng.integers(0, 256, (rows, size, size, 3), np.uint8)
    state = rng.normal(size=(rows, task.state_dim)).astype(np.float32)
    return {"image": image, "state": state, "action": action, "reward": reward, "discount": discount}


def flags(content: Columns) -> Columns:
    """What DreamerV2 adds to it."""
    index = np.arange(len(content["action"]))
    last = index == index[-1]
    return {"is_first": index == 0, "is_last": last, "is_terminal": last & (content["discount"] == 0.0)}


def without(content: Columns, *keys: str) -> Columns:
    return {key: array for key, array in content.items() if key not in keys}


def write_npz(folder: Path, second: int, content: Columns) -> Path:
    """One file as DreamerV2, V-D4RL and LOMPO name and write it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"20220101T{second:06d}-{(977 * second) % 10**9:032x}-{len(content['action'])}.npz"
    np.savez_compressed(path, **content)
    return path


def write_shard(path: Path, episodes: list[Columns]) -> None:
    """V-D4RL's 84 pixels: channels first, the types of steps as dm_env counts them, in float64."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {key: np.concatenate([episode[key] for episode in episodes]) for key in ("action", "reward", "discount")}
    content["observation"] = np.concatenate([episode["image"] for episode in episodes]).transpose(0, 3, 1, 2)
    steps = [np.array([0.0, *[1.0] * (len(episode["action"]) - 2), 2.0]) for episode in episodes]
    with h5py.File(path, "w") as file:
        for key, array in (content | {"step_type": np.concatenate(steps)}).items():
            file.create_dataset(key, data=array, compression="gzip")


def write_by_minari(name: str, contents: list[Columns], seen: tuple[str, ...], jpeg: bool) -> None:
    """A dataset by the minari library, which counts from the first action on: observations have a row more."""
    import minari

    box, (height, width) = gymnasium.spaces.Box, contents[0]["image"].shape[1:3]
    spaces: dict[str, gymnasium.Space[Any]] = {
        "image": box(0, 255, (height, width, 3), np.uint8),
        "state": box(-np.inf, np.inf, contents[0]["state"].shape[1:], np.float32),
    }
    several = len(seen) > 1
    buffers = []
    for number, content in enumerate(contents):
        ended = flags(content)["is_terminal"][1:]
        buffers.append(
            minari.data_collector.EpisodeBuffer(
                id=number, observations={key: content[key] for key in seen} if several else content[seen[0]],
                actions=content["action"][1:], rewards=content["reward"][1:], terminations=ended,
                truncations=flags(content)["is_last"][1:] & ~ended,
            )
        )  # fmt: skip
    minari.create_dataset_from_buffers(
        name, buffers, action_space=box(-1.0, 1.0, contents[0]["action"].shape[1:], np.float32), jpeg_encoding=jpeg,
        observation_space=gymnasium.spaces.Dict({key: spaces[key] for key in seen}) if several else spaces[seen[0]],
    )  # fmt: skip


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Minari's own folder."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "minari").mkdir()
    return tmp_path / "minari"


def pixels(where: Path | str, data_dir: Path, size: int = SIZE, **more: Any) -> TrajectoryDataset:
    return load_pixels(str(where), WALKER, "fast", data_dir, image_size=size, progress=False, **more)


def assert_read(read: TrajectoryDataset, contents: list[Columns], seen: str = "image") -> None:
    """All rows are there in order, and episodes begin and end where they did."""
    for ours, theirs in (("observation", seen), ("action", "action"), ("reward", "reward")):
        np.testing.assert_array_equal(getattr(read, ours), np.concatenate([content[theirs] for content in contents]))
    lengths = [len(content["action"]) for content in contents]
    assert read.lengths.tolist() == lengths
    starts = np.cumsum([0, *lengths])
    assert np.flatnonzero(read.is_first).tolist() == starts[:-1].tolist()
    ended = [stop - 1 for stop, content in zip(starts[1:], contents, strict=True) if content["discount"][-1] == 0.0]
    assert np.flatnonzero(read.is_terminal).tolist() == ended
    assert not read.action[starts[:-1]].any() and not read.reward[starts[:-1]].any()


# What others wrote


@pytest.mark.parametrize("kind", ["dreamerv2", "older", "lompo"])
def test_a_folder_of_npz_is_read_as_it_was_written(kind: str, tmp_path: Path) -> None:
    folder, contents = tmp_path / "walker_walk" / "medium" / "64px", [columns(number) for number in range(3)]
    for second in (2, 0, 1):  # their names say the order
        content = contents[second]
        if kind == "dreamerv2":
            content = without(content, "state") | flags(content)
        elif kind == "older":
            content = without(content, "state")
        else:  # LOMPO's door has larger images and a flag of success beside
            content = content | {"image_128": np.zeros((len(content["action"]), 32, 32, 3), np.uint8)}
            content = content | {"success": content["reward"]}
        write_npz(folder, second, content)
    assert_read(pixels(folder, tmp_path), contents)
    assert open_source(str(folder), None, tmp_path).task == WALKER  # by the folders that it lies in
    if kind == "lompo":
        assert_read(load_states(str(folder), WALKER, tmp_path, progress=False), contents, "state")
    else:
        with pytest.raises(UserError, match=r"-4\.npz holds images and no states; use --obs pixels"):
            load_states(str(folder), WALKER, tmp_path, progress=False)


@pytest.mark.parametrize("name", ["{}.hdf5", "shard_{}_reward_964.hdf5"])
def test_shards_are_read_in_the_order_of_their_numbers(name: str, tmp_path: Path) -> None:
    contents = [columns(number, 84) for number in range(12)]
    for number in range(11):
        write_shard(tmp_path / "84px" / name.format(number), contents[10:] if number == 10 else [contents[number]])
    assert_read(pixels(tmp_path / "84px", tmp_path, 84), contents)
    assert_read(pixels(tmp_path / "84px" / name.format(10), tmp_path, 84), contents[10:])  # one of them alone


def d4rl(contents: list[Columns]) -> Columns:
    """Rows as D4RL has them, of version 2: an action beside the observation that it was taken at."""
    joined = {
        "observations": np.concatenate([content["state"][:-1] for content in contents]),
        "next_observations": np.concatenate([content["state"][1:] for content in contents]),
        "actions": np.concatenate([content["action"][1:] for content in contents]),
        "rewards": np.concatenate([content["reward"][1:] for content in contents]),
        "terminals": np.concatenate([flags(content)["is_terminal"][1:] for content in contents]),
    }
    last = np.concatenate([flags(content)["is_last"][1:] for content in contents])
    return joined | {"timeouts": last & ~joined["terminals"]}


def write_hdf5(path: Path, content: Columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, array in content.items():
            file[key] = array
    return path


def test_d4rls_second_version_is_read_whole(tmp_path: Path) -> None:
    contents = [columns(number, task=HOPPER) for number in range(3)]
    rows = len(d4rl(contents)["rewards"])
    more = {
        "infos/qpos": np.zeros((rows, 6)),
        "infos/qvel": np.zeros((rows, 6)),
        "infos/action_log_probs": np.ones(rows),
    }
    more |= {"metadata/algorithm": np.bytes_("SAC"), "metadata/policy/fc0/weight": np.ones((256, 11), np.float32)}
    path = write_hdf5(tmp_path / "hopper-medium-v2.hdf5", d4rl(contents) | more)
    assert_read(load_states(str(path), HOPPER, tmp_path), contents, "state")


def test_of_d4rls_first_version_nothing_is_made_up_but_terminal_observations(tmp_path: Path) -> None:
    contents = [columns(number, task=HOPPER) for number in range(3)]
    path = write_hdf5(tmp_path / "hopper-medium-v0.hdf5", without(d4rl(contents), "next_observations"))
    contents[1]["state"][-1] = contents[1]["state"][-2]
    shorter = [content if ended else {key: array[:-1] for key, array in content.items()}
               for content, ended in zip(contents, TERMINATION_FNS, strict=True)]  # fmt: skip
    read = load_states(str(path), HOPPER, tmp_path)
    assert_read(read, shorter, "state")
    assert not read.endings_seen
    _, lost = convert(open_source(str(path), HOPPER, tmp_path), str(tmp_path / "own"), "own", progress=False)
    assert len(lost) == 1 and "what episodes ended in" in lost[0]  # a copy can not mark them


@needs_minari
@pytest.mark.parametrize("seen", [("image",), ("state",), ("image", "state")])
def test_what_minari_stored_as_it_is_comes_back_bit_for_bit(seen: tuple[str, ...], tmp_path: Path) -> None:
    contents = [columns(number) for number in range(3)]
    write_by_minari("walker-walk/medium-v0", contents, seen, jpeg=False)
    if "image" in seen:
        assert_read(pixels("walker-walk/medium-v0", tmp_path), contents)
    else:
        with pytest.raises(UserError, match="episode 0 holds states and no images; use --obs state"):
            pixels("walker-walk/medium-v0", tmp_path)
    if "state" in seen:
        assert_read(load_states("walker-walk/medium-v0", WALKER, tmp_path, progress=False), contents, "state")
    else:
        with pytest.raises(UserError, match="episode 0 holds images and no states; use --obs pixels"):
            load_states("walker-walk/medium-v0", WALKER, tmp_path, progress=False)


@needs_minari
def test_minaris_jpeg_is_read_for_what_it_is(tmp_path: Path) -> None:
    contents = [columns(number, 32) for number in range(3)]
    slope = np.linspace(0.0, 200.0, 32)
    for content in contents:
        content["image"][...] = (slope[:, None] * 0.5 + slope * 0.5)[None, :, :, None]
    write_by_minari("walker-walk/jpeg-v0", contents, ("image", "state"), jpeg=True)
    read = pixels("walker-walk/jpeg-v0", tmp_path, 32)
    difference = np.abs(read.observation.astype(int) - np.concatenate([c["image"] for c in contents]).astype(int))
    assert 0 < difference.max() < 16  # it is lossy, and no more than that
    assert_read(load_states("walker-walk/jpeg-v0", WALKER, tmp_path, progress=False), contents, "state")


# There and back


def episodes_of(task: Task, image: bool = True) -> list[Episode]:
    """The three episodes with everything that one can hold."""
    made = []
    for number, terminal in enumerate(TERMINATION_FNS):
        content = columns(number, task=task)
        physics = np.random.default_rng(number).normal(size=(len(content["action"]), task.physics_dim))
        made.append(
            Episode.from_transitions(
                content["action"][1:], content["reward"][1:], physics, content["state"],
                content["image"] if image else None, terminal,
            )
        )  # fmt: skip
    return made


MANIFEST = "the manifest (look, camera, behaviour policies, references, checksums)"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A dataset of images, states and physics in the project's own layout."""
    description = replace(describe(WALKER, "medium", 7, {"algorithm": "sac"}), image_size=SIZE, look="full")
    write_dataset(tmp_path / "own", episodes_of(WALKER), description, progress=False)
    return tmp_path / "own"


@pytest.mark.parametrize("to", ["dreamer", "lompo", pytest.param("minari", marks=needs_minari), "own"])
def test_a_copy_holds_all_and_comes_back_the_same(to: str, own: Path, tmp_path: Path) -> None:
    out, expected = "walker-walk/copy-v0" if to == "minari" else str(tmp_path / "copy"), episodes_of(WALKER)
    count, lost = convert(open_source(str(own), None, tmp_path), out, to, progress=False)
    assert (count, lost) == (3, [] if to == "own" else [MANIFEST])
    copy = open_source(out, WALKER, tmp_path)
    assert copy.format.name == {"lompo": "dreamer"}.get(to, to)
    assert_same(list(copy.episodes()), expected)
    assert_same([episode for _, episode in copy], expected)  # a source can be read again
    if to in ("dreamer", "lompo"):
        with np.load(copy.files[0]) as file:
            assert ("is_last" in file) == (to == "dreamer") and "discount" in file
    _, lost = convert(copy, str(tmp_path / "back"), "own", look="full", progress=False)
    assert [what.split(" (")[0] for what in lost] == (["Minari's metadata"] if to == "minari" else [])
    back = Dataset(tmp_path / "back")
    assert_same(list(back), expected)
    known, manifest = Dataset(own).manifest, back.manifest
    for key in (
        "task",
        "horizon",
        "camera",
        "image_size",
        "look",
        "action_dim",
        "state_dim",
        "physics_dim",
        "return_max",
    ):
        assert getattr(manifest, key) == getattr(known, key)
    if to == "own":
        assert manifest == known  # with its split, seed, policies and references, and the same files
    elif to != "minari":
        assert manifest.behaviour == {"source": "copy", "layout": "npz episodes as of DreamerV2, V-D4RL or LOMPO"}


def test_vectors_go_to_d4rls_layout_and_back(tmp_path: Path) -> None:
    write_dataset(tmp_path / "own", episodes_of(HOPPER, image=False), describe(HOPPER, "medium", 0, {}), progress=False)
    out, again = tmp_path / "copy.hdf5", tmp_path / "again.hdf5"
    count, lost = convert(open_source(str(tmp_path / "own"), None, tmp_path), str(out), "d4rl", progress=False)
    assert (count, lost) == (3, [MANIFEST])
    assert read_metadata(out) == {"task": "hopper", "split": "medium"}
    with h5py.File(out) as file:
        ends = [np.flatnonzero(file[key][()]).tolist() for key in ("terminals", "timeouts")]
    assert ends == [[6], [2, 11]]  # after 3, 4 and 5 transitions; what the task ended ran into no limit
    copy = open_source(str(out), None, tmp_path)
    assert (copy.task, copy.split, copy.format.name) == (HOPPER, "medium", "d4rl")
    assert_same(list(copy.episodes()), episodes_of(HOPPER, image=False))
    for to, there in (("own", tmp_path / "back"), ("d4rl", again)):
        assert convert(copy, str(there), to, progress=False) == (3, [])
        assert_same(list(open_source(str(there), None, tmp_path).episodes()), episodes_of(HOPPER, image=False))
    assert Dataset(tmp_path / "back").manifest.behaviour["split"] == "medium"  # what the file said of itself


def test_vectors_of_a_recording_are_observed_for_d4rl(tmp_path: Path) -> None:
    played = list(play(HOPPER, PolicySpec(), range(2)))
    recorded = (replace(episode, state=None) for episode in played)
    write_dataset(tmp_path / "own", recorded, describe(HOPPER, "random", 0, {}), progress=False)
    convert(open_source(str(tmp_path / "own"), None, tmp_path), str(tmp_path / "copy.hdf5"), "d4rl", progress=False)
    for ours, theirs in zip(open_source(str(tmp_path / "copy.hdf5"), None, tmp_path).episodes(), played, strict=True):
        np.testing.assert_allclose(ours.state, theirs.state, atol=1e-6)
        np.testing.assert_array_equal(ours.physics, theirs.physics)
        np.testing.assert_array_equal(ours.is_terminal, theirs.is_terminal)


def test_what_a_copy_lacks_is_said(own: Path, tmp_path: Path) -> None:
    _, lost = convert(open_source(str(own), None, tmp_path), str(tmp_path / "walker.hdf5"), "d4rl", progress=False)
    assert lost == ["images", MANIFEST]
    path = tmp_path / "hopper.hdf5"
    write_hdf5(path, d4rl([columns(number, task=HOPPER) for number in range(3)]) | {"infos/qpos": np.zeros((12, 6))})
    with h5py.File(path, "a") as file:
        file["metadata/algorithm"] = "SAC"
    _, lost = convert(open_source(str(path), None, tmp_path), str(tmp_path / "hopper"), "own", progress=False)
    assert lost == ["what is below infos/, and numbers below metadata/"]
    assert Dataset(tmp_path / "hopper").manifest.behaviour["algorithm"] == "SAC"
    convert(open_source(str(path), None, tmp_path), str(tmp_path / "again.hdf5"), "d4rl", progress=False)
    assert read_metadata(tmp_path / "again.hdf5")["algorithm"] == "SAC"
    write_npz(tmp_path / "door", 0, columns(0) | {"success": columns(0)["reward"]})
    _, lost = convert(
        open_source(str(tmp_path / "door"), WALKER, tmp_path), str(tmp_path / "a"), "dreamer", progress=False
    )
    assert lost == ["the keys success"]


@needs_minari
def test_what_minari_has_no_place_for_is_said(tmp_path: Path) -> None:
    contents = [columns(number, task=HOPPER) for number in range(3)]
    with h5py.File(write_hdf5(tmp_path / "hopper.hdf5", d4rl(contents)), "a") as file:
        file["metadata/algorithm"] = "SAC"
    source = open_source(str(tmp_path / "hopper.hdf5"), None, tmp_path)
    assert convert(source, "hopper/copy-v0", "minari", progress=False) == (3, ["the file's metadata"])
    assert_read(load_states("hopper/copy-v0", HOPPER, tmp_path, progress=False), contents, "state")


def test_an_ending_by_the_task_survives_whatever_the_discounts_say(tmp_path: Path) -> None:
    for number in range(
        3
    ):  # a file whose flags and discounts are at odds, as of environments that discount by themselves
        content = columns(number)
        content["discount"] = np.full(len(content["action"]), (0.5, 1.0, 0.0)[number], np.float32)
        terminal = flags(columns(number))["is_terminal"]
        write_npz(tmp_path / "odd", number, content | flags(content) | {"is_terminal": terminal})
    source = open_source(str(tmp_path / "odd"), WALKER, tmp_path)
    said = {
        "lompo": "last discounts that say otherwise than is_terminal",
        "d4rl": "discounts that are neither 1 nor 0 where the task ended",
    }
    for to, out in (("lompo", "lompo"), ("d4rl", "copy.hdf5"), ("dreamer", "dreamer")):
        _, lost = convert(source, str(tmp_path / out), to, progress=False)
        assert (said.get(to) in lost) == (to in said)
        ended = [episode.is_terminal[-1] for episode in open_source(str(tmp_path / out), WALKER, tmp_path).episodes()]
        assert ended == list(TERMINATION_FNS)


def test_the_command_converts_and_says_what_is_not_in_it(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "copy"
    monkeypatch.setattr(sys, "argv", ["convert", str(own), str(out), "--to", "dreamer"])
    convert_command.main()
    assert capsys.readouterr().out == f"3 episodes in {out}; not in it: {MANIFEST}\n"
    (name,) = [path.name for path in out.iterdir() if path.name.endswith("-5.npz")]
    assert name.startswith("20000101T000001-")  # as DreamerV2 names them, in the order of the episodes
    with np.load(sorted(out.iterdir())[1]) as file:
        assert file["image"].shape == (5, SIZE, SIZE, 3) and file["is_terminal"].tolist() == [False] * 4 + [True]


def test_a_new_format_is_a_file_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.formats.registry.FORMATS", [*FORMATS, Toy()])  # the line; `toy_format` is the file
    expected = [replace(episode, physics=None) for episode in episodes_of(HOPPER, image=False)]
    alive = [replace(episode, is_terminal=episode.is_first & False, discount=np.ones_like(episode.discount))
             for episode in expected]  # fmt: skip
    write_dataset(tmp_path / "own", expected, describe(HOPPER, "medium", 0, {}), progress=False)
    out = tmp_path / "hopper-medium.toy"
    arguments = [str(tmp_path / "own"), str(out), "--to", "toy"]
    monkeypatch.setattr(sys, "argv", ["convert", *arguments])
    convert_command.main()
    reference = resolve("hopper-medium", None, tmp_path)  # by its name in the data folder
    assert (reference.path, reference.task, reference.split) == (out, "hopper", "medium")
    assert reference.format is format_named("toy")
    copy = reference.open()
    assert_same(list(copy.episodes()), alive)
    assert load_states("hopper-medium", HOPPER, tmp_path, progress=False).lengths.tolist() == [4, 5, 6]
    assert parse(["--obs", "state", "--dataset", str(out)])[0].task == "hopper"
    with pytest.raises(UserError, match="holds states and no images; use --obs state"):
        load_pixels(str(out), HOPPER, "fast", tmp_path)
    _, lost = convert(copy, str(tmp_path / "back"), "own", progress=False)
    assert lost == [] and Dataset(tmp_path / "back").manifest.behaviour["layout"] == "lines of text"


def test_what_can_be_read_only_is_not_written(own: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="V-D4RL's HDF5 shards can be read only; convert to another format"):
        convert(open_source(str(own), None, tmp_path), str(tmp_path / "copy.hdf5"), "vd4rl", progress=False)


# What is refused


def test_images_of_another_size_name_the_option_and_foreign_ones_their_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_npz(tmp_path / "foreign", 0, columns(0))
    with pytest.raises(UserError, match=r"32 by 32 pixels, .*64 square.*--rssm.conv"):
        pixels(tmp_path / "foreign", tmp_path, 64)
    said = capsys.readouterr().out
    assert "foreign (npz episodes as of DreamerV2, V-D4RL or LOMPO) does not say how" in said
    assert "taken as --look fast" in said
    content = columns(0)
    write_npz(tmp_path / "oblong", 0, content | {"image": content["image"][:, :12]})
    with pytest.raises(UserError, match="12 by 32 pixels, .*cut squares"):
        pixels(tmp_path / "oblong", tmp_path)
    assert list((tmp_path / "decoded").iterdir()) == []


def test_larger_images_are_averaged_where_the_simulator_draws_small_ones_so_and_nowhere_else(tmp_path: Path) -> None:
    content = columns(0, 64)
    write_npz(tmp_path / "foreign", 0, content)
    for size in (32, 16):
        blocks = content["image"].reshape(len(content["image"]), size, 64 // size, size, 64 // size, 3)
        expected = blocks.mean((2, 4)).round()
        np.testing.assert_array_equal(pixels(tmp_path / "foreign", tmp_path, size).observation, expected)
    for there, asked in ((84, 64), (128, 64), (32, 16)):
        write_npz(tmp_path / f"of-{there}", 0, columns(0, there))
        with pytest.raises(UserError, match=f"{there} by {there} pixels, not {asked} square; set --rssm.conv"):
            pixels(tmp_path / f"of-{there}", tmp_path, asked)


def test_what_was_decoded_for_one_task_is_not_taken_for_another(tmp_path: Path) -> None:
    write_npz(tmp_path / "foreign", 0, columns(0, 64))
    pixels(tmp_path / "foreign", tmp_path, 64)
    with pytest.raises(UserError, match="`action` has 6 numbers, but sawyer-door has 4; name the --task"):
        load_pixels(str(tmp_path / "foreign"), get_task("sawyer-door"), "fast", tmp_path, image_size=64, progress=False)


def test_a_robot_of_another_size_is_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "foreign", 0, columns(0, task=HOPPER))
    with pytest.raises(UserError, match="`action` has 3 numbers, but walker-walk has 6; name the --task"):
        pixels(tmp_path / "foreign", tmp_path)
    with pytest.raises(UserError, match="`state` has 11 numbers, but walker-walk has 24; name the --task"):
        load_states(str(tmp_path / "foreign"), WALKER, tmp_path)
    with pytest.raises(UserError, match="`action` has 3 numbers, but walker-walk has 6; name the --task"):
        convert(
            open_source(str(tmp_path / "foreign"), WALKER, tmp_path), str(tmp_path / "copy"), "lompo", progress=False
        )
    assert not (tmp_path / "copy").exists()


def test_episodes_that_do_not_hold_the_same_are_not_mixed(tmp_path: Path) -> None:
    write_npz(tmp_path / "walker-walk", 0, columns(0))
    write_npz(tmp_path / "walker-walk", 1, without(columns(1), "state"))
    source = open_source(str(tmp_path / "walker-walk"), None, tmp_path)
    for to, out in (("dreamer", "copy"), ("own", "copy"), ("d4rl", "copy.hdf5")):
        with pytest.raises(UserError, match="walker-walk: only some episodes have state; convert those that are alike"):
            convert(source, str(tmp_path / out), to, look="fast", progress=False)
        assert not (tmp_path / out).exists()


def test_another_programs_physics_are_left_alone(tmp_path: Path) -> None:
    write_npz(tmp_path / "foreign", 0, columns(0) | {"physics": np.ones((4, 7))})
    write_npz(tmp_path / "foreign", 1, columns(1) | {"physics": np.ones((5, 9))})
    for read in (pixels(tmp_path / "foreign", tmp_path), load_states(str(tmp_path / "foreign"), WALKER, tmp_path)):
        assert read.physics is None and read.lengths.tolist() == [4, 5]


def test_a_folder_that_is_no_dataset_says_what_one_has(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("nothing")
    with pytest.raises(UserError, match=r"empty is no dataset: it has no manifest.json, no episodes .* make one with"):
        open_source(str(tmp_path / "empty"), WALKER, tmp_path)
    with pytest.raises(UserError, match=r"holds states and no images; use --obs state"):
        pixels(write_hdf5(tmp_path / "walker.hdf5", d4rl([columns(0)])), tmp_path)


@pytest.mark.parametrize(
    ("to", "out", "look", "reason"),
    [
        ("own", "copy", None, "does not say how its images were drawn; tell it with --look fast or full"),
        ("own", "there", "fast", "there exists and is not an empty folder"),
        ("dreamer", "there", None, "there exists and is not an empty folder"),
        ("lompo", "there", None, "there exists and is not an empty folder"),
        ("d4rl", "there.hdf5", None, "there.hdf5 exists already"),
        ("d4rl", "copy", None, "copy is to be an HDF5 file; name it .*copy.hdf5"),
        ("d4rl", "copy.hdf5", None, "holds no vector observations"),
        pytest.param("minari", "copy", None, "is no id of Minari's, such as walker-walk/medium-v0", marks=needs_minari),
        ("rlds", "copy", None, "unknown format 'rlds'; it is one of own, minari, dreamer, lompo, d4rl"),
    ],
)
def test_a_copy_that_can_not_be_is_refused(to: str, out: str, look: str | None, reason: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for path in (tmp_path / "there" / "mine", tmp_path / "there.hdf5"):
        path.write_text("mine")
    write_npz(tmp_path / "walker-walk", 0, without(columns(0), "state"))
    with pytest.raises(UserError, match=reason) as error:
        convert(
            open_source(str(tmp_path / "walker-walk"), None, tmp_path), str(tmp_path / out), to, look, progress=False
        )
    assert "\n" not in str(error.value)
    assert (tmp_path / "there" / "mine").read_text() == (tmp_path / "there.hdf5").read_text() == "mine"
    assert not (tmp_path / "copy").exists() and not (tmp_path / "copy.hdf5").exists()


@needs_minari
def test_a_minari_dataset_is_written_whole_and_not_written_over(own: Path, tmp_path: Path, store: Path) -> None:
    path = own / "episode-000002.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(UserError, match="episode-000002.npz was truncated or altered"):
        convert(open_source(str(own), None, tmp_path), "walker-walk/copy-v0", "minari", progress=False)
    assert list(store.glob("walker-walk/copy-v0")) == []
    path.write_bytes(whole)
    convert(open_source(str(own), None, tmp_path), "walker-walk/copy-v0", "minari", progress=False)
    with pytest.raises(UserError, match="has a dataset walker-walk/copy-v0 already"):
        convert(open_source(str(own), None, tmp_path), "walker-walk/copy-v0", "minari", progress=False)


def test_a_recording_is_drawn_before_it_becomes_a_dataset_of_images(tmp_path: Path) -> None:
    write_dataset(tmp_path / "own", episodes_of(HOPPER, image=False), describe(HOPPER, "medium", 0, {}), progress=False)
    with pytest.raises(UserError, match="no images to write to .*data.render first"):
        convert(open_source(str(tmp_path / "own"), None, tmp_path), str(tmp_path / "copy"), "dreamer", progress=False)


def test_a_dataset_that_does_not_tell_its_task_is_asked_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no folder's name tells
    write_npz(Path("some"), 0, columns(0))
    source = open_source("some", None, tmp_path)
    with pytest.raises(UserError, match="some does not say which task it is of; name it with --task"):
        convert(source, "copy", "dreamer", progress=False)
    with pytest.raises(UserError, match="name it with --task"):
        source.about()
    monkeypatch.setattr(sys, "argv", ["convert", "some", "copy", "--to", "dreamer", "--task", "walker-wlak"])
    with pytest.raises(UserError, match="unknown task 'walker-wlak'.*walker-walk"):
        convert_command.main()


# What is decoded once


def test_other_content_is_decoded_anew(tmp_path: Path) -> None:
    folder, contents = tmp_path / "foreign", [columns(number) for number in range(3)]
    paths = [write_npz(folder, number, content) for number, content in enumerate(contents[:2])]
    assert_read(pixels(folder, tmp_path), contents[:2])
    contents[1]["image"][2, 3, 4, 0] ^= 1
    np.savez_compressed(paths[1], **contents[1])
    assert_read(pixels(folder, tmp_path), contents[:2])
    write_npz(folder, 2, contents[2])
    assert_read(pixels(folder, tmp_path), contents)
    assert len(list((tmp_path / "decoded").iterdir())) == 3
    assert_read(pixels(folder, tmp_path), contents)
    assert len(list((tmp_path / "decoded").iterdir())) == 3
    content = bytearray(paths[0].read_bytes())
    content[len(content) // 2] ^= 1  # a byte that fell over is not passed over for what was decoded before
    paths[0].write_bytes(content)
    with pytest.raises(UserError, match=paths[0].name):
        pixels(folder, tmp_path)


@needs_minari
def test_two_minari_datasets_are_two(tmp_path: Path) -> None:
    for version, contents in enumerate(([columns(0), columns(1)], [columns(0), columns(2)])):
        write_by_minari(f"walker-walk/medium-v{version}", contents, ("image",), jpeg=False)
        assert_read(pixels(f"walker-walk/medium-v{version}", tmp_path), contents)
    names = sorted(folder.name.split("-fast")[0][:10] for folder in (tmp_path / "decoded").iterdir())
    assert names == ["medium-v0-", "medium-v1-"]


def test_what_was_left_out_is_said_each_time_and_read_once_it_is_mended(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def load() -> TrajectoryDataset:
        return load_pixels(str(own), WALKER, "full", tmp_path, image_size=SIZE, progress=False, skip_corrupt=True)

    path = own / "episode-000001.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    for _ in range(2):  # the second time nothing is decoded
        assert load().lengths.tolist() == [4, 6]
        assert "left out 1 of 3 files" in capsys.readouterr().err
    path.unlink()
    assert load().lengths.tolist() == [4, 6]
    path.write_bytes(whole)
    assert load().lengths.tolist() == [4, 5, 6]
    manifest = json.loads((own / MANIFEST_NAME).read_text())
    manifest["files"]["episode-000000.npz"] = "0" * 64  # so it is this file that counts as damaged
    (own / MANIFEST_NAME).write_text(json.dumps(manifest))
    assert load().lengths.tolist() == [5, 6]


def test_shards_that_break_off_keep_what_was_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents = [columns(number) for number in range(3)]
    contents[2]["action"][2] = 5.0
    write_shard(tmp_path / "shards" / "0.hdf5", contents[:1])
    write_shard(tmp_path / "shards" / "1.hdf5", contents[1:])
    assert_read(pixels(tmp_path / "shards", tmp_path, skip_corrupt=True), contents[:2])
    assert "left out 1 of 2 files" in capsys.readouterr().err
    (tmp_path / "shards" / "0.hdf5").unlink()
    assert_read(pixels(tmp_path / "shards", tmp_path, skip_corrupt=True), contents[1:2])


def test_what_is_larger_than_its_share_of_the_memory_stays_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_npz(tmp_path / "foreign", number, columns(number))
    size = 15 * SIZE * SIZE * 3 + 128  # the header's share
    read = []
    for free in (2 * size + 2, 2 * size - 2):
        monkeypatch.setattr("data.load.free_memory", lambda free=free: free)
        read.append(pixels(tmp_path / "foreign", tmp_path))
    assert [isinstance(decoded.observation, np.memmap) for decoded in read] == [False, True]
    mapped = read[1].observation
    assert isinstance(mapped, np.memmap) and mapped.mode == "r"
    for decoded in read:
        assert_read(decoded, [columns(number) for number in range(3)])
    memory, disk = (SegmentSampler(decoded, range(3), 3).sample(16, np.random.default_rng(0)) for decoded in read)
    for name, tensor in vars(memory).items():
        assert np.array_equal(tensor, getattr(disk, name))
