"""Where datasets are: the ones that come with the program, the user's data folder, D4RL's own, and any path."""

import difflib
import json
import os
from pathlib import Path

from combo_common.commands import command
from combo_common.errors import UserError
from data import d4rl_download as published
from data.formats.d4rl import SUFFIXES, is_d4rl, read_metadata
from data.formats.manifest import NAME
from data.formats.minari import is_minari
from envs.tasks import TASKS, Task

ABOVE = 3
"""How many parts of a foreign folder's path may tell its task and split."""
COLLECTED = {"walker-walk": 300_000, "sawyer-door": 200_000, "sawyer-door-varied": 200_000}
"""Tasks from images that data.collect makes splits of, and the steps of their learners in the docs."""
EMBEDDED = Path(__file__).parent / "recordings"
"""Small recordings that come with the program."""


def default_data_dir() -> Path:
    """Name the folder of collected and decoded data: `$LATENT_COMBO_DATA`, or else ~/.cache/latent-combo."""
    return Path(os.environ.get("LATENT_COMBO_DATA") or Path.home() / ".cache" / "latent-combo").expanduser()


def known_names(data_dir: Path) -> dict[str, Path]:
    """Datasets that can be named: those that come with the program, then those in `data_dir`."""
    known: dict[str, Path] = {}
    for parent in (data_dir, EMBEDDED):
        known |= {manifest.parent.name: manifest.parent for manifest in sorted(parent.glob(f"*/{NAME}"))}
        known |= {file.stem: file for suffix in SUFFIXES for file in sorted(parent.glob(f"*{suffix}"))}
    return known


def find(name_or_path: str, task: Task | None, data_dir: Path) -> Path | None:
    """The folder or file of a dataset on this machine; None where there is none.

    A name is looked for in what comes with the program and in `data_dir`, D4RL's also in D4RL's own folder; with a
    task, "medium-replay" will do for "walker-walk-medium-replay".
    """
    names = known_names(data_dir)
    short = [f"{task.name}-{name_or_path}"] if task is not None else []
    for name in (name_or_path, *short):
        if name in names:
            return names[name]
        if published.NAME.fullmatch(name) and (found := published.find_published(name, data_dir)):
            return found
    path = Path(name_or_path).expanduser()
    return path if path.is_dir() or (is_d4rl(path) and path.is_file()) else None


def resolve(name_or_path: str, task: Task | None, data_dir: Path) -> Path:
    """`find`, or download where it is one of D4RL's names.

    Raises UserError, with the nearest known names, if there is no such dataset.
    """
    if (path := find(name_or_path, task, data_dir)) is not None:
        return path
    if published.NAME.fullmatch(name_or_path):
        return published.download(name_or_path, data_dir)
    names = [*known_names(data_dir), *published.published_names()]
    nearest = difflib.get_close_matches(name_or_path, names, n=3, cutoff=0.3)
    known = f"; known names: {', '.join(nearest)}" if nearest else ""
    raise UserError(
        f"there is no dataset {name_or_path!r}, neither as a folder or file nor by name in {data_dir}{known}; "
        "give the path of a dataset of this project, of V-D4RL, DreamerV2, LOMPO, D4RL or Minari"
        f"{_how_to_collect(name_or_path, data_dir)}"
    )


def _how_to_collect(name: str, data_dir: Path) -> str:
    """The command that makes a dataset of a task and split that are known, as the end of a sentence."""
    for task in (*published.ROBOTS, *COLLECTED):  # others are relabelled from these
        split = name.removeprefix(f"{task}-")
        if split != name and split in (*published.SPLITS, "replay"):
            suffix, steps = (".hdf5" if task in published.ROBOTS else ""), COLLECTED.get(task, 300_000)
            out = f"{data_dir / name}{suffix}"
            return f", or collect it: {command('data.collect', task, split, out, '--steps', steps)}"
    return ""


def infer_task(name_or_path: str, data_dir: Path) -> str | None:
    """The task that a dataset is of, by what it says of itself or by its name; None where neither tells."""
    if (said := _said(name_or_path, data_dir, "task")) in TASKS:
        return said
    words = f"-{_words(name_or_path)}-"
    return next((task for task in sorted(TASKS, key=len, reverse=True) if f"-{task}-" in words), None)


def infer_split(name_or_path: str, data_dir: Path) -> str:
    """Which of D4RL's splits a dataset is, by what it says of itself or by its name; empty where it is none of them."""
    said = _said(name_or_path, data_dir, "split")
    if said is not None:
        return said if said in published.SPLITS else ""
    # the longest first: some names hold another's
    words = f"-{_words(name_or_path)}-"
    return next((split for split in sorted(published.SPLITS, key=len, reverse=True) if f"-{split}-" in words), "")


def _words(name_or_path: str) -> str:
    """The name of a dataset, its words set apart by dashes: without the folders that it lies in.

    Of a folder that does not say what it is, such as V-D4RL's walker_walk/medium/64px, those above tell.
    """
    path = Path(name_or_path)
    unsaid = path.is_dir() and not (path / NAME).exists()
    name = name_or_path if is_minari(name_or_path) else "/".join(path.parts[-ABOVE:]) if unsaid else path.name
    return name.lower().removesuffix(".hdf5").removesuffix(".h5").replace("_", "-").replace("/", "-")


def _said(name_or_path: str, data_dir: Path, key: str) -> str | None:
    """What the manifest or the metadata of a dataset on this machine has under a key; None where there is nothing."""
    path = find(name_or_path, None, data_dir)
    if path is None:
        return None
    try:
        known = json.loads((path / NAME).read_text()) if path.is_dir() else read_metadata(path)
        said = known.get(key)
    except (OSError, ValueError, AttributeError, RecursionError, UserError):
        return None  # reading it for training says what is wrong with it
    return said if isinstance(said, str) else None
