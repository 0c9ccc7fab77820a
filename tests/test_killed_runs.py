"""Runs that a real SIGKILL ends, at any moment and inside of saving, are those of one go."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from killed_runs import killed_while_saving
from test_checkpoint import names, saved, state_of, step_of

from latent_combo.runtime import checkpoint


def killed(folder: Path, seed: int, kills: int, *more: str) -> list[dict[str, Any]]:
    """What became of runs that were killed so often together."""
    tests = Path(__file__).parent
    words = [sys.executable, str(tests / "killed_runs.py"), str(folder), str(seed), str(kills), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def require_equal(runs: list[dict[str, Any]], kills: int, record: Callable[[str, object], None]) -> None:
    assert sum(run["kills"] for run in runs) == kills
    assert [run["other"] for run in runs] == [[] for _ in runs]
    assert all(run["resumed"] <= run["kills"] for run in runs)  # less where it was killed before it had begun
    record("kills", kills)
    record("runs", len(runs))
    record("equal", sum(run["equal"] for run in runs))


def test_a_run_that_sigkill_ends_twice_is_that_of_one_go(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    require_equal(killed(tmp_path, seed=0, kills=2), 2, record_property)


@pytest.mark.soak
@pytest.mark.parametrize("obs", ["state", "pixels"])
def test_20_of_20_runs_that_sigkill_ends_are_those_of_one_go(
    tmp_path: Path, obs: str, record_property: Callable[[str, object], None]
) -> None:
    require_equal(killed(tmp_path, 1, 20, obs, "drawn"), 20, record_property)


@pytest.mark.soak
def test_200_kills_inside_saving_leave_a_checkpoint_and_cost_an_interval_at_most(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    path, draw, step, kills, kept = saved(tmp_path, 10), random.Random(0), 10, 0, 0
    while kills < 200:
        call, child = draw.randrange(24), os.fork()
        if child == 0:
            with killed_while_saving(call):
                checkpoint.save(path, step + 10, state_of(step + 10))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        killed_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        assert killed_by == signal.SIGKILL or status == 0
        kills += killed_by == signal.SIGKILL
        reached = step_of(path)
        assert reached in (step, step + 10)
        checkpoint.sweep(path, None)
        assert 1 <= len(names(path)) <= 2
        step, kept = reached, kept + (killed_by == signal.SIGKILL)
    record_property("kills", kills)
    record_property("kept", kept)
