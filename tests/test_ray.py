"""Jobs as tasks of Ray on this machine: outcomes, a worker that is killed, Ctrl-C. No job here trains anything."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_comparison_jobs import FINISHES, WAITS, out, signal_when
from toy_comparison import a_job

from combo_common.errors import StoppedError
from latent_combo.comparison.given import Resources
from latent_combo.comparison.job import Job, Outcome

pytest.importorskip("ray")
pytestmark = pytest.mark.slow  # Ray takes seconds to start

from latent_combo.comparison.ray_scheduler import RayScheduler  # noqa: E402  # it needs Ray

BEGINS = f"""
import os, pathlib, signal, sys, time
if "--resume" in sys.argv:
    {FINISHES.replace(chr(10), chr(10) + "    ")}
    sys.exit()
run = pathlib.Path(sys.argv[2])
(run / "config.yaml").touch()
def save(number, frame):
    (run / "saved").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
(run / "worker").write_text(str(os.getppid()))
time.sleep(60)
"""
"""Waits for its end at first, and saves; finishes when it is resumed."""
__all__ = ["out"]


def when(ready: Path, act: Callable[[], object]) -> None:
    """Do something once a file is there."""

    def wait() -> None:
        until = time.monotonic() + 60
        while not (ready.exists() and ready.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        act()

    threading.Thread(target=wait, daemon=True).start()


def test_all_jobs_run_and_one_whose_worker_is_killed_saves_and_goes_on(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [a_job(out, FINISHES), a_job(out, "exit('error: mend it')", seed=1), a_job(out, BEGINS, seed=2)]
    killed, outcomes = jobs[2].folder, dict[Job, Outcome]()
    when(killed / "worker", lambda: os.kill(int((killed / "worker").read_text()), signal.SIGKILL))
    before = signal.getsignal(signal.SIGTERM)
    RayScheduler(out, 2, Resources(cpus=1)).run(jobs, outcomes.__setitem__)
    assert {job.seed: (outcome.status, outcome.error) for job, outcome in outcomes.items()} == {
        **{0: ("finished", ""), 1: ("failed", "mend it"), 2: ("finished", "")}
    }
    assert (killed / "saved").exists()  # by SIGTERM, when its worker was gone
    assert "1 machine(s), 2 CPUs, 0 GPUs; each run has 1 CPUs, 0 GPUs" in capsys.readouterr().out
    assert not list(out.glob(".shared-*")) and signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_has_runs_save_what_they_have_and_begins_no_more(out: Path) -> None:
    jobs, outcomes = [a_job(out, WAITS, seed=seed) for seed in range(3)], dict[Job, Outcome]()
    signal_when(jobs[0].folder / "began", signal.SIGINT)
    with pytest.raises(StoppedError, match="2 of 3 runs were not begun"):
        RayScheduler(out, 1, Resources()).run(jobs, outcomes.__setitem__)
    assert [outcome.status for outcome in outcomes.values()] == ["stopped"]
    assert (jobs[0].folder / "saved").exists() and not jobs[1].folder.exists()
