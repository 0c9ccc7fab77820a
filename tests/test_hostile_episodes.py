"""Episodes and manifests that can not be right are refused for what they are, or left out where that is asked for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_files import HOPPER, dreamer_folder, own_folder, tiny_episode
from hostile_files import Columns, change, lack, put, refused

from combo_common.errors import UserError
from data.formats.dreamer import read_episode
from data.formats.manifest import MANIFEST_NAME, read_manifest
from data.formats.native import Dataset
from data.source import open_source


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (put("reward", 2, np.nan), "`reward` holds a NaN or Inf, first in row 2"),
        (put("action", (1, 0), np.inf), "`action` holds a NaN or Inf, first in row 1"),
        (put("action", (3, 1), -1.5), r"`action` leaves \[-1, 1\], first in row 3"),
        (put("is_first", 2, 1), "`is_first` must be true in row 0 and only there"),
        (put("discount", 1, 2.0), r"`discount` leaves \[0, 1\]"),
        (change("state", lambda v: v.astype(np.float64) * 1e300), "`state` holds a NaN or Inf"),
        (change("image", lambda v: v.astype(np.float32)), "`image` is float32, not uint8"),
        (change("image", lambda v: v[..., :1]), "`image` has 1 channels"),
        (change("image", lambda v: v[..., 0]), r"`image` of shape \(4, 4, 4\)"),
        (change("is_last", lambda v: v * 2), "`is_last` is neither 0 nor 1"),
        (change("action", lambda v: v[1:]), r"`action` of shape \(3, 3\) where `reward` has 4 rows"),
        (change("reward", lambda v: v[1:]), "where `reward` has 3 rows"),
        (change("reward", lambda v: v[0]), "where `reward` has 0 rows"),
        (change("reward", lambda v: v[:, None].repeat(2, 1)), r"`reward` of shape \(4, 2\)"),
        (change("reward", lambda v: v.astype("U")), "the key `reward` is missing"),
        (change("reward", lambda v: v.astype(complex)), "under `reward`"),
        (lack("reward"), "the key `reward` is missing"),
        (lack("action"), "the key `action` is missing"),
        (lack("discount", "is_terminal"), "neither `discount` nor `is_terminal`"),
        (lambda c: c.update({key: array[:1] for key, array in c.items()}), "1 rows"),
        (lambda c: c.update({key: array[:0] for key, array in c.items()}), "0 rows"),
        (lambda c: (lack("is_terminal")(c), change("discount", lambda v: v[:, None].repeat(2, 1))(c)), "`discount`"),
        (lambda c: (lack("discount")(c), change("is_terminal", lambda v: v[:, None].repeat(3, 1))(c)), "`is_terminal`"),
    ],
)
def test_an_episode_that_can_not_be_right(damage: Callable[[Columns], Any], reason: str, tmp_path: Path) -> None:
    columns: Columns = tiny_episode(image_size=4).columns()
    damage(columns)
    path = tmp_path / "episode.npz"
    np.savez_compressed(path, **columns)
    refused(lambda: read_episode(path), path, reason)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("files", {"../episode-000000.npz": "0"}, "`files` names a file outside the folder"),
        ("files", {"/etc/passwd.npz": "0"}, "`files` names a file outside the folder"),
        ("files", {"below/episode.npz": "0"}, "`files` names a file outside the folder"),
        ("files", {"..": "0"}, "`files` names"),
        ("files", {"": "0"}, "`files` names"),
        ("files", {"manifest.json": "0"}, "`files` names"),
        ("files", {"a\0.npz": "0"}, "`files` names"),
        ("files", {"\ud800.npz": "0"}, "`files` names"),
        ("files", {}, "counts 1 episodes but names 0 files"),
        ("files", {"episode-000000.npz": None}, "`files` is .* of the wrong type"),
        ("horizon", True, "`horizon` is True, of the wrong type"),
        ("horizon", 1e3, "`horizon` is 1000.0, of the wrong type"),
        ("task", ["x"] * 10**5, r"`task` is \['x'.*of the wrong type"),
        ("return_mean", float("nan"), "`return_mean` is nan"),
        ("expert_return", float("inf"), "`expert_return` is inf"),
        ("expert_return", 10**400, "`expert_return` is 1000"),
        ("format_version", "1\n\x1b[2J", "is of format version"),
        ("a\nb", 1, "unknown key"),
    ],
)
def test_a_manifest_that_lies(key: str, value: object, reason: str, tmp_path: Path) -> None:
    path = own_folder(tmp_path / "own") / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    refused(lambda: Dataset(path.parent), path, reason)
    with pytest.raises(UserError, match=reason):
        open_source(str(path.parent), HOPPER, tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"nan", b"\xff\xfe", b"{", b'"' + b"\\u0000" * 1000, b"9" * 5000, b"[" * 100_000, b'{"a":' * 100_000],
)
def test_a_manifest_that_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_bytes(content)
    refused(lambda: read_manifest(tmp_path), tmp_path / MANIFEST_NAME, "restore it or make the dataset again")


def test_damaged_episodes_are_left_out_only_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = dreamer_folder(tmp_path / "episodes", 3)
    first, second, third = sorted(folder.iterdir())
    second.write_bytes(second.read_bytes()[:-30])
    with pytest.raises(UserError, match=f"{second.name} is no npz file, or was cut short"):
        list(open_source(str(folder), HOPPER, tmp_path))
    assert capsys.readouterr().err == ""
    read = list(open_source(str(folder), HOPPER, tmp_path, skip_corrupt=True))
    assert [name for name, _ in read] == [str(first), str(third)]
    np.testing.assert_array_equal(read[1][1].action, tiny_episode(2, image_size=4).action)
    error = capsys.readouterr().err
    assert error.startswith(f"{folder}: left out 1 of 3 files; first {second} is no npz file, or was cut short")
    assert error.count("\n") == 1
    for file in (first, third):
        file.write_bytes(b"")
    with pytest.raises(UserError, match=f"{folder}: none of its 3 files can be read; the first: {first}"):
        list(open_source(str(folder), HOPPER, tmp_path, skip_corrupt=True))


def test_altered_episodes_of_the_own_layout_are_left_out_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = own_folder(tmp_path / "own", 3)
    (folder / "episode-000001.npz").write_bytes((folder / "episode-000000.npz").read_bytes())
    (folder / "episode-000002.npz").unlink()
    with pytest.raises(UserError, match=r"episode-000001\.npz was truncated or altered"):
        list(open_source(str(folder), None, tmp_path))
    assert len(list(open_source(str(folder), None, tmp_path, skip_corrupt=True))) == 1
    assert "left out 2 of 3 files" in capsys.readouterr().err
