"""Where datasets are: the ones that come with the program, the user's data folder, and any path."""

import difflib
import os
from pathlib import Path

from data.manifest import NAME
from envs.tasks import Task
from latent_combo.run.errors import UserError

EMBEDDED = Path(__file__).parent / "recordings"
"""Small recordings that come with the program."""


def default_data_dir() -> Path:
    """Name the folder of collected and decoded data: `$LATENT_COMBO_DATA`, or else ~/.cache/latent-combo."""
    return Path(os.environ.get("LATENT_COMBO_DATA") or Path.home() / ".cache" / "latent-combo").expanduser()


def known_names(data_dir: Path) -> dict[str, Path]:
    """Datasets that can be named: those that come with the program, then those in `data_dir`."""
    return {
        manifest.parent.name: manifest.parent
        for parent in (data_dir, EMBEDDED)
        for manifest in sorted(parent.glob(f"*/{NAME}"))
    }


def resolve(name_or_path: str, task: Task | None, data_dir: Path) -> Path:
    """Find the folder of a dataset.

    A name is looked for in what comes with the program and in `data_dir`; with a task, "medium-replay" will do for
    "walker-walk-medium-replay". Raises UserError, with the nearest known names, if there is no such dataset.
    """
    names = known_names(data_dir)
    short = [f"{task.name}-{name_or_path}"] if task is not None else []
    for name in (name_or_path, *short):
        if name in names:
            return names[name]
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    nearest = difflib.get_close_matches(name_or_path, names, n=3, cutoff=0.3) or sorted(names)
    known = f"; known names: {', '.join(nearest)}" if nearest else ""
    raise UserError(
        f"there is no dataset {name_or_path!r}, neither as a folder nor by name in {data_dir}{known}; "
        "give the path of a folder that holds a manifest.json"
    )
