"""Who runs the jobs of a comparison: the interface, and the schedulers by the words of `--backend`."""

from collections.abc import Callable, Sequence
from typing import Protocol

from latent_combo.comparison.job import Job, Outcome


class Scheduler(Protocol):
    """Runs jobs, in whatever order and wherever, each by `run_job`."""

    def run(self, jobs: Sequence[Job], done: Callable[[Job, Outcome], None]) -> None:
        """Run all jobs, and call `done` in this thread for each that has ended, whatever became of it.

        Raises StoppedError where it was stopped (Ctrl-C, SIGTERM) and the runs have saved what they have: `done` was
        called for those that had begun.
        """
