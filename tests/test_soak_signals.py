"""The long counts: each signal, to a run and to its group, at each point; and a parent that is killed alone.

Runs are forks of a process that has imported what they take (begun_runs.py), and a few are interpreters of their own.
"""

import os
import re
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from begun_runs import Begin, empties, forks, in_a_process, in_session
from signalled import POINTS
from test_checkpoint import same
from test_run_killed import rows, saved

from latent_combo.runtime.run_folder import AGENT, WORLD_MODEL

pytestmark = [pytest.mark.soak, pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")]
LONGEST = 10.0
"""Seconds from the signal to the end."""
SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
BEFORE_ANYTHING = ("drawing a recording", "drawing by two", "decoding")
"""Points before there is a run to go on with."""
BY_OTHERS = ("drawing by two", "episodes of an evaluation")
"""Points that two processes have; one alone draws or plays itself, as at the points before them."""
BESIDE_OTHERS = ("score", "views of agents", "film")
"""Points that come after two processes were started; before the first evaluation, nothing else has any."""
CASES = [
    (point, name, whom, processes)
    for point in POINTS
    for name in SIGNALS
    for whom in ("process", "group")
    for processes in ((2,) if point in BY_OTHERS else (1, 2) if point in BESIDE_OTHERS else (1,))
]
ANEW = [("drawing by two", "SIGTERM", "group", 2), ("agent", "SIGINT", "process", 1), ("film", "SIGUSR1", "group", 2)]
"""Cases that are tried in interpreters of their own, too."""
PLAIN = ("none", "none", "process")
"""A run, or the rest of one, to its end."""
Record = Callable[[str, object], None]
"""Notes a figure of a test, for the page of reliability (tools/soak)."""


def left_over(*folders: Path) -> list[Path]:
    """What was not finished, and not removed."""
    return [path for folder in folders for path in folder.rglob("*") if ".tmp" in path.name or ".partial" in path.name]


@pytest.fixture(scope="module")
def fork() -> Iterator[Begin]:
    with forks() as begin:
        yield begin


@pytest.fixture(scope="module")
def whole(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped, in an interpreter of its own."""
    out = tmp_path_factory.mktemp("whole") / "run"
    code, said = in_a_process(*PLAIN, data_dir, out).finish(900)
    assert code == 0, said
    return out


def require_the_same_end(out: Path, whole: Path) -> None:
    """A run has its page, and the rows and checkpoints of one that nothing stopped."""
    assert (out / "report.html").exists() and sorted(rows(out)) == sorted(rows(whole))
    for phase in (WORLD_MODEL, AGENT):
        assert same(*(saved(run, phase) for run in (whole, out))), phase


def require_the_same(
    begin: Begin, case: tuple[str, str, str, int], data_dir: Path, whole: Path, folder: Path, record: Record
) -> None:
    """A run that a signal ends at a point has ended, and goes on to what it would have come to."""
    point, name, whom, processes = case
    data, out = folder / "data", folder / "run"
    kept = shutil.ignore_patterns("decoded") if point in BEFORE_ANYTHING else None
    shutil.copytree(data_dir, data, ignore=kept)
    more = ["--score.processes", str(processes)]
    run = begin(point, name, whom, data, out, *more)
    code, said = run.finish(300)
    ended = time.time()
    sent = re.search(r"^signal \d+ ([\d.]+)$", said, re.M)
    assert sent is not None and code == 130, (code, said)
    seconds = ended - float(sent[1])
    assert seconds < LONGEST, said
    assert empties(run.pid, 5.0) and not left_over(data, out), (in_session(run.pid), left_over(data, out))
    resumed = f"--resume {out}" in said
    assert resumed == (point not in BEFORE_ANYTHING), said
    code, said = begin(*PLAIN, data, out, *(["--resume"] if resumed else more)).finish(900)
    assert code == 0, (code, said)
    require_the_same_end(out, whole)
    record("seconds_to_end", round(seconds, 2))


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_it_saves_and_ends_and_goes_on_to_the_same(
    case: tuple[str, str, str, int], fork: Begin, data_dir: Path, whole: Path, tmp_path: Path, record_property: Record
) -> None:
    require_the_same(fork, case, data_dir, whole, tmp_path, record_property)


@pytest.mark.parametrize("case", ANEW, ids=lambda case: "-".join(map(str, case)))
def test_an_interpreter_of_its_own_does_so_too(
    case: tuple[str, str, str, int], data_dir: Path, whole: Path, tmp_path: Path, record_property: Record
) -> None:
    require_the_same(in_a_process, case, data_dir, whole, tmp_path, record_property)


@pytest.mark.parametrize("point", ["drawing by two", "views during", "episodes of an evaluation", "film"])
def test_a_parent_that_is_killed_alone_leaves_no_process_and_no_folder_in_the_end(
    point: str, fork: Begin, data_dir: Path, tmp_path: Path, record_property: Record
) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(data_dir, data, ignore=shutil.ignore_patterns("decoded"))
    more = ["--score.processes", "2"]
    run = fork(point, "none", "process", data, out, *more)
    run.reach()
    began, alone = time.monotonic(), len(in_session(run.pid))
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert empties(run.pid, LONGEST), in_session(run.pid)
    seconds = time.monotonic() - began
    again = fork(*PLAIN, data, out, *(["--resume"] if (out / "config.yaml").exists() else more))
    code, said = again.finish(900)
    assert code == 0, (code, said)
    assert not left_over(data, out)
    record_property("seconds_to_end", round(seconds, 2))
    record_property("processes", alone - 1)


def test_a_signal_while_another_is_being_served_loses_nothing(
    fork: Begin, data_dir: Path, whole: Path, tmp_path: Path, record_property: Record
) -> None:
    """Several at once, and one a moment later, while it saves: the save is finished, or the one before holds."""
    out = tmp_path / "run"
    run = fork("saving", "SIGINT", "group", data_dir, out)
    run.reach()
    began = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        with suppress(ProcessLookupError):  # it has ended
            os.kill(run.pid, number)
        select.select([], [], [], 0.3)
    code, said = run.finish(300)
    seconds = time.monotonic() - began
    # Shells tell of Ctrl-C as 130, too: it may come when all is done, and the interpreter ends
    assert code in (130, -signal.SIGINT) and "Traceback" not in said, (code, said)
    code, said = fork(*PLAIN, data_dir, out, "--resume").finish(900)
    assert code == 0, (code, said)
    require_the_same_end(out, whole)
    record_property("seconds_to_end", round(seconds, 2))
