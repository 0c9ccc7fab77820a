"""Arrays made by hand to deceive: each is refused for what it is, at once, in little memory, and nothing of it runs."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_files import own_folder, tiny_episode
from hostile_files import Columns, agreeing, npy, refused

from data.formats.dreamer import read_episode
from data.safe.npz import read_npz


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def episode_with(path: Path, **members: bytes) -> Path:
    """A file of Dreamer's layout, some of whose arrays are these bytes."""
    content = {}
    for key, array in tiny_episode(image_size=4).columns().items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        content[f"{key}.npy"] = buffer.getvalue()
    return zipped(path, content | {f"{key}.npy": member for key, member in members.items()})


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (npy("'<f4'", "(1000,)", bytes(16)), r"says `reward` has shape \(1000,\), 4000 bytes, but holds 16"),
        (npy("'<f4'", "(3,)", bytes(16)), r"says `reward` has shape \(3,\), 12 bytes, but holds 16"),
        (npy("'<f4'", f"({10**12},)", bytes(16)), "4000000000000 bytes, but holds 16"),
        (npy("'<f4'", f"({10**6},) * 10**6", bytes(16)), "no array of numbers"),
        (npy("'<f4'", "(-4,)", bytes(16)), "no array of numbers"),
        (npy("'<f4'", "(4.0,)", bytes(16)), "no array of numbers"),
        (npy("'<f4'", "4", bytes(16)), "no array of numbers"),
        (npy("'<f4'", "(4,)", bytes(16), "'more': 1, "), "no array of numbers"),
        (npy("'<f99'", "(4,)", bytes(16)), "unknown type or shape under `reward`"),
        (npy("'<f999999999999999999999'", "(4,)", bytes(16)), "unknown type or shape under `reward`"),
        (npy("[('a', '<f4')]", "(4,)", bytes(16)), "no array of numbers"),
        (npy("__import__('os').getcwd()", "(4,)", bytes(16)), "no array of numbers"),
        (npy("'<f4'", "(" * 1000 + ")" * 1000), "no array of numbers"),
        (npy("'<f4'", "(" * 100_000 + ")" * 100_000), "has a header of 200.* bytes under `reward`"),
        (npy("'<f4'", "(4,)", bytes(16)).replace(b"NUMPY\x02", b"NUMPY\x09"), "holds no array under `reward`"),
        (npy("'<f4'", "(4,)", bytes(16))[:20], "no array of numbers"),
        (b"", "holds no array under `reward`"),
        (b"PK\x03\x04", "holds no array under `reward`"),
    ],
)
def test_a_header_that_lies(member: bytes, reason: str, tmp_path: Path) -> None:
    path = episode_with(tmp_path / "episode.npz", reward=member)
    refused(lambda: read_episode(path), path, reason)
    refused(lambda: read_npz(path.read_bytes(), str(path), ["image"]), path, reason)  # not even asked for


def test_an_array_of_nothing_by_something_is_not_there(tmp_path: Path) -> None:
    for shape in (f"(4, 0, {10**20}, 3)", f"(4, 0, {', 1' * 70}, 3)".replace(", ,", ",")):
        path = episode_with(tmp_path / "episode.npz", image=npy("'|u1'", shape))
        refused(lambda path=path: read_episode(path), path, "episode.npz")


@pytest.mark.parametrize("packed", [True, False])
def test_nothing_is_unpickled(packed: bool, tmp_path: Path) -> None:
    trap, path = tmp_path / "sprung", tmp_path / "episode.npz"
    columns: Columns = {**tiny_episode().columns(), "reward": np.array([Trap(trap)] * 4, object)}
    (np.savez_compressed if packed else np.savez)(path, **columns)
    refused(lambda: read_episode(path), path, "holds objects under `reward`")
    dataset = agreeing(own_folder(tmp_path / "own"), path.read_bytes())
    refused(lambda: list(dataset), dataset.folder / "episode-000000.npz", "holds objects under `reward`")
    pickled = pickle.dumps(np.array([Trap(trap)], object))
    path = episode_with(tmp_path / "raw.npz", reward=pickled)
    refused(lambda: read_episode(path), path, "holds no array under `reward`")
    path.write_bytes(pickled)
    refused(lambda: read_episode(path), path, "is no npz file")
    assert not trap.exists()
    pickle.loads(pickled)  # noqa: S301  # it is a trap
    assert trap.exists()
