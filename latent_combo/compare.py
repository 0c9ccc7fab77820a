"""`python -m latent_combo.compare OUT`: datasets x algorithms x seeds, each a run of its own, then tables."""

import sys

import latent_combo.early  # noqa: F401
from combo_common.cli import run_cli
from combo_common.commands import command
from combo_common.errors import StoppedError
from latent_combo.comparison import options
from latent_combo.comparison.backends import scheduler
from latent_combo.comparison.files import PAGE, write
from latent_combo.comparison.grid import jobs
from latent_combo.comparison.job import Job, Outcome
from latent_combo.comparison.plan import Plan
from latent_combo.comparison.rows import Row, gather
from latent_combo.comparison.summary import summarise

FAILED = 3
"""Exit code of a comparison that is through, but not all of whose runs have a score."""


def main() -> None:
    """Read the command line, run what is left, and write what all of it came to."""
    given, again = options.read(), command("compare", *sys.argv[1:])
    asked = jobs(given, fingerprints=True)
    runs = scheduler(given)  # which raises before anything is kept aside
    plan = Plan.of(asked)
    if given.again:
        plan = plan.anew()
    plan.require_same(f"{again} --again")
    print(f"runs        {len(asked)}: {len(plan.ended)} done already, {len(plan.left)} to run", flush=True)
    outcomes, rows = dict(plan.ended), list[Row]()

    def done(job: Job, outcome: Outcome) -> None:
        outcomes[job] = outcome
        error = f": {outcome.error}" if outcome.error else ""
        print(f"{len(outcomes)}/{len(asked)}  {outcome.status}  {job.name}  {outcome.seconds:.0f} s{error}", flush=True)
        if len(outcomes) == len(asked):
            return
        try:
            tables(drawn=False)
        except Exception as refused:  # which the end says again; the other runs go on
            print(f"note: the tables are not up to date: {refused}", file=sys.stderr, flush=True)

    def tables(drawn: bool = True) -> None:
        rows[:] = gather(asked, outcomes)
        write(given.out, rows, summarise(rows, given.table), given.table, drawn)

    try:
        runs.run(plan.left, done)
    except StoppedError as stopped:
        raise StoppedError(f"{stopped}; go on with: {again}") from stopped
    finally:  # a table of what there is, whatever ended it
        tables()
    print(f"tables      {given.out / PAGE}")
    if missing := [row for row in rows if row.outcome.status != "finished"]:
        print(f"{len(missing)} of {len(rows)} runs have no score; {given.out / PAGE} says why", file=sys.stderr)
        sys.exit(FAILED)


if __name__ == "__main__":
    run_cli(main)
