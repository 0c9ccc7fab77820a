"""What the runs of a comparison came to, a row for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from combo_common.errors import UserError
from latent_combo.comparison.job import Job, Outcome
from latent_combo.evaluation.result import Result
from latent_combo.runtime.run_folder import read_fingerprint

Measure = Literal["normalised score", "return", "success rate in %"]
OF_TABLES: dict[int, Measure] = {1: "return", 2: "normalised score", 3: "normalised score", 8: "return"}
"""What the paper's tables have of tasks that do not tell success; of those that do they have that, but for table 3."""
OF_STATES_ALONE = 3


@dataclass(frozen=True)
class Row:
    """A run: the unit of all statistics. Its score is the mean over its agents, which share its world model."""

    job: Job
    outcome: Outcome
    result: Result | None
    """None where there is none (yet)."""

    def score(self, measure: Measure) -> float | None:
        """The run's score; None where it has none, or none of this kind."""
        if self.result is None:
            return None
        if measure == "success rate in %":
            return None if self.result.success_rate is None else 100.0 * self.result.success_rate
        return self.result.return_mean if measure == "return" else self.result.normalised_score


def gather(jobs: Sequence[Job], outcomes: Mapping[Job, Outcome]) -> list[Row]:
    """A row for each job, in their order.

    A result that can't be read makes its run a failed one. Raises UserError where runs of one dataset were made of
    different data.
    """
    rows, data = list[Row](), dict[str, tuple[str | None, str]]()
    for job in jobs:
        outcome, result = outcomes.get(job, Outcome("waiting")), None
        if outcome.status == "finished":
            made_of = None
            try:
                result, made_of = Result.read(job.folder), read_fingerprint(job.folder)
                if result is None:
                    outcome = Outcome("failed", f"there is no result in {job.run}")
                elif result.return_mean is None:
                    outcome = Outcome("failed", result.unplayed())
            except UserError as error:
                outcome = Outcome("failed", str(error))
            first, run = data.setdefault(job.label, (made_of, job.run)) if made_of else (None, "")
            if made_of != first:
                raise UserError(
                    f"{run} and {job.run} were made of different data of the name {job.dataset}; run them anew"
                )
        rows.append(Row(job, outcome, result))
    return rows


def measure_of(rows: Sequence[Row], table: int | None) -> Measure:
    """What the runs of one dataset are compared by: as the paper's table has it; else normalised, where it can be."""
    results = [row.result for row in rows if row.result is not None]
    if table not in (None, OF_STATES_ALONE) and any(result.success_rate is not None for result in results):
        return "success rate in %"
    if table is not None:
        return OF_TABLES[table]
    return "return" if any(result.normalised_score is None for result in results) else "normalised score"
