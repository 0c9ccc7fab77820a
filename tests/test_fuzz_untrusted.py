"""Hostile settings and checkpoints: they are read, or refused in a line, run nothing and take little.

A hundred or so of each in CI, 2,000 to 10,000 by `make soak`, in ten parts. A case is made again by its
number, and lies in the folder of its test.
"""

import io
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_cases import TIMES, cases_of, refused_or_read
from test_fuzz import turned
from test_untrusted_settings import BOMB, NESTED_BOMB

from combo_common.durable import Written, write_durably
from combo_common.hashing import sha256_of
from latent_combo.config.parser import instantiate
from latent_combo.config.saved import load_config, save_config
from latent_combo.runtime import checkpoint
from latent_combo.runtime.manifest import MANIFEST, write_manifest

CPU = torch.device("cpu")
Record = Callable[[dict[str, float]], None]
"""Notes figures of a test."""
ODD = (
    *(
        "0",
        "-1",
        "1.5",
        "true",
        "~",
        ".nan",
        ".inf",
        "-.inf",
        "1e400",
        "2026-13-45",
        "9" * 400,
        "9" * 5000,
        "0x" + "f" * 90,
    ),
    *(
        "''",
        '"\\0"',
        '"\\ud800"',
        "é",
        "x" * 4000,
        "'${HOME}'",
        "/etc/passwd",
        "elsewhere.yaml",
        "'../..'",
        "'~nobody/x'",
    ),
    *("[]", "[1, 2]", "[[1], [2]]", "[a, {b: c}]", "{}", "{a: {b: {c: 1}}}", "[" + "1, " * 900 + "1]"),
    *("[" * 30 + "]" * 30, "[" * 3000, "'" + "[" * 3000 + "'", "'" + "(" * 900 + "'", "'" + "{" * 900 + "'"),
    *("&a [*a, *a]", "'&a [*a, *a]'", "*a", f"'{NESTED_BOMB}'", "!!python/name:os.system", "'!!python/name:os.system'"),
    *("!!python/object/apply:os.system [true]", "{class_path: evil_module.Thing}", "evil_module:TASK", "'1:2:3:4'"),
    *("gymnasium:evil_module:Evil-v0", "{__path__: elsewhere.yaml}", "{config: elsewhere.yaml}", "'@elsewhere.yaml'"),
)
"""What may stand in a file of settings where something else is meant."""
ODD_LINES = (
    *("config: elsewhere.yaml", "<<: {seed: 1}", "? [a]\n: b", "1: 2", "seed: 1\nseed: 2", BOMB, "--- 1", "%TAG ! x:"),
    *(
        "resume: elsewhere.yaml",
        "class_path: evil_module.Thing",
        "__default_config__: elsewhere.yaml",
        "\t- x",
        "help: 1",
    ),
)


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Record:
    return lambda figures: [record_property(*figure) for figure in figures.items()] and None


def hostile_settings(content: str, case: int) -> bytes:
    """Settings of which some lines say something else; or that are cut, or have bits turned over."""
    rng = np.random.default_rng([1, case])
    if rng.random() < 0.2:
        return turned(content.encode(), rng)
    if rng.random() < 0.1:
        return content.encode()[: rng.integers(len(content))]
    lines = content.splitlines()
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(lines)))
        name, _, value = lines[at].partition(":")
        if rng.random() < 0.15:
            lines.insert(at, str(rng.choice(ODD_LINES)))
        elif value or rng.random() < 0.5:
            lines[at] = f"{name}: {ODD[rng.integers(len(ODD))]}"
    return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("part", TIMES)
@pytest.mark.parametrize("obs", ["state", "pixels"])
def test_settings(obs: str, part: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Record) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere.yaml").write_text("gamma: 0.5\n")
    (tmp_path / "evil_module.py").write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    run = tmp_path / "run"
    run.mkdir()
    save_config(instantiate([f"--obs={obs}"]), run / "config.yaml")
    content = (run / "config.yaml").read_text()

    def make(case: int) -> None:
        (run / "config.yaml").write_bytes(hostile_settings(content, case))

    record(refused_or_read(cases_of(part, 40, 5000), make, lambda: load_config(run), tmp_path))


STATE: dict[str, Any] = {
    "fit": {
        "model": {"weight": torch.arange(12.0).reshape(3, 4), "bias": torch.ones(3, dtype=torch.float64)},
        "step": 7,
        "optimiser": [{"count": torch.tensor(3), "betas": (0.9, 0.999)}],
    },
    "random": (3, [1, 2, 3], {"state": 2**62}),
    "best": float("inf"),
    "names": {1: "one", "$odd": None},
    "seconds": {"data": 1.25},
}
ODD_JSON: tuple[Any, ...] = (
    *({"$tensor": "fit/model/weight"}, {"$tensor": 5}, {"$tensor": ["x"]}, {"$tensor": "../x"}, {"$float": "zz"}),
    *({"$float": ""}, {"$float": [1]}, {"$float": "7ff0"}, {"$tuple": 3}, {"$tuple": {"a": 1}}, {"$dict": [[[], 1]]}),
    *(
        {"$dict": [[{"$dict": []}, 1]]},
        {"$dict": [1]},
        {"$x": 1},
        {"$tensor": "a", "b": 1},
        None,
        10**300,
        "x" * 10_000,
    ),
    *([[]] * 2000, {str(n): n for n in range(2000)}, float("nan"), -1, "7", True),
)
ODD_NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, 10**30, 1.5, "1", None, [1])


def replaced(value: Any, rng: np.random.Generator, odd: tuple[Any, ...]) -> Any:
    """A nested value with something odd at a random place of it."""
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.1:
        return odd[rng.integers(len(odd))]
    if isinstance(value, dict):
        key = list(value)[rng.integers(len(value))]
        return {**value, key: replaced(value[key], rng, odd)}
    at = int(rng.integers(len(value)))
    return [*value[:at], replaced(value[at], rng, odd), *value[at + 1 :]]


def altered_state(folder: Path, rng: np.random.Generator) -> None:
    path = folder / checkpoint.STATE
    said = json.loads(path.read_bytes())
    for _ in range(rng.integers(1, 3)):
        said = replaced(said, rng, ODD_JSON)
    choices = (json.dumps(said), "[" * 100_000, '{"a":' * 50_000, "[" + "[]," * 600_000 + "1]", "9" * 5000, "{}")
    path.write_text(choices[0 if rng.random() < 0.9 else rng.integers(len(choices))])


def altered_tensors(folder: Path, rng: np.random.Generator) -> None:
    path = folder / checkpoint.TENSORS
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, numbers = json.loads(content[8 : 8 + length]), content[8 + length :]
    kind = rng.integers(4)
    if kind == 0:
        path.write_bytes(struct.pack("<Q", int(rng.choice([0, 1, length - 1, 2**31, 2**63 - 1]))) + content[8:])
        return
    if kind == 1:
        path.write_bytes(turned(content, rng))
        return
    text = json.dumps(replaced(header, rng, ODD_NUMBERS)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + (numbers if kind == 2 else numbers[:-3]))


def altered_manifest(folder: Path, rng: np.random.Generator) -> None:
    """What the manifest says, its own checksum agreeing."""
    path = folder / MANIFEST
    said = json.loads(path.read_text())
    said.pop("sha256")
    name = str(rng.choice(["../up", "/etc/passwd", "/dev/zero", "a/b", "..", "", "\0", "x" * 200, "gone"]))
    odd = (*ODD_NUMBERS, {name: {"bytes": 0, "sha256": "0" * 64}}, {}, "x")
    if rng.random() < 0.5:
        said["files"][name] = {"bytes": 0, "sha256": sha256_of(Path(os.devnull))}
    else:
        said = replaced(said, rng, odd)
    files = said.pop("files", {}) if isinstance(said, dict) else {}
    path.unlink()
    if isinstance(said, dict) and isinstance(files, dict):
        try:
            told = {name: Written(file["bytes"], file["sha256"]) for name, file in files.items()}
            write_manifest(folder, said, told)
            return
        except (TypeError, KeyError, ValueError):
            path.unlink(missing_ok=True)
    path.write_text(json.dumps([said, files]))


def altered_kind(folder: Path, rng: np.random.Generator) -> None:
    """A file that is none."""
    path = folder / str(rng.choice([checkpoint.STATE, checkpoint.TENSORS, MANIFEST]))
    content = path.read_bytes()
    path.unlink()
    makes: list[Callable[[], object]] = [
        lambda: os.mkfifo(path),
        path.mkdir,
        lambda: path.symlink_to("/dev/zero"),
        lambda: path.symlink_to("gone"),
        lambda: path.symlink_to(path),
        lambda: path.write_bytes(content + bytes(1 << 21)),
    ]
    makes[rng.integers(len(makes))]()


def hostile_checkpoint(whole: Path, folder: Path, case: int) -> None:
    """A copy of a checkpoint of which something is otherwise; most have a manifest that agrees with it."""
    rng = np.random.default_rng([2, case])
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    kind = rng.choice(["state", "tensors", "manifest", "kind", "turned", "none"], p=[0.4, 0.3, 0.1, 0.05, 0.1, 0.05])
    if kind in ("state", "tensors"):
        (altered_state if kind == "state" else altered_tensors)(folder, rng)
        agree(folder)
    elif kind == "manifest":
        altered_manifest(folder, rng)
    elif kind == "kind":
        altered_kind(folder, rng)
    elif kind == "turned":
        path = folder / str(rng.choice([checkpoint.STATE, checkpoint.TENSORS, MANIFEST]))
        path.write_bytes(turned(path.read_bytes(), rng))


def agree(folder: Path) -> None:
    """Let a manifest say what its files hold, as whoever makes a hostile one does."""
    said = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).unlink()
    files = {
        name: Written((folder / name).stat().st_size, sha256_of(folder / name))
        for name in (checkpoint.STATE, checkpoint.TENSORS)
    }
    write_manifest(folder, {"format": said["format"], "phase": said["phase"], "step": said["step"]}, files)


@pytest.mark.parametrize("part", TIMES)
def test_checkpoints(part: int | None, tmp_path: Path, record: Record) -> None:
    path = tmp_path / "run" / "agent"
    checkpoint.save(path, 7, STATE)
    (folder,) = path.parent.iterdir()
    whole = folder.rename(tmp_path / "whole")
    figures = refused_or_read(
        cases_of(part, 150, 10_000),
        lambda case: hostile_checkpoint(whole, folder, case),
        lambda: checkpoint.load(path, CPU),
        tmp_path,
    )
    record(figures)


def turned_in_zip(content: bytes, rng: np.random.Generator) -> bytes:
    """A zip with bits turned over in one of its files, most often in what describes the others; checksums agree."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(written, "w") as to:
        names = [name for name in archive.namelist() if archive.getinfo(name).file_size]
        words = next(name for name in names if name.endswith("data.pkl"))
        chosen = words if rng.random() < 0.7 else names[rng.integers(len(names))]
        for name in archive.namelist():
            part = archive.read(name)
            to.writestr(name, turned(part, rng) if name == chosen else part)
    return written.getvalue()


def doubled(times: int) -> bytes:
    """Opcodes of a tuple that holds the one before twice, and so on: of a few bytes, 2^times values."""
    made = b"\x80\x02}q\x00X\x01\x00\x00\x00a)"
    for number in range(1, times + 1):
        made += b"q" + bytes([number]) + b"h" + bytes([number]) + b"\x86"
    return made + b"s."


@pytest.mark.parametrize("part", TIMES)
def test_checkpoints_of_before(part: int | None, tmp_path: Path, record: Record) -> None:
    path = tmp_path / "run" / "agent"
    path.parent.mkdir()
    saved = io.BytesIO()
    torch.save(STATE, saved)
    content = saved.getvalue()

    def make(case: int) -> None:
        rng = np.random.default_rng([3, case])
        altered = turned_in_zip(content, rng) if rng.random() < 0.8 else turned(content, rng)
        if rng.random() < 0.1:
            with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(written := io.BytesIO(), "w") as to:
                for name in archive.namelist():
                    to.writestr(name, doubled(60) if name.endswith("data.pkl") else archive.read(name))
                    if rng.random() < 0.2:
                        to.writestr(f"{name}-more", bytes(5000), zipfile.ZIP_DEFLATED)
            altered = written.getvalue()
        file = path.with_name("agent.pt")
        file.unlink(missing_ok=True)
        write_durably(file, [altered if rng.random() < 0.95 else content])

    record(refused_or_read(cases_of(part, 60, 2000), make, lambda: checkpoint.load(path, CPU), tmp_path))
