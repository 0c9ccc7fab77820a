"""The schedulers, by the words of `--backend`."""

from latent_combo.comparison.given import Given
from latent_combo.comparison.scheduler import Scheduler

BACKENDS = ("processes", "ray")


def scheduler(given: Given) -> Scheduler:
    """The scheduler that is asked for, imported only here. Raises UserError where its package is not installed."""
    if given.backend == "ray":
        from latent_combo.comparison.ray_scheduler import RayScheduler

        return RayScheduler(given.out, given.workers, given.resources)
    from latent_combo.comparison.processes import ProcessScheduler

    return ProcessScheduler(given.workers or 1)
