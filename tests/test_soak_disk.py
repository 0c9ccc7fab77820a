"""The long counts: a small disk of each of 50 sizes, and every single call by which a run writes, failing in turn."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import toy_pendulum
from full_disk import disk
from test_full_disk import check_whole, sketched, tried
from test_run_killed import SMALL, balance

from latent_combo.config.schema import Config
from latent_combo.train import train

pytestmark = pytest.mark.soak
__all__ = ["sketched"]
ROOT = Path(__file__).parent.parent
SIZES = 50
PARTS = 10
"""A test does every tenth call, so that a soak that is ended keeps what is done."""
ENDS = (0, 2)
"""Exit codes: all fitted, or a line said that it did not."""
PROGRAM = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import toy_pendulum
from combo_common.cli import run_cli
from latent_combo import train
train.check_needs = lambda *given: None  # it would not begin
with toy_pendulum.registered():
    run_cli(train.main)
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Where a disk can be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    mount(place, 1 << 20)
    umount(place)
    yield place
    umount(place)


def mount(place: Path, size: int) -> None:
    """Mount an empty disk; skips the test where that is not allowed."""
    asked = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    done = subprocess.run(asked, capture_output=True, text=True) if shutil.which("mount") else None
    if done is None or done.returncode:
        pytest.skip(f"no disk can be mounted here: {'there is no mount' if done is None else done.stderr.strip()}")


def umount(place: Path) -> None:
    """Unmount what is mounted."""
    subprocess.run(["umount", str(place)], capture_output=True, check=False)


def trained(data: Path, out: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    """Train as a command."""
    given = ["--resume", str(out)] if more else [*SMALL.split(), "--dataset", str(data), "--data_dir", str(data.parent)]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "tests"), *given, *([] if more else ["--out", str(out)])],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def ended(config: Config) -> str | None:
    """`tried`, but for Ctrl-C, which is for the soak and not for the run."""
    line = tried(config)
    if line is not None and line.startswith("stopped"):
        raise KeyboardInterrupt
    return line


def test_a_disk_of_any_size(small_disk: Path, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    data = tmp_path / "toy-pendulum.hdf5"
    with toy_pendulum.registered():
        toy_pendulum.dataset(data)
    whole = trained(data, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    needed = sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file())
    full = 0
    sizes = np.linspace(1 << 14, 1.2 * needed, SIZES).astype(int)
    for size in sizes:
        mount(small_disk, int(size))
        try:
            out = small_disk / "run"
            done = trained(data, out)
            assert done.returncode in ENDS and "Traceback" not in done.stderr, done.stderr
            if done.returncode:
                full += 1
                last = done.stderr.strip().splitlines()[-1]
                assert last.startswith("error: ") and str(small_disk) in last, done.stderr
                check_whole(out)
            if done.returncode and (out / "config.yaml").exists():
                subprocess.run(["mount", "-o", f"remount,size={4 * needed}", str(small_disk)], check=True)
                again = trained(data, out, "--resume")
                assert again.returncode == 0, again.stderr
                check_whole(out)
        finally:
            umount(small_disk)
    assert SIZES / 2 < full < SIZES
    record_property("disks", SIZES)
    record_property("full", full)
    record_property("smallest_mb", sizes[0] / 1e6)
    record_property("largest_mb", sizes[-1] / 1e6)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_call_by_which_a_run_writes(
    part: int, tmp_path: Path, sketched: None, record_property: Callable[[str, object], None]
) -> None:
    config = balance(tmp_path, "whole")
    with disk(tmp_path / "whole") as counted:
        train(config)
    calls = len(counted.calls)
    assert calls > 100
    for number in range(part, calls, PARTS):
        left = iter(range(number, -1, -1))
        config = balance(tmp_path, f"run-{number}")
        out = Path(config.out)
        with disk(out, lambda call, name, left=left: next(left, 0) == 0):  # type: ignore[misc]  # from here on, all
            line = ended(config)
        assert line is not None and "\n" not in line, (number, counted.calls[number])
        check_whole(out) if out.exists() else None
        assert ended(config) is None
        shutil.rmtree(out)
    record_property("calls", len(range(part, calls, PARTS)))
