"""`make soak`: results are kept, what has none is run, and the page tells what there is."""

import json
import signal
import sys
import time
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from combo_common.errors import UserError
from combo_common.lock import Lock
from tools.soak import __main__ as tool
from tools.soak import groups, page
from tools.soak.groups import Ended, run_group
from tools.soak.kinds import KINDS, chosen, sorted_out
from tools.soak.record import FAILED, PASSED, SKIPPED, Record, Result, read_junit

STATES, PIXELS, SAVING, SETTINGS = (
    "tests/test_killed_runs.py::test_20_of_20_runs_that_sigkill_ends_are_those_of_one_go[state]",
    "tests/test_killed_runs.py::test_20_of_20_runs_that_sigkill_ends_are_those_of_one_go[pixels]",
    "tests/test_killed_runs.py::test_200_kills_inside_saving_leave_a_checkpoint",
    "tests/test_fuzz_untrusted.py::test_settings[state-soak-1]",
)
D4RL = [f"tests/test_fuzz.py::test_a_file_of_d4rls_layout[soak-{part}]" for part in (1, 2, 3)]
TESTS = [STATES, PIXELS, SAVING, *D4RL, SETTINGS]
PARTS = {
    D4RL[0]: {"cases": 1200, "refused": 700, "slowest_ms": 31.4, "growth_mb": 2.5},
    D4RL[1]: {"cases": 1200, "refused": 600, "slowest_ms": 12.0, "growth_mb": 3.5},
}
MACHINE = "Some Processor 9000, 2 cores, 8 GB of memory; Python 3.12.1, torch 2.9.0"


def passed(figures: dict[str, float]) -> Result:
    return Result(PASSED, 60.0, figures)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """Two of three parts of a reader, one kind that passed and one that failed."""
    record = Record(tmp_path / "build" / "soak.json")
    record.note({test: passed(figures) for test, figures in PARTS.items()}, "aaaaaaa", "2026-01-01", MACHINE)
    said = "AssertionError: state, case 4321, which lies at /home/somebody/case.txt: 1.2 s"
    record.note({SETTINGS: Result(FAILED, 5.0, {}, said)}, "bbbbbbb+", "2026-01-02", MACHINE)
    record.note({STATES: passed({"kills": 20, "runs": 5, "equal": 5})}, "bbbbbbb", "2026-01-03", MACHINE)
    return record


def row(text: str, done: str) -> list[str]:
    """The cells of what was done."""
    (found,) = [line for line in text.splitlines() if line.startswith(f"| {done} |")]
    return [cell.strip() for cell in found.split("|")[2:-1]]


def test_the_table_has_tests_figures_seconds_commits_and_days_of_each_kind(record: Record) -> None:
    text = page.section(sorted_out(TESTS), record.tests)
    assert text.startswith(f"Machine: {MACHINE}.\n") and text.count("Machine") == 1
    figures = "2,400 cases, 1,300 refused, slowest 31 ms, memory grew by 3.5 MB"
    assert row(text, "damaged files: D4RL") == [
        "3 tests, 2 passed, 1 not run",
        figures,
        "120",
        "aaaaaaa",
        "2026-01-01",
    ]
    assert row(text, "SIGKILL of whole runs of states")[:2] == ["1 test, 1 passed", "20 kills, 5 of 5 runs equal"]
    assert row(text, "SIGKILL of whole runs of images") == ["1 test, not run", "", "", "", ""]


def test_a_failed_test_is_named_with_its_case_and_without_folders(record: Record) -> None:
    text = page.section(sorted_out(TESTS), record.tests)
    assert row(text, "hostile settings") == ["1 test, 1 failed", "", "5", "bbbbbbb+", "2026-01-02"]
    assert f"- Failed at bbbbbbb+: `{SETTINGS}` (case 4321)" in text and "/home" not in text


def test_a_failure_stays_told_when_the_same_commit_passes_later(record: Record) -> None:
    figures = passed({"cases": 500, "refused": 10, "slowest_ms": 1.0, "growth_mb": 0.0})
    record.note({SETTINGS: figures}, "bbbbbbb+", "2026-01-04", MACHINE)
    assert f"- Failed at bbbbbbb+ before it passed at the same commit: `{SETTINGS}`" in page.section(
        sorted_out(TESTS), Record(record.path).tests
    )
    record.note({SETTINGS: figures}, "ccccccc", "2026-01-05", MACHINE)
    assert "- Failed" not in page.section(sorted_out(TESTS), record.tests)


def test_figures_that_a_test_lacks_are_said_to_lack(record: Record) -> None:
    record.note({D4RL[2]: passed({"cases": 1200})}, "ccccccc", "2026-01-05", MACHINE)
    cells = row(page.section(sorted_out(TESTS), record.tests), "damaged files: D4RL")
    assert cells[:2] == ["3 tests, 3 passed", "figures not noted"] and cells[3] == "aaaaaaa, ccccccc"


def junit(path: Path, *cases: str) -> Path:
    path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return path


def case(test: str, inside: str = "") -> str:
    file, _, name = test.partition("::")
    where = file.removesuffix(".py").replace("/", ".")
    return f'<testcase classname="{where}" name={quoteattr(name)} time="1.5">{inside}</testcase>'


def test_results_are_read_from_pytests_report(tmp_path: Path) -> None:
    properties = '<properties><property name="kills" value="20"/></properties>'
    report = junit(
        tmp_path / "report.xml",
        case(STATES, properties),
        case(PIXELS, properties + '<failure message="AssertionError:&#10; case 7">trace</failure>'),
        case(SAVING, '<skipped message="no mount"/>'),
        case(SETTINGS),
        case(SETTINGS, '<error message="while cleaning up"/>'),
        '<testcase time="0.1"/>',  # interrupted
        case("tests/test_other.py::test_of_somebody_else"),
    )
    assert read_junit(report, TESTS) == {
        STATES: Result(PASSED, 1.5, {"kills": 20.0}),
        PIXELS: Result(FAILED, 1.5, {"kills": 20.0}, "AssertionError: case 7"),
        SAVING: Result(SKIPPED, 1.5, {}, "no mount"),
        SETTINGS: Result(FAILED, 1.5, {}, "while cleaning up"),
    }
    assert read_junit(tmp_path / "none.xml", TESTS) == {}


def test_the_report_of_a_real_pytest_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With parameters and figures; where Ctrl-C or the limit of time ends it, and where a test kills it."""
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_some.py").write_text(
        "import os, signal, pytest\n"
        "@pytest.mark.parametrize('word', ['a b', \"it's\"])\n"
        "def test_word(word, record_property): record_property('figure', 1.5)\n"
        "def test_dies(): os.kill(os.getpid(), signal.SIGKILL)\n"
        "def test_is_interrupted():\n"
        "    os.kill(os.getppid(), signal.SIGINT)\n"
        "    signal.pause()\n"
    )
    monkeypatch.setattr(groups, "ROOT", tmp_path)
    monkeypatch.setattr(groups, "PYTEST", (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it begins sooner
    names = ("word[a b]", "word[it's]", "dies", "is_interrupted")
    one, other, dies, interrupted = (f"tests/test_some.py::test_{name}" for name in names)
    results = run_group([one, dies, other], float("inf"))
    assert {test: result.outcome for test, result in results.items()} == {one: PASSED, other: PASSED, dies: FAILED}
    assert results[other].figures == {"figure": 1.5} and "exit code -9" in results[dies].said
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist has another, or a shell ignores it
    try:
        with pytest.raises(Ended, match="a signal") as ended:
            run_group([one, interrupted, other], float("inf"))
        assert set(ended.value.results) == {one}
        with pytest.raises(Ended, match="the limit of time") as ended:
            run_group([one], time.monotonic())
        assert not ended.value.results
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Record) -> list[list[str]]:
    """The command in a folder of its own, whose groups all pass; a list of those that were run."""
    ran: list[list[str]] = []

    def run(tests: list[str], until: float) -> dict[str, Result]:
        ran.append(tests)
        return {test: passed({"kills": 20, "runs": 5, "equal": 5, "kept": 20}) for test in tests}

    (tmp_path / "page.md").write_text(f"# Before\n\n{page.BEGIN}\nold\n{page.END}\n\nafter\n")
    for name, value in {
        "RECORD": record.path,
        "PAGE": tmp_path / "page.md",
        "ROOT": tmp_path,
        "collected": lambda: TESTS,
        "run_group": run,
        "commit": lambda: "ddddddd",
    }.items():
        monkeypatch.setattr(tool, name, value)
    return ran


def soak(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr(sys, "argv", ["soak", *words])
    with pytest.raises(SystemExit) as left:
        tool.main()
    return left.value.code


def test_what_has_a_result_is_not_run_again_unless_asked_for(
    command: list[list[str]], tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert soak(monkeypatch, "--only", "kills", "fuzz") == 1  # of before: the settings
    assert command == [[PIXELS, SAVING, D4RL[2]]]
    text = (tmp_path / "page.md").read_text()
    assert text.startswith(f"# Before\n\n{page.BEGIN}\n\nMachine: ") and text.endswith(f"{page.END}\n\nafter\n")
    assert row(text, "SIGKILL of whole runs of states")[3] == "bbbbbbb" and "old" not in text
    assert soak(monkeypatch, "--again", "--only", "kills", "-k", "[state]") == 1
    assert command[1:] == [[STATES]] and Record(record.path).tests[STATES].commit == "ddddddd"
    assert soak(monkeypatch, "--only", "settings", "--again") == 0


def test_what_was_done_before_an_end_is_kept_and_told(
    command: list[list[str]], tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(tests: list[str], until: float) -> dict[str, Result]:
        raise Ended("a signal", {tests[0]: passed({"kills": 20, "runs": 5, "equal": 5})})

    with monkeypatch.context() as patched:
        patched.setattr(tool, "run_group", ended)
        assert soak(monkeypatch, "--only", "kills") == 130
    assert row((tmp_path / "page.md").read_text(), "SIGKILL of whole runs of images")[0] == "1 test, 1 passed"
    soak(monkeypatch, "--only", "kills")
    assert command == [[SAVING]]
    soak(monkeypatch, "--again", "--minutes", "0")
    assert command == [[SAVING]]


@pytest.mark.parametrize("text", ["", page.BEGIN, f"{page.END}\n{page.BEGIN}", 2 * f"{page.BEGIN}\n{page.END}\n"])
def test_a_page_without_the_two_markers_is_refused_before_anything_is_run(
    text: str, command: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.md").write_text(text)
    monkeypatch.setattr(sys, "argv", ["soak"])
    with pytest.raises(UserError, match=r"page\.md lacks the lines between which") as error:
        tool.main()
    assert "\n" not in str(error.value) and not command and (tmp_path / "page.md").read_text() == text


def test_two_at_once_would_lose_each_others_results(
    command: list[list[str]], record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["soak"])
    with (
        Lock(record.path.with_suffix(".lock"), "the test"),
        pytest.raises(UserError, match="this checkout's soak is in use by"),
    ):
        tool.main()
    assert not command


@pytest.mark.parametrize("content", ["", "[]", '{"tests": {"a": {"outcome": "passed"}}}', '{"tests": {"a": 5}}'])
def test_a_record_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "soak.json").write_text(content)
    with pytest.raises(UserError, match=r"soak\.json is no record of a soak; remove it"):
        Record(tmp_path / "soak.json")


def test_every_kind_is_asked_for_by_its_name_and_every_test_is_of_one(record: Record) -> None:
    assert [kind.name for kind in chosen(["settings", "kills-states"])] == ["kills-states", "settings"]
    assert len(chosen(["fuzz"])) == 8 and chosen([]) == list(KINDS)
    with pytest.raises(ValueError, match="no kind of soak is called kill; they are kills-states, "):
        chosen(["kill"])
    with pytest.raises(ValueError, match=r"test_new is of 0 kinds of soak; mend KINDS"):
        sorted_out([STATES, "tests/test_new.py::test_new"])


def test_the_kinds_have_the_soak_tests_of_this_checkout() -> None:
    """By the names of functions, since collecting takes long: what a kind begins with is there, and all are of one."""
    marked = [
        f"tests/{file.name}::{line.split('(')[0].removeprefix('def ')}"
        for file in Path(__file__).parent.glob("test_*.py")
        if file.name.startswith("test_soak_") and file != Path(__file__)
        for line in file.read_text().splitlines()
        if line.startswith("def test_")
    ]
    sorted_out(marked)
    for kind in KINDS:
        for start in kind.tests:
            file, _, function = start.partition("::")
            assert f"def {function.partition('[')[0]}" in (Path(__file__).parents[1] / file).read_text(), start


def test_the_machine_is_told_without_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    monkeypatch.setattr(platform, "node", lambda: pytest.fail("asked for its name"))
    assert "cores" in page.machine() and "Python 3." in page.machine() and "torch 2." in page.machine()


def test_the_record_is_read_back_as_it_was(record: Record) -> None:
    assert Record(record.path).tests == record.tests and not record.lacks(STATES) and record.lacks(PIXELS)
    record.note({STATES: Result(SKIPPED, 0.1, {}, "no mount")}, "ddddddd", "2026-01-06", MACHINE)
    assert record.lacks(STATES) and json.loads(record.path.read_text())["tests"][STATES]["said"] == "no mount"
