"""Whether a run can be begun in a folder."""

import os
from pathlib import Path

from combo_common.errors import UserError
from latent_combo.runtime.run_command import run_command
from latent_combo.runtime.run_folder import SETTINGS


def require_new_run(run: Path) -> None:
    """Raise UserError where a run cannot be begun: one is there, or its folder cannot be made. Nothing is written."""
    if (run / SETTINGS).exists():
        resumed = run_command("train", run)
        raise UserError(f"{run} holds a run already; choose another --out, or go on with: {resumed}")
    there = next(place for place in (run.absolute(), *run.absolute().parents) if place.exists())
    if not there.is_dir():
        raise UserError(f"cannot write to {run}: {there} is a file; choose another --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to {run}: {there} allows no new files; choose another --out")
