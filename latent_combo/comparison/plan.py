"""What is left to do of a comparison: the runs' folders tell."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from combo_common.errors import UserError
from combo_common.files import writing
from latent_combo.comparison.fingerprint import Fingerprint, kept
from latent_combo.comparison.job import LOG, Job, Outcome
from latent_combo.comparison.run_job import last_error, lock
from latent_combo.evaluation.result import finished
from latent_combo.runtime.run_folder import BAD_BATCH, SETTINGS


@dataclass(frozen=True)
class Plan:
    """Jobs by what their folders hold."""

    left: list[Job] = field(default_factory=list)
    """Those that are to begin, or to go on."""
    ended: dict[Job, Outcome] = field(default_factory=dict)
    """Those that are done, and those that diverged: they would diverge again, and where they would not (on a GPU),
    trying until they do not would choose among seeds."""
    differ: dict[Job, str] = field(default_factory=dict)
    """Those whose folders hold another run, and in what that differs."""

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> "Plan":
        """Look at the folders of all jobs."""
        plan = cls()
        for job in jobs:
            if not (job.folder / SETTINGS).exists():
                plan.left.append(job)
            elif differs := difference(job):
                plan.differ[job] = differs
            elif finished(job.folder) is not None:
                plan.ended[job] = Outcome("finished")
            elif (job.folder / BAD_BATCH).exists():
                plan.ended[job] = Outcome("diverged", last_error(job))
            else:
                plan.left.append(job)
        return plan

    def require_same(self, again: str) -> None:
        """Raise UserError where a folder holds another run than its job's; `again` is the command that replaces it."""
        if self.differ:
            job, differs = next(iter(self.differ.items()))
            more = f" (and {len(self.differ) - 1} more differ)" if len(self.differ) > 1 else ""
            raise UserError(
                f"{job.run} is a run with {differs}{more}; choose another OUT, or run it anew and keep the old one "
                f"aside: {again}"
            )

    def anew(self) -> "Plan":
        """The plan once all runs that differ or have diverged are kept aside. Raises UserError where one can't be."""
        diverged = [job for job, outcome in self.ended.items() if outcome.status == "diverged"]
        for job in (*self.differ, *diverged):
            print(f"kept aside  {keep_aside(job.folder)}", flush=True)
        return Plan.of([*self.left, *self.ended, *self.differ])


def difference(job: Job) -> str:
    """In what the run in a job's folder differs from the job, for people; empty where it does in nothing."""
    before = kept(job.folder)
    return "no word of what it is known by" if before is None else Fingerprint(**job.fingerprint).difference(before)


def keep_aside(run: Path) -> Path:
    """Rename a run's folder to one that is not there yet, and return that.

    Raises UserError where a process still trains in it, or where it can't be renamed.
    """
    number = next(number for number in range(1, 10**6) if not run.with_name(f"{run.name}.before-{number}").exists())
    aside = run.with_name(f"{run.name}.before-{number}")
    with writing(run), open(run / LOG, "ab") as log:
        if not lock(log):
            raise UserError(f"another process trains in {run}; wait for it, or end it")
        run.rename(aside)
    return aside
