"""`python -m tools.soak`: run the soak tests that have no result yet, and write the table of docs/reliability.md.

    python -m tools.soak --minutes 60             # goes on with the next ones, for an hour
    python -m tools.soak --only signals fuzz      # these kinds alone; `fuzz` is all of fuzz-...
    python -m tools.soak --again --only memory    # once more

Ctrl-C and the limit of time end the test in progress, which is then run anew the next time; whatever is done is kept.
Exit code 1: a test has failed; 130: a signal ended it; 0 otherwise, also where the time did not suffice.
"""

import argparse
import subprocess
import sys
import time
from datetime import UTC, datetime

from combo_common.cli import run_cli
from combo_common.errors import UserError
from combo_common.lock import Lock
from tools.soak import page
from tools.soak.groups import ROOT, Ended, collected, grouped, run_group
from tools.soak.kinds import KINDS, chosen, sorted_out
from tools.soak.record import FAILED, Record

RECORD, PAGE = ROOT / "build" / "soak.json", ROOT / "docs" / "reliability.md"


def commit() -> str:
    """The short commit of this checkout, with `+` where a tracked file but the page itself differs from it."""
    try:
        short = _git("rev-parse", "--short=7", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", f":!{PAGE.relative_to(ROOT)}")
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError("the commit is not known; run the soak in a checkout of git") from error
    return f"{short}+" if changed else short


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def soak(record: Record, tests: list[str], until: float) -> str:
    """Run tests in groups and note what becomes of them; why it ended before all were run, or nothing."""
    for group in grouped(tests):
        if time.monotonic() >= until:
            return "the limit of time"
        at, why = commit(), ""
        try:
            results = run_group(group, until)
        except Ended as ended:
            results, why = ended.results, str(ended)
        record.note(results, at, datetime.now(UTC).date().isoformat(), page.machine())
        if why:
            return why
    return ""


def told(record: Record, kinds: dict[str, list[str]]) -> int:
    """Write the page and say what there is; how many tests have failed."""
    page.write(PAGE, page.section(kinds, record.tests))
    tests = [test for some in kinds.values() for test in some]
    failed = [test for test in tests if test in record.tests and record.tests[test].outcome == FAILED]
    for test in failed:
        print(f"failed: {test}: {record.tests[test].said}")
    there = sum(not record.lacks(test) for test in tests)
    print(f"{there} of {len(tests)} soak tests are done, {len(failed)} failed; {PAGE.relative_to(ROOT)} has the table")
    return len(failed)


def main() -> None:
    """Read the command line, run what is not there yet, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND", help=", ".join(kind.name for kind in KINDS))
    parser.add_argument("-k", metavar="TEXT", default="", help="only tests whose id has this text")
    parser.add_argument("--again", action="store_true", help="run what has a result, too, and replace that")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="end after this time, and keep what is done"
    )
    given = parser.parse_args()
    if not given.minutes >= 0:
        parser.error("--minutes is a number of minutes from 0 on")
    until = time.monotonic() + 60 * given.minutes
    try:
        names = [kind.name for kind in chosen(given.only)]
        kinds = sorted_out(collected())
    except ValueError as error:
        raise UserError(str(error)) from error
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    with Lock(RECORD.with_suffix(".lock"), "this checkout's soak"):
        record = Record(RECORD)
        page.write(PAGE, page.section(kinds, record.tests))  # before hours of work: can it be?
        asked = [test for name in names for test in kinds[name] if given.k in test]
        tests = [test for test in asked if given.again or record.lacks(test)]
        print(f"{len(tests)} soak tests to run, {len(asked) - len(tests)} have a result", flush=True)
        why = soak(record, tests, until)
        failed = told(record, kinds)
    if why:
        print(f"ended by {why}; the same command without --again goes on")
    sys.exit(130 if why == "a signal" else int(failed > 0))


if __name__ == "__main__":
    run_cli(main)
