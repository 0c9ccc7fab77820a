"""A lock keeps other processes out, names who holds it, and is taken over from processes that are gone."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from combo_common import lock as locks
from combo_common.errors import UserError
from combo_common.lock import STALE, Lock, waiting_for
from combo_common.processes import is_running, machine, started
from data.load import ROWS, _making

WITHIN = 20.0
"""Seconds for what takes a moment, on a busy machine."""
HOLD = """
import sys
from pathlib import Path
from combo_common.lock import Lock
with Lock(Path(sys.argv[1]), "the run"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / ".lock"


def other(path: Path) -> "subprocess.Popen[str]":
    """Another process, which holds the lock until its input ends."""
    words = [sys.executable, "-c", HOLD, str(path), "--resume", "a run"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, env=environment, **pipes)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def of_another(path: Path, **changed: object) -> None:
    """Let the lock be another's, on another machine if it is not said otherwise."""
    with Lock(path, "the run"):
        said = json.loads(path.read_text())
    said |= {"host": "elsewhere", "machine": "elsewhere boot", "word": "another", "process": 4711, **changed}
    path.write_text(json.dumps(said | {"file": 0}))
    path.write_text(json.dumps(said | {"file": changed.get("file", path.stat().st_ino)}))


def aged(path: Path, seconds: float) -> None:
    now = path.stat().st_mtime
    os.utime(path, (now - seconds, now - seconds))


def test_a_lock_keeps_out_and_names_its_holder_and_leaves_nothing(path: Path) -> None:
    with Lock(path, "the run"):
        line = (
            rf"^the run is in use by process {os.getpid()} on \S+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d \(.+\); wait"
        )
        with pytest.raises(UserError, match=line), Lock(path, "the run"):
            pass
        assert [file.name for file in path.parent.iterdir()] == [".lock"]
    assert list(path.parent.iterdir()) == []
    with Lock(path, "the run"):
        pass


def test_another_process_keeps_out_until_it_is_killed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = other(path)
    try:
        with (
            pytest.raises(UserError, match=rf"by process {process.pid} on .* \(-c .*--resume 'a run'\)"),
            Lock(path, "it"),
        ):
            pass
    finally:
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert path.exists() and not is_running(process.pid)  # it is killed, and its parent has not asked for it yet
    with Lock(path, "the run"):
        pass
    process.wait()
    said = capsys.readouterr().err
    assert said.startswith(f"note: the run was left locked by process {process.pid} on ") and said.count("\n") == 1
    assert list(path.parent.iterdir()) == []


def test_a_process_that_got_the_number_of_the_holder_is_another(path: Path) -> None:
    of_another(path, machine=machine(), process=os.getppid(), started="1")
    with Lock(path, "the run"):
        pass
    of_another(path, machine=machine(), process=os.getppid(), started=started(os.getppid()))
    with pytest.raises(UserError, match="in use by"), Lock(path, "the run"):
        pass


@pytest.mark.parametrize(("age", "waits"), [(0.0, 3), (STALE - 20.0, 1), (STALE + 20.0, 0)])
def test_a_holder_elsewhere_is_gone_when_it_does_not_answer(
    path: Path, age: float, waits: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of_another(path)
    aged(path, age)
    slept, seen = list[float](), path.stat().st_mtime

    def later(seconds: float) -> None:
        """Another minute is over, as others see it from the file."""
        slept.append(seconds)
        aged(path, 61.0)

    monkeypatch.setattr(Lock, "_touched", lambda lock: 1)  # it never is
    monkeypatch.setattr("time.sleep", later)
    with Lock(path, "the run"):
        assert path.stat().st_mtime > seen
    assert slept == [locks.POLL] * waits
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("note: the run was left locked by process 4711 on elsewhere since")
    waiting = "the run was in use by process 4711 on elsewhere since"
    assert len(said) == 1 + bool(waits) and (not waits or said[0].startswith(waiting))


def test_a_holder_elsewhere_that_answers_keeps_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_another(path)
    aged(path, STALE - 20.0)
    monkeypatch.setattr("time.sleep", lambda seconds: os.utime(path))
    with pytest.raises(UserError, match="is in use by process 4711 on elsewhere since"), Lock(path, "the run"):
        pass
    assert json.loads(path.read_text())["word"] == "another"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 1}', b"\xff", b'{"host": ' + b"[" * 100_000])
def test_a_file_that_says_nothing_counts_while_it_may_be_written(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(UserError, match="in use by .*can not be read"), Lock(path, "the run"):
        pass
    aged(path, STALE + 20.0)
    with Lock(path, "the run"):
        pass


def test_a_copy_of_a_folder_that_is_in_use_is_free(path: Path, tmp_path: Path) -> None:
    with Lock(path, "the run"):
        shutil.copytree(path.parent, tmp_path / "own")
        with Lock(tmp_path / "own" / ".lock", "a copy"):
            pass
    process = other(path)
    try:
        shutil.copytree(path.parent, tmp_path / "copy")
        aged(tmp_path / "copy" / ".lock", 3 * locks.HEARTBEAT)  # nobody touches it
        with Lock(tmp_path / "copy" / ".lock", "a copy"):
            pass
        aged(path, 3 * locks.HEARTBEAT)
        with pytest.raises(UserError, match="in use by"), Lock(path, "the run"):
            pass
    finally:
        process.kill()
        process.wait()


def test_the_holder_touches_its_file_and_learns_that_it_was_taken_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched, touch = threading.Event(), os.utime
    monkeypatch.setattr(locks, "HEARTBEAT", 0.01)

    def noted(file: Path) -> None:
        touch(file)
        touched.set()

    with Lock(path, "the run") as held:
        aged(path, 3600.0)
        before = path.stat().st_mtime
        monkeypatch.setattr(os, "utime", noted)
        assert touched.wait(10.0) and path.stat().st_mtime > before + 3000.0
        held.require_held()
        of_another(path.with_name("of another"))
        os.replace(path.with_name("of another"), path)
        with pytest.raises(UserError, match="the run was taken over by process 4711 on elsewhere"):
            held.require_held()
    assert path.exists(), "it is the other's now"


def test_without_hard_links_and_without_flock_it_keeps_out_as_well(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*given: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", none)
    monkeypatch.setattr("fcntl.flock", none)
    with Lock(path, "the run"):
        with pytest.raises(UserError, match=f"in use by process {os.getpid()}"), Lock(path, "the run"):
            pass
        assert [file.name for file in path.parent.iterdir()] == [".lock"]
    assert list(path.parent.iterdir()) == []


def test_a_stale_lock_that_became_anothers_meanwhile_is_put_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_another(path, word="stale")
    aged(path, STALE + 20.0)
    rename = os.rename

    def late(one: Path, two: Path) -> None:
        own = {"machine": machine(), "process": os.getppid(), "started": started(os.getppid())}
        of_another(path.with_name("fresh"), word="fresh", **own)
        os.replace(path.with_name("fresh"), path)
        rename(one, two)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", late)
        patched.setattr("fcntl.flock", lambda *given: None)  # which would keep the other one out
        with pytest.raises(UserError, match=f"in use by process {os.getppid()}"), Lock(path, "the run"):
            pass
    assert json.loads(path.read_text())["word"] == "fresh"


def _take(path: Path, start: Any, results: Any) -> None:
    start.wait(WITHIN)
    try:
        with Lock(path, "the run"):
            results.put("held")
            start.wait(WITHIN)  # until all have tried
    except UserError:
        results.put("refused")
        start.wait(WITHIN)


@pytest.mark.parametrize("stale", [False, True])
def test_of_several_at_once_one_gets_it(path: Path, stale: bool) -> None:
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        if stale:
            of_another(path)
            aged(path, STALE + 20.0)
        start, results = context.Barrier(6), context.Queue()
        processes = [context.Process(target=_take, args=(path, start, results), daemon=True) for _ in range(6)]
        for process in processes:
            process.start()
        found = sorted(results.get(timeout=WITHIN) for _ in processes)
        for process in processes:
            process.join(WITHIN)
        assert found == ["held"] + ["refused"] * 5
    assert list(path.parent.iterdir()) == []


def test_who_may_wait_waits_and_says_for_whom(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = other(path)
    waits: list[float] = []

    def end(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            process.communicate("")

    monkeypatch.setattr("time.sleep", end)
    with waiting_for(path, "the cache"):
        assert waits == [locks.POLL] * 2 and process.returncode == 0
    said = capsys.readouterr().err
    assert said.startswith(f"the cache is in use by process {process.pid} on ") and said.count("\n") == 1


def test_what_another_process_decodes_is_waited_for_and_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "decoded" / "tiny"
    process = other(folder.with_name("tiny.lock"))

    def end(seconds: float) -> None:
        folder.mkdir()
        (folder / ROWS).write_text("[7]")
        process.communicate("")

    monkeypatch.setattr("time.sleep", end)
    with _making(folder) as begin:
        assert not begin
    assert process.returncode == 0
    (folder / ROWS).unlink()
    with _making(folder) as begin:
        assert begin and folder.with_name("tiny.lock").exists()
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_can_not_be_written_is_a_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(UserError, match="cannot write to .*.lock: Permission denied"), Lock(path, "the run"):
        pass


@pytest.mark.parametrize(("process", "there"), [(os.getpid, True), (lambda: 2**22 + 5, False), (lambda: 0, False)])
def test_whether_a_process_runs(process: Callable[[], int], there: bool) -> None:
    assert is_running(process()) is there
    assert is_running(process(), "1") is False
