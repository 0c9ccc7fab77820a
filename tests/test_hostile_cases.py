"""A hostile case at which a reader fails is named by its number; the parts of a soak have each case once."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import hostile_cases
import pytest
from hostile_cases import PARTS, Tally, cases_of, refused_or_read
from test_fuzz import fuzzed

from combo_common.errors import UserError


def fails() -> None:
    raise ValueError("no line")


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("how, said", [(fails, "ValueError.*no line"), (dies, r"the process died \(SIGKILL\)")])
def test_the_number_of_a_failing_case_is_told(how: Callable[[], None], said: str, tmp_path: Path) -> None:
    made: list[int] = []

    def read() -> None:
        if made[-1] == 1207:
            how()
        if made[-1] % 2:
            raise UserError("refused")

    with pytest.raises(AssertionError, match=rf"(?s)\Acase 1207.*{said}"):
        refused_or_read(range(1200, 1300), made.append, read, tmp_path)
    path = tmp_path / "own" / "file"
    path.parent.mkdir()
    at = []

    def read_bytes(content: bytes) -> tuple[()]:
        at.append(content)
        if len(at) == 2 + 7:  # after the whole file, and seven cases
            how()
        return ()

    with pytest.raises(AssertionError, match=rf"(?s)\Aown, case 1207.*{said}"):
        fuzzed("own", range(1200, 1300), path, [b"content"], read_bytes)


def test_the_case_that_takes_too_much_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match=r"case 7: 1\.5 s"):
        Tally().add("case 7", 1.5, refused=True)
    monkeypatch.setattr(hostile_cases, "MOST_GROWTH", 0)
    with pytest.raises(AssertionError, match="case 8: with it resident memory has grown by 0 MB"):
        Tally().add("case 8", 0.1, refused=True)


def test_figures_are_those_of_all_cases() -> None:
    tally = Tally()
    for number, refused in enumerate((True, False, True)):
        tally.add(f"case {number}", 0.001 * (number + 1), refused)
    assert tally.figures() == {"cases": 3, "refused": 2, "slowest_ms": 3.0, "growth_mb": pytest.approx(0, abs=50)}
    only = Tally()
    only.add("case 0", 0.1, refused=True)
    with pytest.raises(AssertionError, match="1 of 1 were refused"):
        only.figures()
    assert only.figures(first=False)["refused"] == 1


def test_the_parts_of_a_soak_have_each_case_once() -> None:
    parts = [cases_of(part, 40, 1234) for part in range(PARTS)]
    assert [case for part in parts for case in part] == list(range(1234)) and cases_of(None, 40, 1234) == range(40)
