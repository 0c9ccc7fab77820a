"""A finished run's `result.json`, read back."""

import json
from pathlib import Path
from typing import Any

from combo_common.commands import command
from combo_common.errors import UserError

RESULT = "result.json"
READ = (
    *("task", "obs", "dataset", "algorithm", "preset", "seed", "episodes", "agents", "seconds", "versions"),
    *("return_mean", "return_std", "normalised_score", "dataset_return_mean", "random_return", "expert_return"),
)
"""What pages and pictures read of it."""


def read_result(run: Path) -> dict[str, Any] | None:
    """What a run came to; None before its end. Raises UserError for a file that is damaged or of another version."""
    path = run / RESULT
    if not path.exists():
        return None
    remedy = f"score it anew: {command('train', '--resume', run)}"
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can not be read ({error}); {remedy}") from error
    if not isinstance(result, dict):
        raise UserError(f"{path} holds no result; {remedy}")
    if lacking := [name for name in READ if name not in result]:
        raise UserError(f"{path} is of another version of the program and lacks {', '.join(lacking)}; {remedy}")
    return result
