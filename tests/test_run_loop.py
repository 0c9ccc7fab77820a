"""What drives a loop: clocks, Ctrl-C, the rate beside the machine's own, and how a command ends."""

import platform
import re
import subprocess
import time
from pathlib import Path

import pytest
import torch

from combo_common.cli import run_cli
from combo_common.errors import StoppedError, UserError
from combo_common.versions import PACKAGES, commit, named, versions
from latent_combo.numerics.flops import count_flops
from latent_combo.numerics.schedule import cosine
from latent_combo.runtime import speed
from latent_combo.runtime.clocks import Every, Timer
from latent_combo.runtime.speed import Meter, matmul_rate

CPU = torch.device("cpu")


def test_a_clock_strikes_at_every_nth_step_and_at_the_last() -> None:
    clock = Every(4, last=10)
    assert [step for step in range(1, 11) if clock(step)] == [4, 8, 10]


@pytest.mark.parametrize(("progress", "factor"), [(0.0, 1.0), (1 / 3, 0.775), (0.5, 0.55), (1.0, 0.1)])
def test_the_schedule_is_half_a_cosine(progress: float, factor: float) -> None:
    assert cosine(progress, final=0.1) == pytest.approx(factor)


def test_a_timer_adds_up_by_section_even_if_the_body_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 2.0, 10.0, 11.5, 20.0, 24.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    timer = Timer()
    with timer.section("data"):
        pass
    with timer.section("agent"):
        pass
    with pytest.raises(ValueError), timer.section("data"):
        raise ValueError
    assert timer.seconds == {"data": 6.0, "agent": 1.5}


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (UserError("no task `walk`; known: walker-walk"), 2, "error: no task `walk`; known: walker-walk\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (StoppedError("stopped and saved; continue with: it"), 130, "stopped and saved; continue with: it\n"),
        (None, 0, ""),
    ],
)
def test_a_command_ends_with_a_line_and_a_code(
    raised: BaseException | None, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        if raised:
            raise raised

    with pytest.raises(SystemExit) as ended:
        run_cli(main)
    assert ended.value.code == code
    assert capsys.readouterr().err == line


def test_what_is_nobodys_mistake_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_cli(lambda: print(1 // 0))


def test_operations_are_those_of_the_products() -> None:
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert count_flops(lambda: a @ b) == 2 * 3 * 5 * 7
    assert count_flops(lambda: torch.zeros(3, 7).addmm_(a, b)) == 2 * 3 * 5 * 7
    assert count_flops(lambda: torch.nn.functional.linear(a, b.t(), torch.zeros(7))) == 2 * 3 * 5 * 7
    layer, image = torch.nn.Conv2d(3, 8, 4, stride=2, bias=False), torch.ones(2, 3, 10, 10)
    with torch.no_grad():
        assert count_flops(lambda: layer(image)) == 2 * (3 * 4 * 4) * 8 * (4 * 4) * 2


def test_a_meter_compares_with_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "matmul_rate", lambda device: 1000.0)
    ticks = iter([0.0, 2.0, 5.0, 7.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    meter = Meter("frames", units_a_step=50, flops_a_step=600, device=CPU)
    for _ in range(2):
        with meter.step():
            pass
    assert meter.rate == 2 * 50 / 4
    assert meter.share == pytest.approx(2 * 600 / 4 / 1000)
    assert str(meter) == "25.0 frames/s (30% of matmul)"


def test_what_recording_took_is_no_steps_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "matmul_rate", lambda device: 1000.0)
    ticks = iter([0.0, 9.0, 9.0, 9.5, 10.0, 10.5, 10.5, 11.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
    meter = Meter("frames", units_a_step=50, flops_a_step=600, device=CPU)
    for captured in (8.0, 8.0):  # the first step was recorded for 8 seconds
        with meter.step():
            pass
        meter.wait(captured)
    assert meter.seconds == pytest.approx(1.0 + 0.5 + 0.5 + 0.5) and meter.rate == pytest.approx(2 * 50 / 2.5)


def test_the_machines_rate_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rate = matmul_rate(CPU)
    assert 1e8 < rate < 1e15
    monkeypatch.setattr(time, "perf_counter", lambda: pytest.fail("measured again"))
    assert matmul_rate(torch.device("cpu")) == rate


def test_versions_name_python_and_every_package() -> None:
    found = versions()
    assert found.keys() - {"commit"} == {"python", *PACKAGES}
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__


def test_a_checkouts_commit_is_named_and_what_is_none_has_none(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "file").write_text("a")
    for given in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"]):
        subprocess.run([*git, *given], check=True)
    commit.cache_clear()
    clean = commit(tmp_path)
    assert clean is not None and re.fullmatch("[0-9a-f]{12}", clean)
    (tmp_path / "file").write_text("b")
    commit.cache_clear()
    assert commit(tmp_path) == f"{clean}-dirty"
    assert named().startswith("latent-combo ")
