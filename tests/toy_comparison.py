"""Jobs and rows of a comparison that no run came to."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
from toy_results import a_result

from latent_combo.comparison.job import Job, Outcome
from latent_combo.comparison.rows import Row
from latent_combo.evaluation.interim import InterimScores
from latent_combo.evaluation.result import Result


def a_job(out: Path, script: str = "", **given: object) -> Job:
    """A job whose program is a script of Python, to which the arguments of `train` are given."""
    known: dict[str, Any] = {"label": "hopper-mini", "algorithm": "cql", "seed": 0, **given}
    run = str(out / str(known["label"]) / str(known["algorithm"]) / f"seed{known['seed']}")
    return Job(
        **{
            "dataset": known["label"],
            "task": "hopper",
            "split": "",
            "obs": "state",
            "run": run,
            "working_folder": str(out),
            "words": ("--out", run),
            "program": (sys.executable, "-c", script),
            **known,
        }  # type: ignore[arg-type]
    )


def a_run(returns: list[float], **of: object) -> Result:
    """The result of a run of one agent with the given returns."""
    made = a_result(np.asarray([returns]))
    steps = [100, 200, 300, 400]
    interim = InterimScores(steps=steps, returns=[[returns[0] * share] for share in (0.2, 0.6, 0.9, 1.0)])
    return dataclasses.replace(made, evaluations=interim, **of)  # type: ignore[arg-type]


def a_row(out: Path, returns: list[float] | None, error: str = "", **given: object) -> Row:
    """A row: a finished run with the given returns, or a failed one."""
    job = a_job(out, **given)
    if returns is None:
        return Row(job, Outcome("failed", error), None)
    return Row(job, Outcome("finished"), a_run(returns))
