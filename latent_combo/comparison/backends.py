"""The schedulers, by the words of `--backend`."""

from latent_combo.comparison.scheduler import Scheduler

BACKENDS = ("processes",)


def scheduler(backend: str, workers: int) -> Scheduler:
    """The scheduler of a word of BACKENDS, imported only here, with at most `workers` runs at a time."""
    assert backend == "processes"
    from latent_combo.comparison.processes import ProcessScheduler

    return ProcessScheduler(workers)
