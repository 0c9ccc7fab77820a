"""Groups of soak tests, each run by a pytest of its own, which can be ended and reports what it has done by then."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from combo_common.errors import UserError
from latent_combo.comparison import tether
from tools.soak.record import FAILED, Result, read_junit

ROOT = Path(__file__).resolve().parents[2]
SIZE = 12
"""Most tests of a group: what a kill of all processes costs."""
PATIENCE = 60.0
"""Seconds that pytest has to write its report when it is interrupted."""
PYTEST = (sys.executable, "-m", "pytest", "-q", "-m", "soak", "-p", "no:cacheprovider")


class Ended(Exception):  # noqa: N818  # no error
    """The limit of time has been reached, or Ctrl-C or another signal was heard; `results` are there."""

    def __init__(self, why: str, results: dict[str, Result]) -> None:
        """Say why, and what was done by then."""
        super().__init__(why)
        self.results = results


def collected() -> list[str]:
    """The ids of all soak tests. Raises UserError where they can't be collected."""
    done = subprocess.run(
        [*PYTEST, "--collect-only", "tests"], cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"the soak tests can't be collected: {(done.stdout + done.stderr).strip()[-1000:]}")
    return [line for line in done.stdout.splitlines() if line.startswith("tests/") and "::" in line]


def grouped(tests: list[str], size: int = SIZE) -> Iterator[list[str]]:
    """Tests in groups, in their order."""
    left = iter(tests)
    while group := list(islice(left, size)):
        yield group


def run_group(tests: list[str], until: float) -> dict[str, Result]:
    """Run tests, until a moment of time.monotonic() at most; their results.

    A test of which pytest dies has failed. Raises Ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        try:
            places = [f"--junitxml={report}", f"--basetemp={folder}/tests"]
            code = _pytest([*tests, *places, "-o", "junit_family=xunit1"], until)
        except (KeyboardInterrupt, subprocess.TimeoutExpired) as error:
            why = "the limit of time" if isinstance(error, subprocess.TimeoutExpired) else "a signal"
            raise Ended(why, read_junit(report, tests)) from None
        results = read_junit(report, tests)
    if len(lost := [test for test in tests if test not in results]) == 1:
        results[lost[0]] = Result(FAILED, 0.0, {}, f"pytest ended with exit code {code}, and no result")
    for test in lost if len(lost) > 1 else ():  # one by one, to know of which one it dies
        try:
            results |= run_group([test], until)
        except Ended as ended:
            ended.results.update(results)
            raise
    return results


def _pytest(arguments: list[str], until: float) -> int:
    """The exit code of pytest. Raises TimeoutExpired and KeyboardInterrupt, after pytest has written what it has."""
    tethered = [sys.executable, "-P", tether.__file__, str(os.getpid()), *PYTEST]  # it ends when this is killed
    process = subprocess.Popen([*tethered, *arguments], cwd=ROOT, env=_environment(), start_new_session=True)
    try:
        return process.wait(max(0.0, until - time.monotonic()) if until < float("inf") else None)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            print("pytest does not end; it is killed", file=sys.stderr)
        raise
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment() -> dict[str, str]:
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
