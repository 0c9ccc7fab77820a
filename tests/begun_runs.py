"""Toy runs that send themselves a signal: in interpreters of their own, or as forks of a process that imported all."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TESTS = Path(__file__).parent
PROGRAM = [sys.executable, str(TESTS / "signalled.py")]
ENVIRONMENT = {"PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": "1"}


@dataclass
class Begun:
    """A run that has begun, and leads a group and a session of its own."""

    pid: int
    output: IO[str]
    """What it and its processes write, until the last of them has ended."""
    wait: Callable[[], int]
    """Waits until it has ended; its exit code, negative for a signal's number."""

    def reach(self) -> None:
        """Wait until it says that it is at its point."""
        said = []
        for line in self.output:
            said.append(line)
            if line.startswith("signal "):
                return
        raise AssertionError(f"it ended before: {''.join(said)}")

    def finish(self, seconds: float) -> tuple[int, str]:
        """Its exit code, and what else it says; all of its processes are killed after so many seconds."""
        late = threading.Timer(seconds, kill_session, [self.pid])
        late.start()
        try:
            said = self.output.read()
            return self.wait(), said
        except BaseException:
            kill_session(self.pid)
            raise
        finally:
            late.cancel()
            self.output.close()


Begin = Callable[..., Begun]
"""Begins a run, or goes on with one, by the arguments of signalled.py."""


def in_a_process(*given: object) -> Begun:
    """Begin a run in a new interpreter."""
    process = subprocess.Popen(
        [*PROGRAM, *map(str, given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | ENVIRONMENT,
    )
    assert process.stdout is not None
    return Begun(process.pid, process.stdout, process.wait)


@contextmanager
def forks() -> Iterator[Begin]:
    """What begins runs, one after the other, as forks of one process, which has imported all that they take.

    What a failed test has not waited for is killed before the next one, and in the end.
    """
    own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    running: list[int] = []
    with own:
        with other:
            server = subprocess.Popen(
                [*PROGRAM, "serve", str(other.fileno())],
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=os.environ | ENVIRONMENT,
            )

        def answer() -> int:
            return int(own.recv(64) or f"the process that forks has ended with {server.wait()}")

        def ended() -> int:
            code = answer()
            running.clear()
            return code

        def end() -> None:
            if running:
                kill_session(running[0])
                ended()

        def begin(*given: object) -> Begun:
            end()
            output, theirs = os.pipe()
            socket.send_fds(own, [json.dumps([str(word) for word in given]).encode()], [theirs])
            os.close(theirs)
            running.append(answer())
            return Begun(running[0], os.fdopen(output), ended)

        yield begin
        end()
    server.wait()


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


def kill_session(leader: int) -> None:
    """Kill all processes of a session."""
    while living := in_session(leader):
        for pid in living:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


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
