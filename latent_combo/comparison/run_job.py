"""One run of a comparison, in a process of its own; the workers of every scheduler do it by this."""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import BinaryIO

from combo_common.cli import STOPPED
from combo_common.errors import UserError
from combo_common.versions import ROOT
from latent_combo.comparison.fingerprint import code, keep
from latent_combo.comparison.job import LOG, Job, Outcome
from latent_combo.evaluation.result import finished
from latent_combo.runtime.run_folder import BAD_BATCH, SETTINGS

POLL = 0.2
"""Seconds between two looks at whether to stop."""
SAVE, AT_ONCE = 1, 2
"""How a run may be asked to stop: when it has saved what it has, or without."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS")
"""What bounds the threads of PyTorch, of the libraries of matrices, and of pictures that are drawn in software."""
INSTALLED = ("site-packages", "dist-packages")
"""Folders that Python looks through anyway."""
ERROR = "error: "
"""How the line begins in which a command says what is wrong."""


def never() -> int:
    """No run is asked to stop."""
    return 0


def run_job(
    job: Job, threads: int = 0, stops: Callable[[], int] = never, own: Mapping[str, str] = MappingProxyType({})
) -> Outcome:
    """Run a job to its end, and say what became of it; a run that was cut off goes on where it was saved.

    It blocks. `threads` bounds those of the process (0: no bound), unless the environment does. `own` is added to the
    environment. `stops` is asked a few times per second: 0 goes on, SAVE and AT_ONCE end the run. A training that fails
    is an outcome, too, and so is a folder that cannot be written: nothing is raised for them.
    """
    began = time.monotonic()
    try:
        outcome = _run(job, threads, stops, own)
    except (OSError, UserError) as refused:
        outcome = Outcome("failed", str(refused))
    return Outcome(outcome.status, outcome.error, time.monotonic() - began)


def _run(job: Job, threads: int, stops: Callable[[], int], own: Mapping[str, str]) -> Outcome:
    job.folder.mkdir(parents=True, exist_ok=True)
    with open(job.folder / LOG, "ab") as log:
        # The process that trains inherits the lock, and holds it even where this one is killed
        if not lock(log):
            return Outcome("busy", f"another process trains in {job.run}; wait for it, or end it")
        if finished(job.folder) is not None:
            return Outcome("finished")
        if job.fingerprint.get("code", code()) != code():
            return Outcome("failed", "the program's source was changed after this comparison began; begin it again")
        if not (job.folder / SETTINGS).exists():
            keep(job.fingerprint, job.folder)
        start = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [*job.program, *job.next_words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=job.working_folder,
            env={**_environment(threads), **own},
            start_new_session=True,  # so that Ctrl-C of a terminal reaches it once, by `stops`
        )
        asked = _wait(process, stops)
    return _ended(job, process.returncode, asked, start)


def _environment(threads: int) -> dict[str, str]:
    """That of a run: its program is this one, wherever this one lies, and its threads are bounded (0: are not).

    Where the environment has OMP_NUM_THREADS, that bounds all that it doesn't name: PyTorch takes as many threads as
    MKL_NUM_THREADS says, whatever OMP_NUM_THREADS does.
    """
    bounds = dict.fromkeys(THREADS, os.environ.get(THREADS[0]) or str(threads)) if threads else {}
    if ROOT.name in INSTALLED:
        return {**bounds, **os.environ}
    return {
        **bounds,
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }


def lock(file: BinaryIO) -> bool:
    """Lock an open file for this process and those that inherit it; whether nobody else had done so."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(process: "subprocess.Popen[bytes]", stops: Callable[[], int]) -> int:
    """Wait for a process, and stop it where that is asked for; returns what was asked."""
    asked = 0
    while True:
        try:
            process.wait(POLL)
            return asked
        except subprocess.TimeoutExpired:
            wanted = stops()
        if wanted > asked:
            asked = wanted
            if asked == SAVE:
                process.send_signal(signal.SIGTERM)  # SIGINT may be ignored by what has no terminal
            else:
                os.killpg(process.pid, signal.SIGKILL)


def _ended(job: Job, exit_code: int, asked: int, start: int) -> Outcome:
    """What became of a run whose process has ended, and whose log of this attempt begins at byte `start`."""
    if exit_code == 0 and finished(job.folder) is not None:
        return Outcome("finished")
    if (job.folder / BAD_BATCH).exists():
        return Outcome("diverged", last_error(job, start))
    if asked or exit_code == STOPPED:
        return Outcome("stopped")
    ending = f"ended by {signal.Signals(-exit_code).name}; the log's last line: " if exit_code < 0 else ""
    return Outcome("failed", f"{ending}{last_error(job, start)}")


def last_error(job: Job, start: int = 0) -> str:
    """The last line of a run's log from byte `start` on that says what is wrong; or else its last line at all."""
    try:
        said = (job.folder / LOG).read_bytes()[start:].decode(errors="replace")
    except OSError as error:
        return f"there is no log: {error.strerror}"
    lines = [line.strip() for line in said.replace("\r", "\n").splitlines() if line.strip()]
    errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    return (errors or lines or ["the log is empty"])[-1]
