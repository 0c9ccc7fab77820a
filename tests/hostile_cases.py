"""Many hostile cases given to a reader, in a process of its own: what it may do, and what it may take."""

import gc
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from combo_common.errors import UserError

SLOW, ENDLESS = 1.0, 20.0
"""Seconds of the process that no case may take, and that end it."""
MOST_GROWTH = 300 << 20
"""Bytes of resident memory by which it may grow."""
MOST_LETTERS = 6000
"""Of an error; the longest value is 4096."""
RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "pickle.find_class")
"""What is told of (PEP 578) when code is run, or somebody is called."""
TIMES = [pytest.param(False, id="ci"), pytest.param(True, id="soak", marks=pytest.mark.soak)]


def refused_or_read(cases: int, make: Callable[[int], object], read: Callable[[], object], folder: Path) -> None:
    """Make each case, and read it: it is read, or refused by a UserError of one line, at once and with little memory.

    Nothing is run by it, and nothing written outside of `folder`; `evil_module` is not imported.
    """
    note = folder / "case.txt"
    child = os.fork()
    if not child:
        code = 1
        gc.freeze()
        try:
            _try_all(cases, make, read, note, str(folder))
            code = 0
        except BaseException:
            note.write_text(f"{note.read_text() if note.exists() else ''}\n{traceback.format_exc()}", errors="replace")
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    died = f", of which the process died ({signal.Signals(-code).name})" if code < 0 else ""
    assert code == 0, f"{note.read_text(errors='replace')}{died}"


def _try_all(cases: int, make: Callable[[int], object], read: Callable[[], object], note: Path, folder: str) -> None:
    done: list[str] = []
    watching = [False]

    def heard(event: str, told: tuple[Any, ...]) -> None:
        if not watching[0]:
            return
        if event in RUNS or (event == "import" and str(told[0]).startswith("evil_module")):
            done.append(f"{event} {told}")
        if event == "open" and isinstance(told[0], str) and not told[0].startswith(folder):
            writes = isinstance(told[2], int) and told[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes or told[0].endswith("elsewhere.yaml"):
                done.append(f"{event} {told}")

    make(0)
    with _refusal():
        read()  # what is imported for the first time counts for no case
    sys.addaudithook(heard)
    refused, began_with = 0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in range(cases):
        make(case)
        note.write_text(f"case {case}")
        signal.setitimer(signal.ITIMER_PROF, ENDLESS)
        watching[0], began = True, time.process_time()
        try:
            read()
        except UserError as error:
            refused += 1
            said = str(error)
            assert said.isprintable() and len(said) < MOST_LETTERS, f"case {case}: {said!r:.3000}"
        taken, watching[0] = time.process_time() - began, False
        assert taken < SLOW, f"case {case}: {taken:.1f} s"
        assert not done, f"case {case}: {done}"
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began_with)
    assert grown < MOST_GROWTH, f"resident memory grew by {grown >> 20} MB"
    assert 0 < refused < cases, f"{refused} of {cases} were refused, so it is not tried what the others do"


class _refusal:  # used as a word
    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, UserError)
