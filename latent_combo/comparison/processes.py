"""Jobs as processes of this machine, a few at a time."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from combo_common.errors import StoppedError
from combo_common.interrupt import Interrupt
from data.simulate.workers import default_processes
from latent_combo.comparison.gpus import gpu_of, visible_gpus
from latent_combo.comparison.job import Job, Outcome
from latent_combo.comparison.run_job import AT_ONCE, POLL, SAVE, run_job


class ProcessScheduler:
    """At most `workers` runs at a time, each with its share of the processors, and one of the GPUs in turn."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.threads = max(1, default_processes() // workers)
        self.gpus = visible_gpus() if workers > 1 else []

    def run(self, jobs: Sequence[Job], done: Callable[[Job, Outcome], None]) -> None:
        """See `Scheduler.run`. A second Ctrl-C ends the processes without saving, and raises KeyboardInterrupt."""
        waiting, running = deque(jobs), dict[Future[Outcome], tuple[int, Job]]()
        places = set(range(self.workers))
        at_once, cut = threading.Event(), False
        with Interrupt() as interrupt, ThreadPoolExecutor(self.workers) as pool:

            def stops() -> int:
                return AT_ONCE if at_once.is_set() else SAVE if interrupt.requested else 0

            try:
                while running or (waiting and not interrupt.requested):
                    while waiting and len(running) < self.workers and not interrupt.requested:
                        job, place = waiting.popleft(), min(places)
                        places.remove(place)
                        own = gpu_of(place, self.gpus)
                        running[pool.submit(run_job, job, self.threads, stops, own)] = (place, job)
                    for ended in wait(running, POLL, FIRST_COMPLETED).done:
                        (place, job), outcome = running.pop(ended), ended.result()
                        places.add(place)
                        cut = cut or outcome.status == "stopped"
                        done(job, outcome)
            except BaseException:  # a second Ctrl-C, or an error of `done`: the pool waits for what still runs
                at_once.set()
                raise
        if interrupt.requested and (cut or waiting):
            raise StoppedError(f"stopped and saved: {len(waiting)} of {len(jobs)} runs were not begun")
