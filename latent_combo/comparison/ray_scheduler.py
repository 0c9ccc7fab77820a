"""Jobs as tasks of Ray, on this machine or on a cluster. Ray places them; what is done, the runs' folders tell."""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from combo_common.errors import StoppedError
from combo_common.interrupt import Interrupt
from latent_combo.comparison.given import Resources
from latent_combo.comparison.job import Job, Outcome
from latent_combo.comparison.ray_cluster import (
    NodeAffinitySchedulingStrategy,
    Share,
    connected,
    first_line,
    ray,
    require_machines,
)
from latent_combo.comparison.ray_worker import Board, task
from latent_combo.comparison.run_job import AT_ONCE, POLL, SAVE
from latent_combo.comparison.shared_folder import Asked, asking

RETRIES = 20
"""How many workers or machines a run may lose in one call; the next call goes on anyway."""
AT_ONCE_WITHIN = 10.0
"""Seconds for runs to end that are to end without saving."""


class RayScheduler:
    """As many runs at a time as the machines have room for; at most `workers`, if that is given or Ray is local."""

    def __init__(self, out: Path, workers: int | None, resources: Resources) -> None:
        self.out, self.resources = out, resources
        self.workers = 1 if workers is None and resources.address is None else workers

    def run(self, jobs: Sequence[Job], done: Callable[[Job, Outcome], None]) -> None:
        """See `Scheduler.run`. A second Ctrl-C ends the processes without saving, and raises KeyboardInterrupt.

        Raises UserError where there is no such cluster, or where a machine of it lacks what runs need.
        """
        if not jobs:
            return
        with connected(self.resources, self.workers or 1) as share, asking(self.out) as asked:
            require_machines(asked, share)
            with Interrupt() as interrupt:
                _Tasks(jobs, self.workers or len(jobs), share, asked).run(interrupt, done)


class _Tasks:
    """The tasks of a call."""

    def __init__(self, jobs: Sequence[Job], most: int, share: Share, asked: Asked) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
        self.task = ray.remote(task)
        self.waiting = deque(enumerate(jobs))
        self.running = dict[Any, tuple[int, Job]]()
        self.most, self.share, self.asked, self.number = most, share, asked, len(jobs)

    def run(self, interrupt: Interrupt, done: Callable[[Job, Outcome], None]) -> None:
        """Until all have ended, or those that ran have saved."""
        cut = False
        try:
            while self.running or (self.waiting and not interrupt.requested):
                if interrupt.requested:
                    self._ask_to_save()
                else:
                    self._submit()
                for ended in ray.wait(list(self.running), timeout=POLL)[0] if self.running else ():
                    (_, job), outcome = self.running[ended], _outcome(ended)
                    if outcome.status == "waiting":  # it was asked to stop before it began
                        self.waiting.append(self.running.pop(ended))
                        continue
                    self.running.pop(ended)
                    cut = cut or outcome.status == "stopped"
                    done(job, outcome)
        except BaseException:  # a second Ctrl-C, or an error of `done`
            self._end_at_once()
            raise
        if interrupt.requested and (cut or self.waiting):
            raise StoppedError(f"stopped and saved: {len(self.waiting)} of {self.number} runs were not begun")

    def _submit(self) -> None:
        while self.waiting and len(self.running) < self.most:
            number, job = self.waiting.popleft()
            placed = self.task.options(
                name=job.name, num_cpus=self.share.cpus, num_gpus=self.share.gpus, max_retries=RETRIES
            )
            submitted = placed.remote(job, number, self.share.threads, self.asked, self.board)
            self.running[submitted] = (number, job)

    def _ask_to_save(self) -> None:
        """Ask those that run, and take back those that do not."""
        heard = ray.get(self.board.ask.remote(SAVE))
        for submitted, (number, job) in list(self.running.items()):
            if number not in heard:
                ray.cancel(submitted)
                self.waiting.append((number, job))
                del self.running[submitted]

    def _end_at_once(self) -> None:
        try:
            ray.get(self.board.ask.remote(AT_ONCE), timeout=AT_ONCE_WITHIN)
            if self.running:
                ray.wait(list(self.running), num_returns=len(self.running), timeout=AT_ONCE_WITHIN)
        except ray.exceptions.RayError:
            pass  # the cluster is gone, and ends them


def _outcome(ended: Any) -> Outcome:
    try:
        outcome: Outcome = ray.get(ended)
    except ray.exceptions.RayTaskError as error:
        return Outcome("failed", first_line(error.cause))
    except ray.exceptions.RayError as error:
        return Outcome("failed", f"Ray gave it up after {RETRIES} tries: {first_line(error)}")
    return outcome
