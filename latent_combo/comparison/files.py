"""What a comparison writes into its folder: compare.md, compare.csv, compare.json and pictures."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from combo_common.files import write_atomically
from combo_common.versions import versions
from latent_combo.comparison.markdown import page
from latent_combo.comparison.pictures import pictures
from latent_combo.comparison.published import PUBLISHED, SOURCE
from latent_combo.comparison.rows import Row
from latent_combo.comparison.summary import Summary

PAGE, TABLE, ALL = "compare.md", "compare.csv", "compare.json"
OF_RESULT = (
    *("episodes", "return_mean", "return_std", "normalised_score", "success_rate", "dataset_return_mean"),
    *("dataset_return_max", "random_return", "expert_return"),
)
"""Figures of a run's result that a row has; empty where there are none."""


def write(out: Path, rows: Sequence[Row], summary: Summary, table: int | None, drawn: bool = True) -> None:
    """Write all files, or those but the pictures, which take most of the time. Raises UserError where one can't be."""
    write_atomically(out / TABLE, as_csv(rows).encode())
    write_atomically(out / ALL, json.dumps(as_json(rows, summary, table), indent=2).encode())
    for name, png in pictures(rows, summary).items() if drawn else ():
        write_atomically(out / name, png)
    write_atomically(out / PAGE, page(rows, summary, table, drawn).encode())


def as_csv(rows: Sequence[Row]) -> str:
    """A line for each run. `returns` has every episode's: spaces between episodes, semicolons between agents."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_line(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_line, rows))
    return text.getvalue()


def _line(row: Row) -> dict[str, Any]:
    job, result = row.job, row.result
    agents = [] if result is None else [" ".join(map(repr, agent.returns)) for agent in result.agents]
    return {
        **{name: getattr(job, name) for name in ("label", "dataset", "task", "split", "obs", "algorithm", "seed")},
        "status": row.outcome.status,
        **{name: None if result is None else getattr(result, name) for name in OF_RESULT},
        "failed_episodes": None if result is None else len(result.failed),
        "returns": ";".join(agents),
        "error": row.outcome.error,
        "run": job.run,
        "command": job.command,
    }


def as_json(rows: Sequence[Row], summary: Summary, table: int | None) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "table": table,
        "versions": versions(),
        "runs": [{**_line(row), "returns": _returns(row), "interim": _interim(row)} for row in rows],
        "datasets": [asdict(cell) for cell in summary.cells.values()],
        "overall": {"datasets": summary.over, "measure": "normalised score", "algorithms": summary.overall},
        "improvement": [{"x": x, "y": y, **found} for (x, y), found in summary.improvements.items()],
        "published": {
            "source": SOURCE,
            "note": "of other datasets than ours",
            "figures": [asdict(figure) for figure in PUBLISHED if table in (None, figure.table)],
        },
    }


def _returns(row: Row) -> list[list[float]]:
    """Every episode's return, a list for each agent."""
    return [] if row.result is None else [agent.returns for agent in row.result.agents]


def _interim(row: Row) -> dict[str, Any]:
    """Scores during training: updates, and each agent's mean return after them."""
    return {} if row.result is None else asdict(row.result.evaluations)
