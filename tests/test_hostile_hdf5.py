"""HDF5 files made by hand to deceive: each is refused for what it is, at once and in little memory."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from damaged_files import HOPPER, hopper_columns, shard_columns, write_hdf5
from hostile_files import BOMB, Columns, change, deflated, heap_of, lack, put, refused

from data.formats.d4rl import read_d4rl
from data.formats.hdf5_file import read_metadata
from data.formats.vd4rl import read_shard


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
