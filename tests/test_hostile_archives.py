"""Archives made by hand to deceive: each is refused for what it is, at once and in little memory."""

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_files import dreamer_folder, own_folder
from hostile_files import BOMB, Columns, agreeing, deflated, npy, refused

from data.formats.dreamer import read_episode
from data.safe.npz import read_npz


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
