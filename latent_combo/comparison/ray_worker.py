"""What Ray runs on a machine: one run of a comparison; and the board by which all of them are told to stop."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from latent_combo.comparison import tether
from latent_combo.comparison.job import Job, Outcome
from latent_combo.comparison.run_job import POLL, run_job
from latent_combo.comparison.shared_folder import Asked

ASK_EVERY = 1.0
"""Seconds between two looks of a run at the board."""
SILENT = 30.0
"""Seconds without a look after which a run does not run: it waits for a machine, or its machine went away."""
FREED = 120.0
"""Seconds for the folder of a run whose worker or machine went away to be free: it saves what it has, or the file
server notices that the machine is gone (NFS 4: 90)."""


class Board:
    """An actor beside the command, which all runs look at now and then."""

    def __init__(self) -> None:
        self.level, self.heard = 0, dict[int, float]()

    def look(self, number: int) -> int:
        """What run `number` is asked for, as `stops` of `run_job`."""
        self.heard[number] = time.monotonic()
        return self.level

    def ask(self, level: int) -> set[int]:
        """Ask all runs for this; returns the numbers of those that run now."""
        self.level = level
        now = time.monotonic()
        return {number for number, heard in self.heard.items() if now - heard < SILENT}


def check(asked: Asked, answer: str) -> str:
    """What this machine lacks, as `Asked.missing` says it."""
    return asked.missing(answer)


def work(job: Job, threads: int, asked: Asked, look: Callable[[], int], machine: str) -> Outcome:
    """Run a job here, or go on with it where another worker left it; `look` asks the board."""
    os.environ.update(asked.environment)
    if lacks := asked.missing():
        return Outcome("failed", f"machine {machine} {lacks}")
    if look():
        return Outcome("waiting")
    program = (sys.executable, *job.program[1:])  # this machine's Python
    tethered = (sys.executable, "-P", str(Path(tether.__file__)), str(os.getpid()), *program)
    until = time.monotonic() + FREED
    while True:
        outcome = run_job(replace(job, program=tethered), threads, look)
        if outcome.status != "busy" or look() or time.monotonic() > until:
            return outcome
        time.sleep(POLL)


def looking(get: Callable[[], int]) -> Callable[[], int]:
    """The same question, asked at most every ASK_EVERY seconds; where there is no answer, the last one holds."""
    last, at = 0, -ASK_EVERY

    def look() -> int:
        nonlocal last, at
        if time.monotonic() - at >= ASK_EVERY:
            try:
                last = get()
            except Exception:  # the board is gone, and so is the command; Ray ends this worker, and the tether the run
                return last
            at = time.monotonic()
        return last

    return look


def task(job: Job, number: int, threads: int, asked: Asked, board: Any) -> Outcome:
    """The task of Ray: `work`, told by the board."""
    import ray

    machine = ray.util.get_node_ip_address()
    return work(job, threads, asked, looking(lambda: int(ray.get(board.look.remote(number), timeout=10))), machine)
