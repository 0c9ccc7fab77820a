"""The table of docs/reliability.md: what was run of the long counts, by which machine, and what came of it."""

import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from combo_common.errors import UserError
from combo_common.files import write_atomically
from tools.soak.kinds import KINDS, Figures, Kind
from tools.soak.record import FAILED, PASSED, SKIPPED, Noted

BEGIN, END = "<!-- soak: begin, written by make soak -->", "<!-- soak: end -->"
HEAD = ("what was done", "tests", "figures", "seconds", "commit", "date")


def machine() -> str:
    """Processor, cores, memory, Python and torch of this machine; nothing that names it."""
    fields: dict[str, str] = {}
    for file in ("/proc/cpuinfo", "/proc/meminfo"):
        for line in Path(file).read_text().splitlines() if Path(file).exists() else ():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    processor = fields.get("model name") or platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = f", {int(fields['MemTotal'].split()[0]) * 1024 / 1e9:.0f} GB of memory" if "MemTotal" in fields else ""
    return f"{processor}, {cores} cores{memory}; Python {platform.python_version()}, torch {version('torch')}"


def section(kinds: dict[str, list[str]], noted: dict[str, Noted]) -> str:
    """What stands between the markers: machines, and a row for each kind, of whose tests `kinds` has the ids."""
    results = [noted[test] for tests in kinds.values() for test in tests if test in noted]
    lines = [f"Machine: {name}.\n" for name in dict.fromkeys(result.machine for result in results)]
    lines += [_row(HEAD), _row(["---"] * len(HEAD))]
    failed: list[str] = []
    for kind in KINDS:
        tests = kinds[kind.name]
        lines.append(_row(cells(kind, [noted[test] for test in tests if test in noted], len(tests))))
        failed += [_failure(test, noted[test]) for test in tests if test in noted]
    return "\n".join([*lines, *(["", *failed] if (failed := [line for line in failed if line]) else []), ""])


def cells(kind: Kind, results: list[Noted], count: int) -> list[str]:
    """The row of a kind that has so many tests, of the results that there are."""
    of = [f"{sum(result.outcome == outcome for result in results)} {outcome}" for outcome in (PASSED, FAILED, SKIPPED)]
    tests = [f"{count} tests", *(said for said in of if not said.startswith("0 "))]
    if count > len(results):
        tests.append(f"{count - len(results)} not run" if results else "not run")
    passed = [result.figures for result in results if result.outcome == PASSED]
    figures = _figures(kind, passed) if passed else ""
    return [
        kind.done,
        ", ".join(tests).replace("1 tests", "1 test") if count == 1 else ", ".join(tests),
        figures,
        f"{sum(result.seconds for result in results):,.0f}" if results else "",
        _joined(result.commit for result in results),
        _joined(result.date for result in results),
    ]


def _figures(kind: Kind, passed: list[dict[str, float]]) -> str:
    try:
        return kind.told(Figures(passed))
    except (KeyError, ValueError):  # the tests of another commit may have measured something else
        return "figures not noted"


def _failure(test: str, result: Noted) -> str:
    if result.outcome == FAILED:
        case = re.search(r"case \d+", result.said)  # alone: what else was said may name this machine's folders
        return f"- Failed at {result.commit}: `{test}`{f' ({case[0]})' if case else ''}"
    if result.failed_before == result.commit:
        return f"- Failed at {result.commit} before it passed at the same commit: `{test}`"
    return ""


def _joined(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(word for word in words if word))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def write(page: Path, text: str) -> None:
    """Put a section between the markers of a page. Raises UserError where they are not there, once and in order."""
    whole = page.read_text() if page.exists() else ""
    if whole.count(BEGIN) != 1 or whole.count(END) != 1 or whole.index(BEGIN) > whole.index(END):
        raise UserError(f"{page} lacks the lines between which the soak's table stands; write {BEGIN} and {END} there")
    head, rest = whole.split(BEGIN)
    write_atomically(page, f"{head}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}".encode())
