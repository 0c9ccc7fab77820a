"""Symbols that not every console can show."""

import io
import sys

import pytest

from combo_common.symbols import plus_minus


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "±"), ("latin-1", "±"), ("ascii", "+-"), ("cp932", "±")])
def test_a_deviation_is_printed_as_the_console_can(encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    assert plus_minus(stream) == shown
    monkeypatch.setattr(sys, "stdout", stream)
    print(f"405.0 {plus_minus()} 271.1", flush=True)


def test_text_in_memory_takes_all_and_no_output_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plus_minus(io.StringIO()) == "±"
    monkeypatch.setattr(sys, "stdout", None)
    assert plus_minus() == "±"
