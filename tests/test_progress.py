"""Progress in a log is a few lines, each of which says what it is of."""

import sys

import pytest

from combo_common import progress as module
from combo_common.progress import progress_bar


def test_a_log_gets_a_line_at_the_beginning_and_one_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress_bar(range(5000), desc="counting", unit="step", dynamic_ncols=True)) == list(range(5000))
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 2 and all(line.startswith("counting: ") for line in lines)
    assert "0/5000" in lines[0] and "5000/5000" in lines[1]


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.0)
    with progress_bar(desc="fitting", total=3) as bar:
        for _ in range(3):
            bar.update(1)
            bar.set_postfix_str("loss 1", refresh=False)
    text = capsys.readouterr().err
    assert "\r" not in text and text.count("fitting: ") >= 4 and "loss 1" in text


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress_bar(range(3), desc="counting")) == [0, 1, 2]
    assert "\r" in capsys.readouterr().err


def test_progress_may_be_switched_off(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress_bar(range(3), desc="counting", disable=True)) == [0, 1, 2]
    assert not capsys.readouterr().err
