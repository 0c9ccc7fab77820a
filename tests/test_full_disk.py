"""A disk that is full, or a folder that takes nothing, at any write of a run: one line, and what was saved is whole."""

import errno
import json
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import toy_pendulum
import yaml
from full_disk import disk
from PIL import Image
from test_run_killed import balance, rows

from combo_common.errors import UserError
from latent_combo.config.schema import Config
from latent_combo.diagnostics.style import to_png
from latent_combo.evaluation.result import Result
from latent_combo.runtime import video
from latent_combo.runtime.media import MediaWriter
from latent_combo.runtime.video import write_mp4
from latent_combo.train import train

CALLS = ("open", "write", "fsync", "rename")
ALIKE = re.compile(r"views/(?!horizon)|videos/(?!policy)|curves|checkpoints/agent.*/")
"""Files that are written as others are."""


@pytest.fixture
def sketched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is drawn is a pixel or two: all files are there, and take no time."""
    clip, picture = MediaWriter.clip, MediaWriter.picture
    frames, png = np.zeros((2, 16, 16, 3), np.uint8), to_png(np.zeros((8, 8, 3), np.uint8))

    def a_clip(self: MediaWriter, tag: str, step: int, draw: object, *given: object, **named: object) -> None:
        clip(self, tag, step, lambda: frames, *given, **named)  # type: ignore[arg-type]
        self.wait()

    def a_picture(self: MediaWriter, tag: str, step: int, draw: object, *given: object, **named: object) -> None:
        picture(self, tag, step, lambda: png, *given, **named)  # type: ignore[arg-type]
        self.wait()

    monkeypatch.setattr(MediaWriter, "clip", a_clip)
    monkeypatch.setattr(MediaWriter, "picture", a_picture)
    monkeypatch.setattr("latent_combo.diagnostics.agent.film", lambda *given: (frames, 1))
    monkeypatch.setattr("latent_combo.pipeline.measure.draw_curves", lambda run: [np.zeros((1, 1, 3), np.uint8)])
    with toy_pendulum.registered():
        yield


def kind(name: str) -> str:
    """Files alike, by one name: of numbers, one stands for all."""
    name = re.sub(r"(tfevents|\.lock).*", r"\1", name).replace(".tmp", "").replace(".partial", "")
    return re.sub(r"(?<!mp)\d+", "N", name)


def check_whole(run: Path) -> None:
    """What is in a run's folder is whole, and nothing is there that is half written."""
    if (run / "config.yaml").exists():
        assert "seed" in yaml.safe_load((run / "config.yaml").read_text())
    if (run / "result.json").exists():
        assert Result.read(run) is not None
    for path in run.rglob("*.json"):
        json.loads(path.read_text())
    for path in run.rglob("*.png"):
        Image.open(path).load()
    assert not list(run.rglob("*.tmp*"))


def tried(config: Config) -> str | None:
    """Train, or go on where there is something to go on with; returns the line that it ends with, if it does early."""
    try:
        train(config, resume=(Path(config.out) / "config.yaml").exists())
    except UserError as error:
        return str(error)
    return None


def fail_one_by_one(config: Config, targets: list[tuple[str, str]]) -> None:
    """Have each of these calls for a kind of file fail, one in each attempt; at last, none does."""
    out = Path(config.out)
    for target in targets:
        failed = []

        def fails(call: str, name: str, target: tuple[str, str] = target, failed: list[str] = failed) -> bool:
            full = (call, kind(name)) == target
            failed += [name] * full
            return full

        with disk(out, fails):
            line = tried(config)
        assert failed, f"nothing asked for {target}"
        assert line is not None and "\n" not in line, (target, line)
        assert re.search("No space left on device|disk full", line) and str(out) in line, (target, line)
        check_whole(out)
    assert tried(config) is None


def test_a_disk_that_is_full_anywhere_is_a_line_and_nothing_is_lost(tmp_path: Path, sketched: None) -> None:
    whole = balance(tmp_path, "whole")
    with disk(tmp_path / "whole") as counted:
        train(whole)
    seen = dict.fromkeys((call, kind(name)) for call, name in counted.calls)
    files = [name for name in dict.fromkeys(name for call, name in seen if call in CALLS) if not ALIKE.match(name)]
    for file in ("config.yaml", "metrics.csv", "tensorboard/events.out.tfevents", "result.json", "report.html"):
        assert file in files
    assert any(file.startswith("checkpoints/") for file in files) and any(file.endswith(".mp4") for file in files)
    targets = [
        next(found for found in (seen_by(seen, file, CALLS[(place + turn) % 4]) for turn in range(4)) if found)
        for place, file in enumerate(files)
    ]
    fail_one_by_one(balance(tmp_path, "parts"), targets)
    assert sorted(rows(tmp_path / "parts")) == sorted(rows(tmp_path / "whole"))


def seen_by(seen: dict[tuple[str, str], None], file: str, call: str) -> tuple[str, str] | None:
    """A call for a file, where there is one."""
    return (call, file) if (call, file) in seen else None


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_on_a_full_disk_is_an_exit_code(stream: str) -> None:
    """Where the standard error stream is not on it, a line, too."""
    program = f"""
import sys
from combo_common.cli import run_cli
from combo_common.errors import UserError
def main():
    print("something", flush=True)
    raise UserError("wrong")
sys.{stream} = open("/dev/full", "w")
run_cli(main)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    full = "error: cannot write to a file, perhaps that of this output: No space left on device; free some space\n"
    assert done.stderr == (full if stream == "stdout" else "")


def test_a_folder_that_takes_nothing_is_a_line_in_every_phase(tmp_path: Path, sketched: None) -> None:
    """As a file system that was mounted anew to be read only."""
    config = balance(tmp_path, "run")
    for target in (("write", "metrics.csv"), ("open", "checkpoints/agent-N/state.json"), ("open", "result.json")):
        seen = []

        def fails(call: str, name: str, target: tuple[str, str] = target, seen: list[str] = seen) -> bool:
            seen += [name] * ((call, kind(name)) == target)
            return bool(seen)  # from then on, nothing is written

        with disk(Path(config.out), fails, errno.EROFS):
            line = tried(config)
        assert line is not None and "Read-only file system" in line and "\n" not in line
        check_whole(Path(config.out))
    assert tried(config) is None


def test_a_clip_that_ffmpeg_cut_short_is_none(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3)).astype(np.uint8)
    write_mp4(tmp_path / "clip.mp4", frames, 10)
    content = (tmp_path / "clip.mp4").read_bytes()
    assert video._is_whole(content)
    for end in (0, 8, 40, len(content) // 2, len(content) - 1):
        assert not video._is_whole(content[:end])
    with pytest.raises(UserError, match=r"cannot write to .*clip.mp4: ffmpeg has not .* is the disk full\?"), small():
        write_mp4(tmp_path / "clip.mp4", np.tile(frames, (20, 4, 4, 1)), 10)
    assert (tmp_path / "clip.mp4").read_bytes() == content and len(list(tmp_path.iterdir())) == 1


@contextmanager
def small() -> Iterator[None]:
    """Files of this process and of those that it starts do not grow beyond 4 kB, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
