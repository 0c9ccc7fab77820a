"""Where datasets are: the ones that come with the program, the user's data folder, and what their names tell."""

import os
from pathlib import Path

from combo_common.commands import command
from combo_common.errors import UserError
from combo_common.paths import given_path, home
from combo_common.suggest import alike, did_you_mean, nearest
from data import d4rl_download as published
from data.formats.manifest import MANIFEST_NAME
from data.formats.registry import file_suffixes, format_that_keeps, stores
from data.vd4rl_folders import published_folder, vd4rl_folders
from envs.registry import known_names as known_tasks
from envs.registry import whole_name

NAME_PARTS = 3
"""How many parts of a foreign folder's path may tell its task and split."""
COLLECTED = {"walker-walk": 300_000, "sawyer-door": 200_000, "sawyer-door-varied": 200_000}
"""Tasks from images that data.collect makes splits of, and the steps of their learners in the docs."""
EMBEDDED = Path(__file__).parent / "recordings"
"""Small recordings that come with the program."""


def default_data_dir() -> Path:
    """Name the folder of collected and decoded data: `$LATENT_COMBO_DATA`, or else `latent-combo` in the user's caches.

    Those are `$XDG_CACHE_HOME` or ~/.cache; a value that is empty or no absolute path counts as none, as the XDG Base
    Directory Specification has it. Raises UserError where neither is set and there is no home folder.
    """
    if told := os.environ.get("LATENT_COMBO_DATA"):
        return given_path(told)
    caches, own = Path(os.environ.get("XDG_CACHE_HOME", "")), home()
    if not caches.is_absolute():
        if own is None:
            raise UserError(
                "there is no home folder for datasets and caches; set LATENT_COMBO_DATA, or give --data-dir"
            )
        caches = own / ".cache"
    return given_path(caches / "latent-combo")


def known_names(data_dir: Path) -> dict[str, Path]:
    """Datasets that can be named: those that come with the program, those in `data_dir`, then V-D4RL's in it."""
    known = vd4rl_folders(data_dir)
    for parent in (data_dir, EMBEDDED):
        known |= {manifest.parent.name: manifest.parent for manifest in sorted(parent.glob(f"*/{MANIFEST_NAME}"))}
        known |= {file.stem: file for suffix in file_suffixes() for file in sorted(parent.glob(f"*{suffix}"))}
    return known


def unknown(name: str, data_dir: Path) -> UserError:
    """The error for a name that no dataset has: the nearest known ones, and how one of this name could be made."""
    names = [*known_names(data_dir), *(known for store in stores() for known in store.known())]
    like = alike(name, names, 3, 0.3)
    meant = did_you_mean(nearest(name, like))
    known = f"{meant or ';'} {'Known' if meant else 'known'} names like it: {', '.join(like)}" if like else ""
    if given_path(name).exists():
        raise_for = "is there, but it is no folder or file of a dataset that can be read here"
        return UserError(f"{name} {raise_for}; name a folder, an HDF5 file, or a name in {data_dir}")
    return UserError(
        f"there is no dataset {name!r}, neither as a folder or file nor by name in {data_dir}{known}; "
        "give the path of a dataset of this project, of V-D4RL, DreamerV2, LOMPO, D4RL or Minari"
        f"{_where_published(name, data_dir)}{_how_to_collect(name, data_dir)}"
    )


def _where_published(name: str, data_dir: Path) -> str:
    """Where V-D4RL's folder of a name would be found, as the end of a sentence."""
    folder = published_folder(name)
    return "" if folder is None else f", or put V-D4RL's folder to {data_dir / folder}"


def _how_to_collect(name: str, data_dir: Path) -> str:
    """The command that makes a dataset of a task and split that are known, as the end of a sentence."""
    for task in (*published.ROBOTS, *COLLECTED):  # others are relabelled from these
        split = name.removeprefix(f"{task}-")
        if split != name and split in (*published.SPLITS, "replay"):
            suffix, steps = (".hdf5" if task in published.ROBOTS else ""), COLLECTED.get(task, 300_000)
            out = f"{data_dir / name}{suffix}"
            return f", or collect it: {command('data.collect', task, split, out, '--steps', steps)}"
    return ""


def task_by_name(name_or_path: str) -> str | None:
    """The task that a dataset's name tells; None where it tells none."""
    keeper = format_that_keeps(name_or_path)
    told = None if keeper is None or keeper.store is None else keeper.store.task(name_or_path)
    told = told or _longest(known_tasks(), name_or_path)
    return None if told is None else whole_name(told)


def split_by_name(name_or_path: str) -> str:
    """Which of D4RL's splits a dataset's name tells; empty where it tells none."""
    return _longest(published.SPLITS, name_or_path) or ""


def _longest(words: list[str] | tuple[str, ...], name_or_path: str) -> str | None:
    """The longest of some words that a name has: some hold another."""
    said = f"-{_words(name_or_path)}-"
    return next((word for word in sorted(words, key=len, reverse=True) if f"-{word}-" in said), None)


def _words(name_or_path: str) -> str:
    """The name of a dataset, its words set apart by dashes: without the folders that it lies in.

    Of a folder that does not say what it is, such as V-D4RL's walker_walk/medium/64px, those above tell.
    """
    path = Path(name_or_path)
    unsaid = path.is_dir() and not (path / MANIFEST_NAME).exists()
    stored = format_that_keeps(name_or_path) is not None
    name = name_or_path if stored else "/".join(path.parts[-NAME_PARTS:]) if unsaid else path.name
    name = name.lower()
    for suffix in file_suffixes():
        name = name.removesuffix(suffix)
    return name.replace("_", "-").replace("/", "-")
