"""Processes that help another one: what reaches its terminal says nothing to them, and they end when it does."""

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.machinery import ModuleSpec
from multiprocessing.spawn import get_preparation_data
from pathlib import Path
from types import ModuleType

import pytest

from combo_common.child_process import deaf_children
from combo_common.interrupt import SIGNALS

TESTS = Path(__file__).parent
POOL = """
from data.simulate.workers import in_order
results = in_order(partial(partial, eval), ["1"] * 2 + ["__import__('time').sleep(100)"] * 9, 2)
next(results)
"""
COPIES = """
from envs.registry import get_task
from envs.task import ObservationSpec
from envs.vector_env import SubprocessVectorEnv
copies = SubprocessVectorEnv(get_task("hopper"), ObservationSpec("state"), 2, 2)
"""
BEGUN = """
import multiprocessing, os, signal, sys
from functools import partial
{work}
print(*(process.pid for process in multiprocessing.active_children()), flush=True)
{rest}
"""
pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the end of others' children is awaited by Linux")


def begin(work: str, rest: str = "input()") -> "tuple[subprocess.Popen[str], list[int]]":
    """A process that has begun some work with two others; their numbers."""
    program = BEGUN.format(work=work, rest=rest)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
    )
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2
    return process, pids


def ends(pid: int, seconds: float) -> bool:
    """Whether a process ends within so many seconds."""
    try:
        opened = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([opened], [], [], seconds)[0])
    finally:
        os.close(opened)


@pytest.mark.parametrize("work", [POOL, COPIES])
def test_they_end_when_their_parent_is_killed_alone(work: str) -> None:
    process, pids = begin(work)
    os.kill(process.pid, signal.SIGKILL)
    try:
        assert all(ends(pid, 20.0) for pid in pids)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize(
    ("work", "rest"),
    [
        (COPIES, "copies.reset([0, 1]); print('answered', flush=True); copies.close()"),
        (POOL.replace("sleep(100)", "sleep(0.01)"), "list(results); print('answered', flush=True)"),
    ],
)
def test_signals_of_the_group_say_nothing_to_them_from_their_beginning_on(work: str, rest: str) -> None:
    """They may still be importing when the first of these come; the first process has its own way with them."""
    ignoring = f"[signal.signal(n, lambda *_: None) for n in {[int(number) for number in SIGNALS]}]\n"
    process, _ = begin(ignoring + work, f"print(sys.stdin.readline(), end='', flush=True); {rest}")
    assert process.stdin is not None and process.stdout is not None
    for number in SIGNALS:
        os.killpg(process.pid, number)
    process.stdin.write("sent\n")
    process.stdin.flush()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "sent\nanswered\n", "")


def test_what_they_fork_can_be_ended() -> None:
    """As a pool's processes, which hear of no other end."""
    program = (
        "import multiprocessing, time; from combo_common.child_process import begin_child; begin_child()\n"
        "other = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))\n"
        "other.start(); other.terminate(); other.join(); print(other.exitcode)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, cwd=TESTS.parent)
    assert (done.stdout, done.stderr) == (f"{-signal.SIGTERM}\n", "")


def test_what_they_start_can_be_ended() -> None:
    """A simulator of its own, say, whose environment ends it by SIGTERM."""
    work = "import subprocess; from combo_common.child_process import begin_child; begin_child()\n"
    program = f"{work}other = subprocess.Popen(['sleep', '60']); other.terminate(); print(other.wait())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, cwd=TESTS.parent)
    assert (done.stdout, done.stderr) == (f"{-signal.SIGTERM}\n", "")


@pytest.mark.parametrize(
    "rest",
    [
        "pids = multiprocessing.active_children(); del copies; import gc; gc.collect(); [p.join(20) for p in pids]",
        "",  # nobody closes them
        # a second Ctrl-C while the first has them ended, and one of them hangs
        "from unittest import mock\n"
        "with mock.patch('envs.vector_env.end_child', side_effect=KeyboardInterrupt):\n"
        "    try: copies.close()\n"
        "    except KeyboardInterrupt: pass\n",
    ],
    ids=["dropped", "left", "cut short"],
)
def test_copies_end_however_they_are_left(rest: str) -> None:
    process, pids = begin(COPIES, rest)
    process.communicate(timeout=30)
    assert process.returncode == 0 and all(ends(pid, 0.0) for pid in pids)


def test_a_pool_that_is_left_does_not_finish_what_nobody_takes() -> None:
    process, pids = begin(POOL, "results.close()")
    process.communicate(timeout=20)
    assert process.returncode == 0 and all(ends(pid, 0.0) for pid in pids)


@pytest.mark.parametrize(("name", "imported"), [("latent_combo.train", False), ("somebodys.program", True)])
def test_they_import_no_command_of_ours(name: str, imported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its imports are 240 MB and seconds in each of them."""
    command = ModuleType("__main__")
    command.__spec__, command.__file__ = ModuleSpec(name, None), "/somewhere/program.py"
    monkeypatch.setitem(sys.modules, "__main__", command)
    with deaf_children():
        assert ("init_main_from_name" in get_preparation_data("child")) == imported
        assert "init_main_from_path" not in get_preparation_data("child")
    assert get_preparation_data("child")["init_main_from_name"] == name
