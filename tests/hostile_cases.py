"""Many hostile cases given to a reader, in a process of its own: what it may do, and what it may take."""

import gc
import json
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
PARTS = 10
TIMES = [
    pytest.param(None, id="ci"),
    *(pytest.param(part, id=f"soak-{part + 1}", marks=pytest.mark.soak) for part in range(PARTS)),
]
"""Parts of a test: the cases of CI, and tenths of a soak's, each of which is done in minutes."""


def cases_of(part: int | None, ci: int, soak: int) -> range:
    """The numbers of the cases of a part, of so many in CI and of so many in all parts of a soak."""
    return range(ci) if part is None else range(part * soak // PARTS, (part + 1) * soak // PARTS)


class Tally:
    """What cases have taken, one after the other; AssertionError names the one that takes more than it may."""

    def __init__(self) -> None:
        self._cases, self._refused, self._slowest, self._grown = 0, 0, 0.0, 0
        self._began_with = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def add(self, what: str, seconds: float, refused: bool) -> None:
        """Count a case, called `what`, which took so many seconds of the process."""
        self._cases += 1
        self._refused += refused
        assert seconds < SLOW, f"{what}: {seconds:.1f} s"
        self._slowest = max(self._slowest, seconds)
        self._grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._began_with)
        assert self._grown < MOST_GROWTH, f"{what}: with it resident memory has grown by {self._grown >> 20} MB"

    def figures(self, first: bool = True) -> dict[str, float]:
        """The figures of all; some must have been refused, and some not, of the `first` part of a soak at least."""
        told = f"{self._refused} of {self._cases} were refused, so it is not tried what the others do"
        assert 0 < self._refused < self._cases or not first, told
        slowest, grown = round(1000 * self._slowest, 1), round(self._grown / 1e6, 1)
        return {"cases": self._cases, "refused": self._refused, "slowest_ms": slowest, "growth_mb": grown}


def refused_or_read(
    cases: range, make: Callable[[int], object], read: Callable[[], object], folder: Path
) -> dict[str, float]:
    """Make each case, and read it: it is read, or refused by a UserError of one line, at once and with little memory.

    Nothing is run by it, and nothing written outside of `folder`; `evil_module` is not imported. Returns figures.
    """
    note = folder / "case.txt"
    child = os.fork()
    if not child:
        code = 1
        gc.freeze()
        try:
            note.write_text(json.dumps(_try_all(cases, make, read, note, str(folder))))
            code = 0
        except BaseException:
            note.write_text(f"{note.read_text() if note.exists() else ''}\n{traceback.format_exc()}", errors="replace")
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    died = f", of which the process died ({signal.Signals(-code).name})" if code < 0 else ""
    assert code == 0, f"{note.read_text(errors='replace')}{died}"
    figures: dict[str, float] = json.loads(note.read_text())
    return figures


def _try_all(
    cases: range, make: Callable[[int], object], read: Callable[[], object], note: Path, folder: str
) -> dict[str, float]:
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

    make(cases[0])
    with _refusal():
        read()  # what is imported for the first time counts for no case
    sys.addaudithook(heard)
    tally = Tally()
    for case in cases:
        note.write_text(f"case {case}")
        make(case)
        refused = False
        signal.setitimer(signal.ITIMER_PROF, ENDLESS)
        watching[0], began = True, time.process_time()
        try:
            read()
        except UserError as error:
            refused, said = True, str(error)
            assert said.isprintable() and len(said) < MOST_LETTERS, f"case {case}: {said!r:.3000}"
        taken, watching[0] = time.process_time() - began, False
        assert not done, f"case {case}: {done}"
        tally.add(f"case {case}", taken, refused)
    return tally.figures(first=cases.start == 0)


class _refusal:  # used as a word
    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, UserError)
