"""`python tests/seeded_runs.py DATASET OUT SEED PROCESSES`: a toy run from states, in another process and locale.

The process takes the locale of its environment, as a program that embeds this one may do. Prints a line of JSON: the
locale's decimal mark, and what `trained` returns.
"""

import json
import locale
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import conftest  # noqa: F401  # chooses what draws, before mujoco is imported

from envs.registry import get_task

CHEETAH = replace(get_task("halfcheetah"), horizon=40)
"""It never falls, so that its episodes are as long as this."""


def trained(dataset: Path, out: Path, seed: int, processes: int) -> dict[str, Any]:
    """Train, score with so many processes, and return the digests of all that the run comes to, and its returns."""
    from killed_runs import digest  # here, for the processes that play import this module, and need no torch
    from test_run_killed import SMALL
    from toy_runs import undrawn

    from envs import builtin
    from latent_combo.config.command_line import parse
    from latent_combo.evaluation.result import Result
    from latent_combo.train import train

    own = ["--dataset", str(dataset), "--out", str(out), "--seed", str(seed), "--score.processes", str(processes)]
    with undrawn(), mock.patch.dict(builtin.BUILTIN, {CHEETAH.name: CHEETAH}):
        train(parse([*SMALL.split(), *own, "--views.every", "0"])[0])
    result = Result.read(out)
    assert result is not None
    return {"digests": digest(out), "returns": [agent.returns for agent in result.agents]}


if __name__ == "__main__":
    locale.setlocale(locale.LC_ALL, "")
    data, folder, number, count = sys.argv[1:]
    found = trained(Path(data), Path(folder), int(number), int(count))
    print(json.dumps({"decimal_mark": locale.localeconv()["decimal_point"], **found}))
