"""Readers are given files cut anywhere and with bits turned over: they read them, or refuse them in one line.

Some 1,800 in CI, 100,000 by `make soak`, which takes two hours, in ten parts for each reader. A case is made again by
its reader's name and its number, `damaged("d4rl", contents, 123)`, and lies where its test says.

libhdf5 2.0 dies of some, such as a group whose names are said to lie elsewhere (d4rl, case 18096): a process of its own
looks at each file first, and dies of it alone (data/safe/hdf5_process.py).
"""

import gc
import hashlib
import io
import json
import os
import pickle
import signal
import time
import traceback
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

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
    write_hdf5,
)
from hostile_cases import ENDLESS, TIMES, Tally, cases_of

from combo_common.errors import UserError
from data.episode import Episode, validate
from data.formats.d4rl import read_d4rl
from data.formats.dreamer import read_episode
from data.formats.hdf5_file import read_metadata
from data.formats.manifest import MANIFEST_NAME, read_manifest
from data.formats.minari import minari_episodes, recorded_in
from data.formats.native import Dataset
from data.formats.vd4rl import read_shard
from data.safe.npz import open_npz

Read = Callable[[bytes], Iterable[Episode]]
"""Reads the file of a case, whose bytes it is given too; what it gives is valid."""
Fuzz = Callable[..., None]
"""Gives a reader the cases of a test's part, as `fuzzed` does, and notes its figures."""


@pytest.fixture(params=TIMES)
def fuzz(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Fuzz:
    def noted(reader: str, cases: tuple[int, int], *given: Any, **named: Any) -> None:
        for figure in fuzzed(reader, cases_of(request.param, *cases), *given, **named).items():
            record_property(*figure)

    return noted


@pytest.fixture(autouse=True)
def nothing_is_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)


def turned(content: bytes, rng: np.random.Generator) -> bytes:
    """One bit of it turned over, or up to 8."""
    altered = np.frombuffer(content, np.uint8).copy()
    for bit in rng.integers(8 * len(content), size=rng.choice([1, rng.integers(1, 9)])):
        altered[bit // 8] ^= 1 << (bit % 8)
    return altered.tobytes()


def turned_within(content: bytes, rng: np.random.Generator) -> bytes:
    """An npz file with bits turned over in the header or the numbers of one array, whose checksums agree."""
    altered = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(altered, "w") as written:
        names = archive.namelist()
        chosen = names[rng.integers(len(names))]
        for name in names:
            member = archive.read(name)
            if name == chosen:
                header, numbers = member[:128], member[128:]
                member = turned(header, rng) + numbers if rng.random() < 0.5 else header + turned(numbers, rng)
            written.writestr(name, member)
    return altered.getvalue()


def damaged(reader: str, contents: list[bytes], case: int) -> bytes:
    """One of the contents, cut or with bits turned over: the same for the same reader and case."""
    rng = np.random.default_rng([*reader.encode(), case])
    content = contents[case % len(contents)]
    if rng.random() < 0.2:
        return content[: rng.integers(len(content))]
    if content.startswith(b"PK") and rng.random() < 0.5:
        return turned_within(content, rng)
    return turned(content, rng)


def write(path: Path, content: bytes) -> None:
    """Write a file anew: cutting the old one to nothing first would wait for the disk."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def fuzzed(
    reader: str, cases: range, path: Path, contents: list[bytes], read: Read, named: Path | None = None
) -> dict[str, float]:
    """Give a reader each case at `path`; it reads it, or raises a UserError that names it (or `named`), at once.

    That is done by a process of its own, whose memory is its own, too. Returns figures of it.
    """
    note = path.parent.with_name("case.txt")
    child = os.fork()
    if not child:
        code = 1
        gc.freeze()  # collecting all that the suite has imported would count as the time of a case
        try:
            write(note, json.dumps(_try_all(reader, cases, path, contents, read, str(named or path), note)).encode())
            code = 0
        except BaseException:
            case = note.read_text() if note.exists() else reader  # first, and so in the first words of a report
            write(note, f"{case}\n{traceback.format_exc()}".encode(errors="replace"))
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    died = f", of which the process died ({signal.Signals(-code).name})" if code < 0 else ""
    assert code == 0, f"{note.read_text()}{died}"
    figures: dict[str, float] = json.loads(note.read_text())
    return figures


def _try_all(
    reader: str, cases: range, path: Path, contents: list[bytes], read: Read, named: str, note: Path
) -> dict[str, float]:
    for content in contents:
        write(path, content)
        list(read(content))
    tally = Tally()
    for case in cases:
        content = damaged(reader, contents, case)
        write(path, content)
        what = f"{reader}, case {case}, which lies at {path}"
        write(note, what.encode())
        signal.setitimer(signal.ITIMER_PROF, ENDLESS)
        began, refused = time.process_time(), False
        try:
            for episode in read(content):
                validate(episode, "what was read")
        except UserError as error:
            refused = True
            assert named in str(error) and str(error).isprintable(), f"{what}: {error!r}"
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
        tally.add(what, time.process_time() - began, refused)
    return tally.figures(first=cases.start == 0)


def test_an_npz_file(tmp_path: Path, fuzz: Fuzz) -> None:
    folder = own_folder(tmp_path / "own")
    (path,) = folder.glob("*.npz")

    def read(content: bytes) -> Iterable[Episode]:
        with open_npz(content, str(path)) as npz:
            for key in npz.headers:
                npz.read(key)
        return ()

    fuzz("npz", (300, 20_000), path, [path.read_bytes()], read)


def test_an_episode_whose_checksum_agrees(tmp_path: Path, fuzz: Fuzz) -> None:
    dataset = Dataset(own_folder(tmp_path / "own"))
    (name,) = dataset.manifest.files

    def read(content: bytes) -> Iterable[Episode]:
        dataset.manifest.files[name] = hashlib.sha256(content).hexdigest()
        return [dataset.read(name)]

    fuzz("own", (300, 20_000), dataset.folder / name, [(dataset.folder / name).read_bytes()], read)


def test_an_episode_of_dreamers_layout_or_lompos(tmp_path: Path, fuzz: Fuzz) -> None:
    contents = [
        file.read_bytes()
        for flags in (True, False)
        for file in dreamer_folder(tmp_path / f"flags-{flags}", flags=flags).iterdir()
    ]
    path = tmp_path / "episode.npz"
    fuzz("dreamer", (300, 15_000), path, contents, lambda _: [read_episode(path)])


def test_a_shard(tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "shard.hdf5"
    contents = [write_hdf5(path, shard_columns(), packed=packed).read_bytes() for packed in (False, True)]
    fuzz("vd4rl", (150, 10_000), path, contents, lambda _: (episode for _, episode in read_shard(path)))


def test_a_file_of_d4rls_layout(tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "hopper.hdf5"
    contents = [write_hdf5(path, hopper_columns(), packed=packed).read_bytes() for packed in (False, True)]
    unmarked = hopper_columns() | {"timeouts": np.zeros(12, bool)}  # as version 0 has them
    contents.append(
        write_hdf5(path, {key: unmarked[key] for key in unmarked if key != "next_observations"}).read_bytes()
    )
    moved_up = hopper_columns()
    moved_up["next_observations"] = np.roll(moved_up["observations"], -1, axis=0)
    contents.append(write_hdf5(path, moved_up).read_bytes())
    fuzz("d4rl", (200, 12_000), path, contents, lambda _: read_d4rl(path, HOPPER).episodes())


def test_what_such_a_file_says_of_itself(tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "hopper.hdf5"
    content = write_hdf5(path, {}, {"task": "hopper", "split": "medium"}).read_bytes()

    def read(_: bytes) -> Iterable[Episode]:
        assert all(isinstance(text, str) for text in read_metadata(path).values())
        return ()

    fuzz("metadata", (150, 8_000), path, [content], read)


def test_a_manifest(tmp_path: Path, fuzz: Fuzz) -> None:
    folder = own_folder(tmp_path / "own")

    def read(_: bytes) -> Iterable[Episode]:
        read_manifest(folder)
        return ()

    content = (folder / MANIFEST_NAME).read_bytes()
    unmeasured = json.dumps({**json.loads(content), "random_return": None, "expert_return": None}).encode()
    fuzz("manifest", (300, 12_000), folder / MANIFEST_NAME, [content, unmeasured], read)


@pytest.mark.parametrize(
    ("holds", "file"), [("vectors", "metadata.json"), ("vectors", "main_data.hdf5"), ("pictures", "main_data.hdf5")]
)
def test_a_folder_of_minaris(
    holds: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fuzz: Fuzz
) -> None:
    pytest.importorskip("minari")
    folder = (minari_dataset if holds == "vectors" else minari_pictures)(tmp_path, monkeypatch)
    path = folder / file

    def read(_: bytes) -> Iterable[Episode]:
        assert recorded_in(folder).isprintable()
        return (episode for _, episode in minari_episodes(folder))

    cases = (40 if "hdf5" in file else 150, 1_000)
    fuzz(f"minari's {holds}, {file}", cases, path, [path.read_bytes()], read, named=folder)
