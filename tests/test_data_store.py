"""Episodes and datasets on disk: the indexing, atomic writing, and what is refused."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from combo_common.errors import UserError
from data.episode import Episode, validate
from data.formats.manifest import MANIFEST_NAME, Description, check_fits, describe, read_manifest
from data.formats.native import Dataset, write_dataset
from envs.registry import get_task
from envs.task import Task

TASK = get_task("walker-walk")


def make_episode(rng: np.random.Generator, transitions: int, image_size: int | None = None) -> Episode:
    """A random episode of the walker's sizes."""
    rows = transitions + 1
    image = None if image_size is None else rng.integers(0, 256, (rows, image_size, image_size, 3), np.uint8)
    return Episode.from_transitions(
        rng.uniform(-1.0, 1.0, (transitions, TASK.action_dim)),
        rng.uniform(0.0, 2.0, transitions),
        physics=rng.normal(size=(rows, TASK.physics_dim)),
        state=rng.normal(size=(rows, TASK.state_dim)),
        image=image,
    )


def describe_walker(image_size: int | None = None) -> Description:
    """A description, of images when a size is given."""
    description = describe(TASK, "medium-replay", 0, {"algorithm": "sac"}, random_return=30.0, expert_return=900.0)
    return dataclasses.replace(description, image_size=image_size, look="fast" if image_size else None)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A dataset of three episodes of 4, 5 and 6 transitions."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "dataset"
    write_dataset(folder, (make_episode(rng, length) for length in (4, 5, 6)), describe_walker(), progress=False)
    return folder


def test_action_t_is_the_one_that_led_to_row_t() -> None:
    # A point on a line: the action is added to the position, and the reward is the new position.
    actions = np.array([[0.5], [0.25], [-1.0]])
    positions = np.array([[0.0], [0.5], [0.75], [-0.25]])
    episode = Episode.from_transitions(actions, positions[1:, 0], physics=positions)
    assert episode.physics is not None
    np.testing.assert_array_equal(episode.action[:, 0], np.array([0.0, 0.5, 0.25, -1.0], np.float32))
    np.testing.assert_array_equal(episode.reward, np.array([0.0, 0.5, 0.75, -0.25], np.float32))
    np.testing.assert_allclose(episode.physics[1:] - episode.physics[:-1], episode.action[1:])
    np.testing.assert_array_equal(episode.is_first, [True, False, False, False])
    np.testing.assert_array_equal(episode.is_last, [False, False, False, True])
    assert (episode.length, episode.episode_return) == (3, 1.0)
    validate(episode, "golden")


def test_a_time_limit_is_no_terminal() -> None:
    actions, rewards = np.zeros((2, 1)), np.ones(2)
    limited = Episode.from_transitions(actions, rewards)
    ended = Episode.from_transitions(actions, rewards, terminal=True)
    assert limited.is_last[-1] and not limited.is_terminal.any() and limited.discount.min() == 1.0
    np.testing.assert_array_equal(ended.is_terminal, [False, False, True])
    np.testing.assert_array_equal(ended.discount, [1.0, 1.0, 0.0])


def _set(key: str, row: int, value: float) -> Callable[[Episode], Episode]:
    def change(episode: Episode) -> Episode:
        array = np.array(getattr(episode, key))
        array[row] = value
        return dataclasses.replace(episode, **{key: array})

    return change


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        (_set("action", 2, 1.5), "action", r"leaves \[-1, 1\], first in row 2"),
        (_set("reward", 1, np.nan), "reward", "NaN or Inf, first in row 1"),
        (_set("physics", 3, np.inf), "physics", "NaN or Inf, first in row 3"),
        (_set("action", 0, 0.5), "action", "zero in row 0"),
        (_set("is_first", 2, True), "is_first", "only there"),
        (_set("is_last", 1, True), "is_last", "only there"),
        (_set("is_terminal", 1, True), "is_terminal", "last row only"),
        (_set("discount", 1, 1.5), "discount", "leaves"),
        (lambda e: dataclasses.replace(e, reward=e.reward[:-1]), "reward", "4 rows where `action` has 5"),
        (lambda e: dataclasses.replace(e, action=e.action.astype(np.float64)), "action", "float64, not float32"),
        (lambda e: dataclasses.replace(e, image=np.zeros((5, 8, 8, 1), np.uint8)), "image", "1 channels"),
        (lambda e: dataclasses.replace(e, state=np.zeros(5, np.float32)), "state", "not 2 axes"),
    ],
)
def test_an_invalid_episode_is_refused_by_file_and_key(
    change: Callable[[Episode], Episode], key: str, reason: str
) -> None:
    episode = change(make_episode(np.random.default_rng(0), 4))
    with pytest.raises(UserError, match=f"file.npz: `{key}` .*{reason}"):
        validate(episode, "file.npz")


def test_what_is_read_is_what_was_written(written: Path) -> None:
    rng = np.random.default_rng(0)
    dataset = Dataset(written)
    for length, episode in zip((4, 5, 6), dataset, strict=True):
        expected = make_episode(rng, length).columns()
        assert episode.columns().keys() == expected.keys()
        for key, array in episode.columns().items():
            np.testing.assert_array_equal(array, expected[key])
    returns = [episode.episode_return for episode in dataset]
    manifest = dataset.manifest
    assert (manifest.kind, manifest.episodes, manifest.transitions) == ("recording", 3, 15)
    assert (manifest.return_mean, manifest.return_max) == pytest.approx((np.mean(returns), max(returns)))
    assert (manifest.action_dim, manifest.state_dim, manifest.physics_dim) == (6, 24, 18)
    assert json.loads((written / MANIFEST_NAME).read_text())["kind"] == "recording"


def test_the_same_episodes_give_the_same_files(written: Path, tmp_path: Path) -> None:
    again = write_dataset(tmp_path / "again", Dataset(written), describe_walker(), progress=False)
    assert again == read_manifest(written)


def test_a_crash_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def episodes() -> Iterator[Episode]:
        yield make_episode(np.random.default_rng(0), 4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "dataset", episodes(), describe_walker(), progress=False)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_appears_only_when_whole(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"

    def episodes() -> Iterator[Episode]:
        for _ in range(3):
            assert not folder.exists()
            yield make_episode(np.random.default_rng(0), 4)

    write_dataset(folder, episodes(), describe_walker(), progress=False)
    assert len(list(folder.glob("*.npz"))) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_nothing_is_overwritten(written: Path) -> None:
    before = read_manifest(written)
    with pytest.raises(UserError, match="not an empty folder"):
        write_dataset(written, [make_episode(np.random.default_rng(1), 4)], describe_walker(), progress=False)
    assert read_manifest(written) == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write to .*file/dataset"):
        write_dataset(tmp_path / "file" / "dataset", [], describe_walker(), progress=False)


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (Episode.from_transitions(np.zeros((4, 5)), np.zeros(4), np.zeros((5, 18)), np.zeros((5, 24))), "`action`"),
        (Episode.from_transitions(np.zeros((4, 6)), np.zeros(4), np.zeros((5, 18))), "`state` is of size None"),
        (make_episode(np.random.default_rng(0), 4, image_size=8), "`image`"),
    ],
)
def test_episodes_must_be_alike(tmp_path: Path, second: Episode, reason: str) -> None:
    first = make_episode(np.random.default_rng(0), 4)
    with pytest.raises(UserError, match=f"episode-000001.npz: {reason}"):
        write_dataset(tmp_path / "dataset", [first, second], describe_walker(), progress=False)


def test_a_truncated_file_is_named(written: Path) -> None:
    path = written / "episode-000001.npz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"episode-000001\.npz was truncated or altered"):
        list(Dataset(written))
    with pytest.raises(UserError, match=r"episode-000001\.npz was truncated or altered"):
        Dataset(written).verify()


def test_an_altered_file_is_named(written: Path) -> None:
    (written / "episode-000002.npz").write_bytes((written / "episode-000000.npz").read_bytes())
    with pytest.raises(UserError, match=r"episode-000002\.npz was truncated or altered"):
        list(Dataset(written))


def test_a_missing_file_is_named(written: Path) -> None:
    (written / "episode-000000.npz").unlink()
    with pytest.raises(UserError, match=r"episode-000000\.npz cannot be read"):
        list(Dataset(written))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("format_version", 99, "format version 99"),
        ("horizon", "500", "`horizon` is '500', of the wrong type"),
        ("files", {"../episode.npz": "0"}, "outside the folder"),
        ("episodes", 2, "counts 2 episodes but names 3"),
        ("surprise", 1, "unknown key `surprise`"),
        ("seed", None, "`seed` is missing"),
    ],
)
def test_an_unsound_manifest_is_refused(written: Path, key: str, value: object, reason: str) -> None:
    path = written / MANIFEST_NAME
    content = json.loads(path.read_text())
    content[key] = value
    if value is None:
        del content[key]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=reason):
        Dataset(written)


def test_a_folder_without_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no manifest.json"):
        Dataset(tmp_path)


@pytest.mark.parametrize(
    ("task", "look", "size", "key"),
    [
        (dataclasses.replace(TASK, name="walker-run"), "fast", 8, "task"),
        (dataclasses.replace(TASK, action_repeat=4), "fast", 8, "action_repeat"),
        (dataclasses.replace(TASK, action_dim=5), "fast", 8, "action_dim"),
        (dataclasses.replace(TASK, physics_names=("a", "b", "c", "d")), "fast", 8, "physics_dim"),
        (TASK, "full", 8, "look"),
        (TASK, "fast", 64, "image_size"),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused(tmp_path: Path, task: Task, look: str, size: int, key: str) -> None:
    episodes = [make_episode(np.random.default_rng(0), 4, image_size=8)]
    manifest = write_dataset(tmp_path / "dataset", episodes, describe_walker(8), progress=False)
    check_fits(manifest, TASK, ("fast", 8))
    with pytest.raises(UserError, match=f"its {key} is"):
        check_fits(manifest, task, (look, size))
