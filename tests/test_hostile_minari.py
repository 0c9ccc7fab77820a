"""Minari's folders made by hand to deceive: each is refused for what it is, and nothing of it is imported."""

import itertools
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from damaged_files import minari_dataset, minari_pictures
from hostile_files import heap_of, refused

from data.formats.minari import minari_episodes


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
        (
            replace_by("episode_0/rewards", without_chunks),
            "`episode_0/rewards` was written in part, 1 of its 1048576 chunks",
        ),
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
