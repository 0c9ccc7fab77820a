"""What became of each soak test, in a file that is kept from one run of the soak to the next."""

import json
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass
from pathlib import Path

from combo_common.errors import UserError
from combo_common.files import write_atomically

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Result:
    """What became of one test."""

    outcome: str
    seconds: float
    figures: dict[str, float]
    said: str = ""
    """Of a failed or skipped one, the first line of why."""


@dataclass(frozen=True)
class Noted(Result):
    """A result, with what it is of."""

    commit: str = ""
    """Short; with `+` where files differed from it."""
    date: str = ""
    """Of the day on which it ended (UTC), as YYYY-MM-DD."""
    machine: str = ""
    failed_before: str = ""
    """The commit at which the last result that this one replaced was a failure; empty where it was none."""


class Record:
    """Results by the ids of their tests; each change is written at once."""

    def __init__(self, path: Path) -> None:
        """Read what is there. Raises UserError where that is no record."""
        self.path = path
        self.tests: dict[str, Noted] = {}
        try:
            said = json.loads(path.read_bytes()) if path.exists() else {"tests": {}}
            self.tests = {test: Noted(**noted) for test, noted in said["tests"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path} is no record of a soak; remove it to begin anew") from error

    def note(self, results: dict[str, Result], commit: str, date: str, machine: str) -> None:
        """Note results; those that are there of the same tests are replaced. Raises UserError where it can't."""
        for test, result in results.items():
            before = self.tests.get(test)
            failed = "" if before is None else before.commit if before.outcome == FAILED else before.failed_before
            self.tests[test] = Noted(**asdict(result), commit=commit, date=date, machine=machine, failed_before=failed)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        said = {"tests": {test: asdict(noted) for test, noted in self.tests.items()}}
        write_atomically(self.path, (json.dumps(said, indent=1) + "\n").encode())

    def lacks(self, test: str) -> bool:
        """Whether a test is still to be run; one that was skipped may be possible now."""
        return test not in self.tests or self.tests[test].outcome == SKIPPED


def read_junit(path: Path, tests: list[str]) -> dict[str, Result]:
    """The results of those of `tests` that pytest's report (`--junitxml`) has.

    A test that was interrupted has no name there, and none that the report does not have is in what is returned.
    """
    if not path.exists():
        return {}
    by_name = {_junit_name(test): test for test in tests}
    found: dict[str, Result] = {}
    for case in ET.parse(path).getroot().iter("testcase"):  # pytest's, of a moment ago
        test = by_name.get((case.get("classname", ""), case.get("name", "")))
        if test is not None and not (test in found and found[test].outcome == FAILED):  # an error while cleaning up
            found[test] = _result(case)
    return found


def _result(case: ET.Element) -> Result:
    why = {kind: case.find(kind) for kind in ("failure", "error", "skipped")}
    outcome = SKIPPED if why["skipped"] is not None else PASSED
    if why["failure"] is not None or why["error"] is not None:
        outcome = FAILED
    said = next((part.get("message", "") for part in why.values() if part is not None), "")
    figures = {part.get("name", ""): float(part.get("value", "nan")) for part in case.iter("property")}
    return Result(outcome, float(case.get("time", 0)), figures, " ".join(said.split())[:300])


def _junit_name(test: str) -> tuple[str, str]:
    """Class and name by which pytest's report has a test, of its id."""
    file, _, name = test.partition("::")
    return file.removesuffix(".py").replace("/", "."), name
