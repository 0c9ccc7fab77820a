"""All formats that are known. A new one is a file of its own, and a line here."""

from pathlib import Path

from combo_common.errors import UserError
from data.formats.base import Format
from data.formats.d4rl import D4RL
from data.formats.dreamer import Dreamer
from data.formats.lompo import Lompo
from data.formats.minari import Minari
from data.formats.own import Own
from data.formats.store import Store
from data.formats.vd4rl import VD4RL

FORMATS: list[Format] = [
    Own(),
    Minari(),
    Dreamer(),
    Lompo(),
    VD4RL(),
    D4RL(),
]
"""In the order in which a path is held against them: the first that matches is taken."""


def format_named(name: str) -> Format:
    """A format by its name. Raises UserError, with the known names, for another."""
    for known in FORMATS:
        if known.name == name:
            return known
    raise UserError(f"unknown format {name!r}; it is one of {', '.join(writable_names())}")


def writable_names() -> list[str]:
    """Names of the formats that can be written."""
    return [known.name for known in FORMATS if known.writable]


def format_of(path: Path) -> Format:
    """The format of a folder or file. Raises UserError for one that has none that is known."""
    for known in FORMATS:
        if known.matches(path):
            return known
    raise UserError(
        f"{path} is no dataset: it has no manifest.json, no episodes (*.npz), no shards (*.hdf5) and no files of "
        "Minari's; make one with data.collect or data.render, or name another"
    )


def file_suffixes() -> list[str]:
    """Suffixes of files that are a dataset each, without repetition."""
    return list(dict.fromkeys(suffix for known in FORMATS for suffix in known.suffixes))


def is_file_of_data(path: Path) -> bool:
    """Whether a path is named like a file that is a dataset."""
    return path.suffix.lower() in file_suffixes()


def format_that_keeps(name: str) -> Format | None:
    """The format whose store gives names of this form; None where there is none."""
    return next((known for known in FORMATS if known.store is not None and known.store.has(name)), None)


def stores() -> list[Store]:
    """All stores, in the order of their formats."""
    return [known.store for known in FORMATS if known.store is not None]
