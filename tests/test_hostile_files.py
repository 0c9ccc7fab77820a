"""Files made by hand to deceive: each is refused for what it is, at once, in little memory, and nothing of it runs."""

import hashlib
import io
import itertools
import json
import os
import pickle
import struct
import sys
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from damaged_files import (
    HOPPER,
    dreamer_folder,
    hopper_columns,
    minari_dataset,
    minari_pictures,
    own_folder,
    shard_columns,
    tiny_episode,
    write_hdf5,
)

from combo_common.errors import UserError
from data.formats.d4rl import read_d4rl
from data.formats.dreamer import read_episode
from data.formats.hdf5_file import read_metadata
from data.formats.manifest import MANIFEST_NAME, read_manifest
from data.formats.minari import minari_episodes
from data.formats.native import Dataset
from data.formats.vd4rl import read_shard
from data.safe.npz import read_npz
from data.source import open_source

SECONDS, MEMORY = 1.0, 100e6
"""Of this process, and bytes, that a refusal may take."""
BOMB = 1 << 28
"""Bytes that a bomb unpacks to."""
Columns = dict[str, Any]


def refused(read: Callable[[], Any], path: Path, reason: str) -> None:
    """Check that a reader refuses a file for a reason, in one line that names it, quickly and with little memory."""
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(UserError, match=reason) as error:
            read()
        taken, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in str(error.value) and str(error.value).isprintable()
    assert taken < SECONDS, f"{taken:.1f} s"
    assert peak < MEMORY, f"{peak / 1e6:.0f} MB"


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


# Arrays of an episode


def change(key: str, how: Callable[[Any], Any]) -> Callable[[Columns], None]:
    def apply(content: Columns) -> None:
        content[key] = how(content[key])

    return apply


def put(key: str, index: Any, value: float) -> Callable[[Columns], None]:
    def apply(content: Columns) -> None:
        content[key][index] = value

    return apply


def lack(*keys: str) -> Callable[[Columns], None]:
    def apply(content: Columns) -> None:
        for key in keys:
            del content[key]

    return apply


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


# Headers of arrays


def npy(descr: str, shape: str, numbers: bytes = b"", more: str = "") -> bytes:
    """An array with any header."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, {more}}}\n".encode()
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + numbers


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


def agreeing(folder: Path, content: bytes) -> Dataset:
    """A dataset of one file, this one, whose checksum is in the manifest."""
    dataset = Dataset(folder)
    (name,) = dataset.manifest.files
    (folder / name).write_bytes(content)
    dataset.manifest.files[name] = hashlib.sha256(content).hexdigest()
    return dataset


# Archives


@dataclass(frozen=True)
class Entry:
    """A member of an archive, with whatever its directory is to say of it."""

    name: str
    packed: bytes
    size: int
    checksum: int = 0
    method: int = zipfile.ZIP_DEFLATED
    flags: int = 0
    at: int | None = None
    """Where it lies; None for behind the one before."""
    claimed: int | None = None
    """Bytes that it says to be packed in; None for the truth."""


def archive(path: Path, entries: list[Entry]) -> Path:
    """A zip file made of these."""
    body, directory = b"", b""
    for entry in entries:
        name = entry.name.encode()
        claimed = len(entry.packed) if entry.claimed is None else entry.claimed
        common = struct.pack(
            "<HHHHHIIIHH", 20, entry.flags, entry.method, 0, 33, entry.checksum, claimed, entry.size, len(name), 0
        )
        at = len(body) if entry.at is None else entry.at
        if entry.at is None:
            body += b"PK\x03\x04" + common + name + entry.packed
        directory += b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, at) + name
    end = struct.pack("<HHHHIIH", 0, 0, len(entries), len(entries), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\x05\x06" + end)
    return path


def deflated(*contents: bytes) -> bytes:
    """Packed one after another, each by itself."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH) for content in contents) + packer.flush()


@pytest.fixture(scope="module")
def bomb() -> Entry:
    """An array of zeros, a thousandth of its size."""
    header = npy("'|u1'", f"({BOMB}, 1, 1, 1)")
    zeros = bytes(1 << 20)
    start = deflated(header)[:-2]  # without its end
    each = deflated(zeros)[:-2]
    checksum = zlib.crc32(header)
    for _ in range(BOMB >> 20):
        checksum = zlib.crc32(zeros, checksum)
    return Entry("image.npy", start + each * (BOMB >> 20) + b"\x03\x00", len(header) + BOMB, checksum)


def test_a_bomb_of_one_array(bomb: Entry, tmp_path: Path) -> None:
    path = archive(tmp_path / "bomb.npz", [bomb])
    assert path.stat().st_size < 300_000
    with zipfile.ZipFile(path) as sound:  # it is a file like any other
        assert sound.getinfo("image.npy").file_size > BOMB
        with sound.open("image.npy") as member:
            assert member.read(8) == b"\x93NUMPY\x02\x00"
    reason = f"would unpack `image` from {len(bomb.packed)} bytes to {bomb.size}"
    refused(lambda: read_episode(path), path, reason)
    refused(lambda: read_npz(path.read_bytes(), str(path), ["image"]), path, reason)
    dataset = agreeing(own_folder(tmp_path / "own"), path.read_bytes())
    refused(lambda: list(dataset), dataset.folder / "episode-000000.npz", reason)


def test_a_bomb_that_lies(bomb: Entry, tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    head = npy("'|u1'", f"({BOMB}, 1, 1, 1)").ljust(1000, b"\0")
    for entry, reason in (
        # says that it is packed in as many bytes as would be well, and that it unpacks to little
        (Entry("image.npy", bomb.packed, bomb.size, bomb.checksum, claimed=bomb.size // 100), "would unpack from"),
        (Entry("image.npy", bomb.packed, 1000, bomb.checksum), "Bad CRC-32"),
        (Entry("image.npy", bomb.packed, 1000, zlib.crc32(head)), "says `image` has shape"),
        (Entry("image.npy", bomb.packed, bomb.size, claimed=100), "would unpack `image` from 100 bytes"),
        (Entry("image.npy", bomb.packed, bomb.size, method=zipfile.ZIP_STORED), "would unpack"),
    ):
        archive(path, [entry])
        refused(lambda: read_npz(path, str(path), ["image"]), path, reason)
    small = npy("'|u1'", "(100,)")  # what unpacks to more than is said is read no further
    packed = deflated(small, *[bytes(1 << 20)] * 64)
    archive(path, [Entry("image.npy", packed, len(small) + 100, zlib.crc32(small + bytes(1 << 26)))])
    refused(lambda: read_npz(path, str(path), ["image"]), path, "is no npz file, or a damaged one")


def test_many_arrays_in_one_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    member = npy("'|u1'", f"({1 << 22},)") + rng.bytes(40_000) + bytes((1 << 22) - 40_000)
    entry = Entry("a.npy", deflated(member), len(member), zlib.crc32(member))
    more = [Entry(f"b{n}.npy", entry.packed, entry.size, entry.checksum, at=0) for n in range(100)]
    path = archive(tmp_path / "overlapping.npz", [entry])
    assert read_npz(path, str(path), ["a"])["a"].sum() > 0
    archive(path, [entry, *more])
    refused(lambda: read_npz(path, str(path), ["a"]), path, f"would unpack from {path.stat().st_size} bytes to 4236")
    archive(path, [entry, *more[:1]])  # not too many: still, they are two of one
    refused(lambda: read_npz(path, str(path), ["b0"]), path, "is no npz file, or a damaged one")


ONE = npy("'<f4'", "(4,)", bytes(16))


def entry(name: str, **what: Any) -> Entry:
    """A sound member, but for what is given."""
    sound: Columns = {"packed": deflated(ONE), "size": len(ONE), "checksum": zlib.crc32(ONE)}
    return Entry(name, **sound | what)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([entry("reward.npy"), entry("readme.txt")], "holds .readme.txt., which is no array"),
        ([entry("reward.npy"), entry("/etc/passwd.npy")], "holds ./etc/passwd.npy., which is no array"),
        ([entry("reward.npy"), entry("../reward.npy")], "holds .../reward.npy., which is no array"),
        ([entry("reward.npy"), entry("..\\reward.npy")], "which is no array"),
        ([entry("reward.npy"), entry("reward.npy")], "or is there twice"),
        ([entry("reward.npy"), entry("\x1b[2Jreward\n.npy")], "which is no array"),
        ([entry("reward.npy"), entry("a" * 60_000 + ".npy")], "which is no array"),
        ([entry("reward.npy", flags=1)], "packs `reward` in a way that numpy does not write"),
        ([entry("reward.npy", flags=1 << 6)], "cannot be read as an npz file"),
        ([entry("reward.npy", method=zipfile.ZIP_BZIP2)], "packs `reward` in a way that numpy does not write"),
        ([entry("reward.npy", method=zipfile.ZIP_LZMA)], "packs `reward` in a way that numpy does not write"),
        ([entry("reward.npy", method=99)], "packs `reward` in a way that numpy does not write"),
        ([entry("reward.npy", checksum=1)], "Bad CRC-32"),
        ([entry("reward.npy", packed=b"\xff" * 40)], "is no npz file, or a damaged one"),
        ([entry("reward.npy", packed=deflated(ONE)[:-8])], "npz"),
        ([entry("reward.npy", at=10**6)], "npz"),
        ([entry(f"{number:040}.npy") for number in range(1000)], "lists arrays over 90000 bytes"),
        ([entry("reward.npy"), entry("x.npy", size=1 << 31, claimed=1 << 30)], "would unpack from"),
        ([], "the key `action` is missing"),
    ],
)
def test_an_archive_that_numpy_would_not_write(entries: list[Entry], reason: str, tmp_path: Path) -> None:
    path = archive(tmp_path / "episode.npz", entries)
    read = read_episode if not entries else lambda path: read_npz(path, str(path), ["reward"])
    refused(lambda: read(path), path, reason)


def test_files_that_are_none(tmp_path: Path) -> None:
    (whole,) = dreamer_folder(tmp_path / "dreamer").iterdir()
    content, path = whole.read_bytes(), tmp_path / "episode.npz"
    for damaged in (b"", b"PK", b"PK\x05\x06" + bytes(18), content[:-1], content[: len(content) // 2], content + b"\0"):
        path.write_bytes(damaged)
        refused(lambda: read_episode(path), path, "npz|missing")
    path.unlink()
    refused(lambda: read_episode(path), path, "is not there")
    path.mkdir()
    refused(lambda: read_episode(path), path, "cannot be read as an npz file")


# Manifests


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


# HDF5


def hopper_file(path: Path, lacking: str = "") -> Path:
    return write_hdf5(path, {key: values for key, values in hopper_columns().items() if key != lacking})


@pytest.mark.parametrize("elsewhere", ["there", "not there"])
@pytest.mark.parametrize("key", ["observations", "infos/qpos", "infos", "metadata", "metadata/task"])
@pytest.mark.parametrize("soft", [False, True])
def test_links_are_not_followed(elsewhere: str, key: str, soft: bool, tmp_path: Path) -> None:
    other = write_hdf5(tmp_path / "there.hdf5", hopper_columns(), {"task": "hopper"})
    path = hopper_file(tmp_path / "hopper.hdf5")
    with h5py.File(path, "r+") as file:
        if key in file:
            file.move(key, "hidden")
        target = f"/{key}" if elsewhere == "there" else "/nowhere"
        there = other if elsewhere == "there" else tmp_path / "not-there.hdf5"
        file[key] = h5py.SoftLink("/hidden" if soft else target) if soft else h5py.ExternalLink(str(there), target)
    read: Callable[[], Any] = lambda: read_metadata(path) if "metadata" in key else read_d4rl(path, HOPPER)  # noqa: E731
    refused(read, path, f"`{key}` is a link out of its place, not followed")
    other.unlink()
    refused(read, path, f"`{key}` is a link out of its place, not followed")


def external(file: h5py.File, path: Path) -> None:
    path.with_name("raw").write_bytes(bytes(12 * 11 * 4))
    file.create_dataset("observations", (12, 11), np.float32, external=[(str(path.with_name("raw")), 0, 12 * 11 * 4)])


def virtual(file: h5py.File, path: Path) -> None:
    layout = h5py.VirtualLayout((12, 11), np.float32)
    layout[:] = h5py.VirtualSource(str(hopper_file(path.with_name("other.hdf5"))), "observations", (12, 11))
    file.create_virtual_dataset("observations", layout)


def packed_twice(file: h5py.File, _: Path) -> None:
    """A hundred thousandth of its size: packed, and packed again."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((1 << 20, 11))
    settings.set_deflate(9)
    settings.set_deflate(9)
    space = h5py.h5s.create_simple((1 << 22, 11))
    dataset = h5py.Dataset(h5py.h5d.create(file.id, b"observations", h5py.h5t.IEEE_F32LE, space, settings))
    packed = zlib.compress(zlib.compress(bytes(44 << 20), 9), 9)
    for start in range(0, 1 << 22, 1 << 20):
        dataset.id.write_direct_chunk((start, 0), packed)


def packed_tightly(file: h5py.File, _: Path) -> None:
    """A chunk of 44 kB that unpacks to a quarter of a gigabyte."""
    dataset = file.create_dataset("observations", (12, 11), np.float32, chunks=(1000, 11), maxshape=(None, 11),
                                  compression="gzip")  # fmt: skip
    dataset.id.write_direct_chunk((0, 0), b"\x78\x9c" + deflated(bytes(1 << 20))[:-2] * (BOMB >> 20))


def add(**settings: Any) -> Callable[[h5py.File, Path], None]:
    return lambda file, _: file.create_dataset("observations", **settings)


def reference(file: h5py.File, _: Path) -> None:
    file.create_dataset("observations", data=np.array([file.ref] * 12, h5py.ref_dtype))


def named_type(file: h5py.File, _: Path) -> None:
    file["observations"] = np.dtype(np.float32)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (add(shape=(1 << 36, 11), dtype=np.float32, chunks=(1 << 10, 11)), "says it has 3023656976384 bytes"),
        (add(shape=(1 << 36, 11), dtype=np.float32), "says it has 3023656976384 bytes, and 0 are stored"),
        (add(shape=(1 << 20, 11), dtype=np.float32, fillvalue=1.0), "says it has 46137344 bytes, and 0 are stored"),
        (add(shape=(12, 11), dtype=np.float32, chunks=(1 << 23, 11), maxshape=(None, 11)), "has chunks of"),
        (packed_twice, "says it has 184549376 bytes"),
        (packed_tightly, "a chunk of `observations` would unpack to more than its 44000 bytes"),
        (external, "is no dataset of this file; copy the data into it"),
        (virtual, "is no dataset of this file; copy the data into it"),
        (lambda file, _: file.create_group("observations"), "is no dataset of this file"),
        (named_type, "is no dataset of this file"),
        (reference, "`observations` is of type object, not numbers"),
        (add(data=["text"] * 12), "`observations` is of type object, not numbers"),
        (add(data=np.array([b"text"] * 12)), "`observations` is of type .S4, not numbers"),
        (add(shape=(12,), dtype=h5py.vlen_dtype(np.float32)), "`observations` is of type object, not numbers"),
        (add(shape=(12,), dtype=[("a\x1b\n", "f4")]), "`observations` is of type .*, not numbers"),
        (add(data=np.zeros((12, 11), complex)), "`observations` is of type complex128, not numbers"),
        (add(data=h5py.Empty(np.float32)), "`observations` is one number, not a column"),
        (add(data=np.float32(1.0)), "`observations` is one number, not a column"),
        (add(data=np.zeros((0, 11), np.float32)), "has 12 rows where `observations` has 0"),
        (add(data=np.full((12, 11), 1e300)), "`observations` holds a NaN or Inf"),
    ],
)
def test_a_dataset_that_is_not_what_it_seems(
    make: Callable[[h5py.File, Path], Any], reason: str, tmp_path: Path
) -> None:
    path = hopper_file(tmp_path / "hopper.hdf5", lacking="observations")
    with h5py.File(path, "r+") as file:
        make(file, path)
    assert path.stat().st_size < 1 << 20
    refused(lambda: read_d4rl(path, HOPPER), path, reason)


def test_a_dataset_that_lies_of_what_is_stored(tmp_path: Path) -> None:
    path = hopper_file(tmp_path / "hopper.hdf5", lacking="rewards")
    with h5py.File(path, "r+") as file:
        rewards = file.create_dataset("rewards", data=np.zeros(54321, np.int8), chunks=(54321,), compression="gzip")
        stored = rewards.id.get_storage_size()
    content = path.read_bytes()
    for told, lie in (
        (struct.pack("<QQ", 54321, 54321), struct.pack("<QQ", 12345 << 20, 12345 << 20)),  # rows
        (struct.pack("<IIQ", stored, 0, 0), struct.pack("<IIQ", 1 << 31, 0, 0)),  # bytes of the first chunk
    ):
        assert content.count(told) == 1
        content = content.replace(told, lie)
    path.write_bytes(content)
    with h5py.File(path) as file:
        assert (file["rewards"].shape, file["rewards"].id.get_storage_size()) == ((12345 << 20,), 1 << 31)
    refused(lambda: read_d4rl(path, HOPPER), path, f"says it has {12345 << 20} bytes, and {len(content)} are stored")


def test_a_dataset_beyond_the_end_of_its_file(tmp_path: Path) -> None:
    path = hopper_file(tmp_path / "hopper.hdf5", lacking="rewards")
    with h5py.File(path, "r+") as file:
        file.create_dataset("rewards", data=np.zeros(54321, np.int8))
    content = path.read_bytes()
    assert struct.pack("<Q", 54321) in content  # its rows and its bytes
    path.write_bytes(content.replace(struct.pack("<Q", 54321), struct.pack("<Q", 12345 << 20)))
    refused(lambda: read_d4rl(path, HOPPER), path, "hopper.hdf5")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (change("rewards", lambda v: v.astype(np.float64) * 1e300), "`rewards` hold a NaN or Inf"),
        (change("actions", lambda v: v[:, :0]), "`actions` has 0 numbers a row"),
        (change("next_observations", lambda v: v.astype(np.float64) * 1e300), "`next_observations` holds a NaN or Inf"),
        (put("infos/final_qvel", (0, 0), np.nan), "`infos`"),
        (put("infos/qpos", (3, 0), np.inf), "`infos`"),
        (lambda c: c.update({key: array[:1] for key, array in c.items()}), "has 1 rows"),
        (lambda c: c.update({key: array[:0] for key, array in c.items()}), "has 0 rows"),
    ],
)
def test_columns_that_can_not_be_right(damage: Callable[[Columns], Any], reason: str, tmp_path: Path) -> None:
    columns: Columns = hopper_columns()
    damage(columns)
    path = write_hdf5(tmp_path / "hopper.hdf5", columns)
    refused(lambda: read_d4rl(path, HOPPER), path, reason)


@pytest.mark.parametrize("key", ["qpos", "qvel", "final_qpos", "final_qvel"])
def test_states_of_the_simulator_that_do_not_fit_are_left_out(key: str, tmp_path: Path) -> None:
    columns: Columns = hopper_columns()
    assert read_d4rl(write_hdf5(tmp_path / "whole.hdf5", columns), HOPPER).physics is not None
    columns[f"infos/{key}"] = columns[f"infos/{key}"][1:]
    assert read_d4rl(write_hdf5(tmp_path / "hopper.hdf5", columns), HOPPER).physics is None
    columns[f"infos/{key}"] = columns[f"infos/{key}"][:, 0]
    assert read_d4rl(write_hdf5(tmp_path / "flat.hdf5", columns), HOPPER).physics is None


def test_rewards_may_be_of_any_number(tmp_path: Path) -> None:
    columns: Columns = hopper_columns()
    for kind in (bool, np.int64, np.uint8, np.float16):
        columns["rewards"] = (np.arange(12) % 2).astype(kind)
        path = write_hdf5(tmp_path / f"{np.dtype(kind)}.hdf5", columns)
        assert read_d4rl(path, HOPPER).reward.sum() == 6.0


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lack("discount"), "lacks `discount`"),
        (change("observation", lambda v: v.astype(np.float32)), "`observation` is float32"),
        (change("observation", lambda v: v.transpose(0, 2, 3, 1)), r"of shape \(7, 4, 4, 3\), not uint8"),
        (change("reward", lambda v: v[1:]), r"`reward` of shape \(6,\) where `observation` has 7 rows"),
        (change("reward", lambda v: v[:, None].repeat(2, 1)), r"`reward` of shape \(7, 2\)"),
        (change("discount", lambda v: v[:, None].repeat(0, 1)), r"`discount` of shape \(7, 0\)"),
        (change("action", lambda v: v[:, 0]), "`action` has shape"),
        (put("reward", 2, np.nan), "episode 0: `reward` holds a NaN or Inf, first in row 2"),
        (put("action", (5, 0), 2.0), "episode 1: `action` leaves"),
        (put("step_type", 3, 1), "`step_type` cuts an episode"),
        (put("step_type", 6, 1), "`step_type` cuts an episode"),
        (put("step_type", 0, 7), "`step_type` must be one of 0, 1, 2"),
        (lambda c: c.update({key: array[:0] for key, array in c.items()}), "`step_type` cuts an episode"),
        (lambda c: c.update({key: array[:1] for key, array in c.items()}), "`step_type` cuts an episode"),
    ],
)
def test_a_shard_that_can_not_be_right(damage: Callable[[Columns], Any], reason: str, tmp_path: Path) -> None:
    columns: Columns = shard_columns()
    damage(columns)
    path = write_hdf5(tmp_path / "shard.hdf5", columns)
    refused(lambda: list(read_shard(path)), path, reason)


def heap_of(content: bytes) -> int:
    """Where texts of variable length lie."""
    at = content.index(b"GCOL\x01")
    assert content.count(b"GCOL\x01") == 1
    return at


@pytest.mark.parametrize(
    ("place", "value", "kind"),
    [
        (8, 0, "<Q"),  # all of it
        (8, 1 << 40, "<Q"),
        (24, 2, "<Q"),  # its first text, which is longer
        (24, 1 << 40, "<Q"),
        (24, (1 << 64) - 16, "<Q"),  # libhdf5 2.0 would come back to the same place for ever
        (24, (1 << 64) - 8, "<Q"),
    ],
)
def test_texts_that_lead_nowhere(place: int, value: int, kind: str, tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "hopper.hdf5", {}, {"task": "hopper", "split": "medium"})
    assert read_metadata(path) == {"task": "hopper", "split": "medium"}
    content = bytearray(path.read_bytes())
    struct.pack_into(kind, content, heap_of(bytes(content)) + place, value)
    path.write_bytes(content)
    refused(lambda: read_metadata(path), path, "damaged")


def test_texts_of_a_type_that_there_is_not(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "hopper.hdf5", {}, {"task": "hopper"})
    text, neither = b"\x19\x01\x01\x00\x10\x00\x00\x00", b"\x19\x05\x01\x00\x10\x00\x00\x00"
    assert path.read_bytes().count(text) == 1
    path.write_bytes(path.read_bytes().replace(text, neither))
    assert read_metadata(path) == {}  # of which libhdf5 2.0 dies


def test_texts_with_room_of_no_size(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "hopper.hdf5", {}, {"task": "hopper"})
    content = bytearray(path.read_bytes())
    free = heap_of(bytes(content)) + 16 + 16 + 8
    assert content[free : free + 8] == bytes(8) and any(content[free + 8 : free + 16])
    content[free : free + 16] = bytes(16)
    path.write_bytes(content)
    refused(lambda: read_metadata(path), path, "damaged")


# Minari's folders


@pytest.fixture
def minaris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that minari wrote."""
    pytest.importorskip("minari")
    folder = minari_dataset(tmp_path, monkeypatch)
    assert len(list(minari_episodes(folder))) == 2
    return folder


def doubled(file: h5py.File) -> None:
    """Thirty groups, each of which holds the next twice: a thousand million, for who goes into each."""
    groups = [file.create_group(f"episode_0/infos/{number}") for number in range(30)]
    for outer, inner in itertools.pairwise(groups):
        outer["a"] = outer["b"] = inner


def replace_by(key: str, make: Callable[[h5py.File], Any]) -> Callable[[h5py.File], None]:
    def apply(file: h5py.File) -> None:
        if key in file:
            del file[key]
        made = make(file)
        if made is not None:
            file[key] = made

    return apply


def terabyte(file: h5py.File) -> None:
    file.create_dataset("episode_0/observations", (1 << 36, 11), np.float32)


def same_text_often(file: h5py.File) -> None:
    """A text of a megabyte, and ten thousand references to it."""
    texts = file.create_dataset("episode_0/infos/text", (10_000,), h5py.string_dtype())
    texts[0] = "a" * (1 << 20)
    file.flush()
    path = Path(file.filename)
    content, at = path.read_bytes(), texts.id.get_offset()
    file.close()
    path.write_bytes(content[:at] + content[at : at + 16] * 10_000 + content[at + 160_000 :])


def text_of_another_length(file: h5py.File) -> None:
    """Four gigabytes of a text of a byte."""
    texts = file.create_dataset("episode_0/infos/text", data=["a"], dtype=h5py.string_dtype())
    file.flush()
    path, at = Path(file.filename), texts.id.get_offset()
    file.close()
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, at, (1 << 32) - 1)
    path.write_bytes(content)


def packed_texts(file: h5py.File) -> None:
    file.create_dataset("episode_0/infos/text", data=["a"], dtype=h5py.string_dtype(), compression="gzip")


def without_chunks(file: h5py.File) -> None:
    file.create_dataset("episode_0/rewards", (1 << 20,), bool, chunks=(1,), maxshape=(None,))[0] = True


def text_that_leads_nowhere(file: h5py.File) -> None:
    file.create_dataset("episode_0/infos/text", data=["a", "b"], dtype=h5py.string_dtype(), chunks=True)
    path = Path(file.filename)
    file.close()
    content = bytearray(path.read_bytes())
    struct.pack_into("<Q", content, heap_of(bytes(content)) + 24, (1 << 64) - 16)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (replace_by("episode_0/rewards", lambda _: h5py.ExternalLink("/not-there", "x")), "`episode_0/rewards` is a"),
        (replace_by("episode_0/rewards", lambda _: h5py.SoftLink("/episode_1/rewards")), "`episode_0/rewards` is a"),
        (replace_by("episode_0", lambda _: h5py.ExternalLink("/not-there", "episode_0")), "`episode_0` is a link"),
        (replace_by("episode_0/\x1b\n", lambda _: h5py.SoftLink("/")), "main_data"),
        (replace_by("episode_0/observations", terabyte), "says it has 3023656976384 bytes"),
        (replace_by("episode_0/infos", same_text_often), "`episode_0/infos/text` would unpack to 10485760000 bytes"),
        (replace_by("episode_0/infos", text_of_another_length), "`episode_0/infos/text` refers to what is not there"),
        (replace_by("episode_0/infos/text", packed_texts), "`episode_0/infos/text` packs values of variable length"),
        (replace_by("episode_0/infos", lambda f: np.array([f.ref], h5py.ref_dtype)), "`episode_0/infos` is of a type"),
        (replace_by("episode_0/rewards", without_chunks), "`episode_0/rewards` lacks most of its 1048576 chunks"),
        (replace_by("episode_0/infos", text_that_leads_nowhere), "damaged"),
        (replace_by("episode_0/itself", lambda f: f["episode_0"]), "`episode_0/itself` is in the file twice"),
        (replace_by("episode_0/infos", lambda f: f["episode_0"]), "is in the file twice"),
        (replace_by("episode_0/infos", lambda f: f["/"]), "`episode_0/infos` is in the file twice"),
        (replace_by("episode_0/infos", doubled), "is in the file twice"),
        (replace_by("episode_0", lambda _: None), "metadata.json counts 2 episodes"),
        (replace_by("episode_0", lambda f: f.move("episode_1", "episode_2")), "metadata.json counts 2 episodes"),
        (replace_by("episode_0/actions", lambda f: f.create_group("episode_0/actions") and None), "Minari cannot"),
        (replace_by("episode_0/actions", lambda _: np.array([[b"a"]] * 3)), "episode 0"),
        (replace_by("episode_0/actions", lambda _: np.zeros((3, 3), complex)), "episode 0"),
        (replace_by("episode_0/actions", lambda _: np.zeros((2, 3), np.float32)), "an action in each of 3 rows"),
        (replace_by("episode_0/observations", lambda _: np.array([[b"a"]] * 4)), "episode 0"),
        (replace_by("episode_0/observations", lambda _: np.full((4, 11), 1e300)), "episode 0: `state` holds a NaN"),
        (replace_by("episode_0/rewards", lambda _: np.zeros((3, 2))), "episode 0"),
        (replace_by("episode_0/rewards", lambda _: np.array([b"a"] * 3)), "episode 0"),
        (replace_by("episode_0/rewards", lambda _: np.array([0.0, np.nan, 0.0])), "episode 0: `reward` holds a NaN"),
        (replace_by("episode_0/rewards", lambda _: 1.0), "main_data|Minari cannot read"),
        (replace_by("episode_0/terminations", lambda _: np.zeros((3, 2), bool)), "episode 0"),
        (replace_by("episode_0/terminations", lambda _: np.array([b"a"] * 3)), "episode 0"),
        (replace_by("episode_0/terminations", lambda _: np.zeros(0, bool)), "episode 0"),
    ],
)
def test_a_file_of_minaris_that_can_not_be_right(
    damage: Callable[[h5py.File], None], reason: str, minaris: Path
) -> None:
    with h5py.File(minaris / "main_data.hdf5", "r+") as file:
        damage(file)
    refused(lambda: list(minari_episodes(minaris)), minaris, reason)


def size_of(jpeg: bytes, width: int, height: int) -> bytes:
    """It says that it has these pixels."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda jpeg: size_of(jpeg, 9000, 9000), r"holds pictures of \(9000, 9000\)"),
        (lambda jpeg: size_of(jpeg, 65_000, 65_000), "main_data.hdf5"),
        (lambda jpeg: size_of(jpeg, 16, 64), r"holds pictures of \(16, 64\)"),
        (lambda jpeg: b"GIF89a" + jpeg, "cannot identify image"),
        (lambda jpeg: jpeg[: len(jpeg) // 2], "main_data.hdf5|Minari cannot read"),
        (lambda _: b"", "cannot identify image"),
    ],
)
def test_pictures_of_minaris_that_are_none(
    damage: Callable[[bytes], bytes], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("minari")
    folder = minari_pictures(tmp_path, monkeypatch)
    assert len(list(minari_episodes(folder))) == 1
    with h5py.File(folder / "main_data.hdf5", "r+") as file:
        pictures = file["episode_0/observations"]
        pictures[1] = np.frombuffer(damage(pictures[1].tobytes()), np.uint8)
    refused(lambda: list(minari_episodes(folder)), folder, reason)


def test_another_programs_physics_of_any_type_are_left_out(minaris: Path) -> None:
    for physics in (np.array([[b"a"]] * 4), np.zeros(4), np.zeros((3, 2))):
        with h5py.File(minaris / "main_data.hdf5", "r+") as file:
            replace_by("episode_0/infos/physics", lambda _, physics=physics: physics)(file)
        (_, episode), _ = minari_episodes(minaris)
        assert episode.physics is None


def spec(module: str) -> str:
    """An environment that a module, which makes it, would be imported for."""
    return json.dumps(
        {
            "id": f"{module}:Env-v0", "entry_point": f"{module}:Env", "reward_threshold": None,
            "nondeterministic": False, "max_episode_steps": None, "disable_env_checker": False, "kwargs": {},
            "additional_wrappers": [
                {"name": "W", "entry_point": f"{module}:W", "kwargs": {}}
            ], "vector_entry_point": None,
        }
    )  # fmt: skip


@pytest.mark.parametrize("spaces", ["none", "one", "null", "both"])
def test_no_module_is_imported(spaces: str, minaris: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sprung_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    path = minaris / "metadata.json"
    metadata = json.loads(path.read_text()) | dict.fromkeys(("env_spec", "eval_env_spec"), spec("sprung_module"))
    if spaces in ("none", "one"):
        del metadata["observation_space"]
    if spaces == "none":
        del metadata["action_space"]
    if spaces == "null":
        metadata["action_space"] = None
    path.write_text(json.dumps(metadata))
    if spaces == "both":
        assert len(list(minari_episodes(minaris))) == 2
    else:
        refused(lambda: list(minari_episodes(minaris)), path, "is damaged|tells no spaces")
    assert "sprung_module" not in sys.modules


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("total_episodes", 10**9),
        ("total_episodes", 10**15),
        ("total_episodes", -1),
        ("total_episodes", 3),
        ("total_episodes", "2"),
        ("total_episodes", None),
        ("data_format", "pickle"),
        ("data_format", ["hdf5"]),
        ("minari_version", "99.0"),
        ("observation_space", "{}"),
        ("observation_space", "[" * 100_000),
        ("observation_space", json.dumps({"type": "\x1b[2J\x7f"})),
        ("observation_space", json.dumps({"type": "Dict", "subspaces": {}})),
        ("action_space", json.dumps({"type": "Box", "dtype": "float32", "shape": [10**9], "low": 0, "high": 1})),
    ],
)
def test_what_a_dataset_of_minaris_says_of_itself(key: str, value: object, minaris: Path) -> None:
    path = minaris / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    refused(lambda: list(minari_episodes(minaris)), minaris, str(minaris))


@pytest.mark.parametrize("content", [b"", b"[]", b"1", b"\xff" * 10_000, b"[" * 100_000, b"{}"])
def test_metadata_that_are_none(content: bytes, minaris: Path) -> None:
    (minaris / "metadata.json").write_bytes(content)
    refused(lambda: list(minari_episodes(minaris)), minaris / "metadata.json", "is damaged")
    (minaris / "metadata.json").unlink()
    refused(lambda: list(minari_episodes(minaris)), minaris, "is no dataset of Minari's")


# Leaving out what is damaged


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


def test_a_chunk_that_unpacks_beyond_itself_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "hopper-medium.hdf5"
    with h5py.File(path, "w") as file:
        shapes = {"observations": (12, 11), "actions": (12, 3), "terminals": (12,), "timeouts": (12,)}
        for key, shape in shapes.items():
            file[key] = np.zeros(shape, np.float32)
        rewards = file.create_dataset("rewards", (12,), np.float32, chunks=(12,), compression="gzip")
        rewards.id.write_direct_chunk((0,), zlib.compress(bytes(300 << 20), 9))
    refused(lambda: read_d4rl(path, HOPPER), path, "a chunk of `rewards` would unpack to more than its 48 bytes")
    with h5py.File(path, "a") as file:
        del file["rewards"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((12,))
        plist.set_deflate(1)
        plist.set_deflate(1)
        h5py.h5d.create(file.id, b"rewards", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((12,)), plist)
    refused(lambda: read_d4rl(path, HOPPER), path, "`rewards` is packed by filters")
