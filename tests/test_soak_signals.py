"""The long counts: each signal, to a run and to its group, at each point; and a parent that is killed alone."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from signalled import POINTS
from test_run_killed import rows

pytestmark = [pytest.mark.soak, pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")]
ROOT = Path(__file__).parent.parent
LONGEST = 10.0
"""Seconds from the signal to the end."""
SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")
BEFORE_ANYTHING = ("drawing a recording", "decoding")
"""Points before there is a run to go on with."""


def begin(point: str, name: str, whom: str, data: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    """Begin a toy run that sends itself a signal, or go on with one; it leads a group and a session of its own."""
    given = [point, name, whom, data, out, *more]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "signalled.py"), *map(str, given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def in_session(leader: int) -> list[int]:
    """Processes of a session that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found


def empties(leader: int, seconds: float) -> bool:
    """Whether all processes of a session end within so many seconds."""
    until = time.monotonic() + seconds
    while (living := in_session(leader)) and time.monotonic() < until:
        try:
            opened = os.pidfd_open(living[0])
        except ProcessLookupError:
            continue
        select.select([opened], [], [], until - time.monotonic())
        os.close(opened)
    return not living


def left_over(*folders: Path) -> list[Path]:
    """What was not finished, and not removed."""
    return [path for folder in folders for path in folder.rglob("*") if ".tmp" in path.name or ".partial" in path.name]


@pytest.fixture(scope="module")
def whole(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    process = begin("agent", "none", "process", data_dir, out)
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    return out


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("whom", ["process", "group"])
@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("point", POINTS)
def test_it_saves_and_ends_and_goes_on_to_the_same(
    point: str, name: str, whom: str, processes: int, data_dir: Path, whole: Path, tmp_path: Path
) -> None:
    if point == "episodes of an evaluation" and processes == 1:
        pytest.skip("one process plays them itself, as at the point before")
    data, out = tmp_path / "data", tmp_path / "run"
    kept = shutil.ignore_patterns("decoded") if point in BEFORE_ANYTHING else None
    shutil.copytree(data_dir, data, ignore=kept)
    more = ["--score.processes", str(processes)]
    process = begin(point, name, whom, data, out, *more)
    said, _ = process.communicate(timeout=300)
    ended = time.time()
    sent = re.search(r"^signal \d+ ([\d.]+)$", said, re.M)
    assert sent is not None and process.returncode == 130, said
    assert ended - float(sent[1]) < LONGEST, said
    assert empties(process.pid, 5.0) and not left_over(data, out), (in_session(process.pid), left_over(data, out))
    resumed = f"--resume {out}" in said
    assert resumed == (point not in BEFORE_ANYTHING), said
    again = begin(point, "none", "process", data, out, *(["--resume"] if resumed else more))
    said, _ = again.communicate(timeout=900)
    assert again.returncode == 0, said
    assert (out / "report.html").exists() and sorted(rows(out)) == sorted(rows(whole))


@pytest.mark.parametrize("point", ["drawing a recording", "views during", "episodes of an evaluation", "film"])
def test_a_parent_that_is_killed_alone_leaves_no_process_and_no_folder_in_the_end(
    point: str, data_dir: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(data_dir, data, ignore=shutil.ignore_patterns("decoded"))
    more = ["--score.processes", "2"]
    process = begin(point, "none", "process", data, out, *more)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("signal "):
            break
    process.kill()
    process.wait()
    assert empties(process.pid, LONGEST), in_session(process.pid)
    again = begin(point, "none", "process", data, out, *(["--resume"] if (out / "config.yaml").exists() else more))
    said, _ = again.communicate(timeout=900)
    assert again.returncode == 0, said
    assert not left_over(data, out)


def test_a_signal_while_another_is_being_served_loses_nothing(data_dir: Path, whole: Path, tmp_path: Path) -> None:
    """Several at once, and one a moment later, while it saves: the save is finished, or the one before holds."""
    out = tmp_path / "run"
    process = begin("saving", "SIGINT", "group", data_dir, out)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("signal "):
            break
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        os.kill(process.pid, number)
        select.select([], [], [], 0.3)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 130 and "Traceback" not in said, said
    again = begin("saving", "none", "process", data_dir, out, "--resume")
    said, _ = again.communicate(timeout=900)
    assert again.returncode == 0, said
    assert sorted(rows(out)) == sorted(rows(whole))
