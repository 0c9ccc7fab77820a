"""Paths that a user gives: `~` is the home folder, and names are text."""

import os
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from combo_common.errors import UserError

MOST_BYTES_OF_NAME, MOST_BYTES = 255, 4095
"""Of a file's name and of a path, as Linux and most file systems have it."""


def given_path(given: str | PathLike[str]) -> Path:
    """A path as the user means it: `~` and `~name` are home folders.

    Raises UserError for a name with bytes that are not UTF-8, which no file of settings or results can hold, for one
    that is longer than file systems have it, and where nobody knows the home folder.
    """
    text = os.fspath(given)
    require_text([text])
    if len(text.encode()) > MOST_BYTES or any(len(part.encode()) > MOST_BYTES_OF_NAME for part in Path(text).parts):
        raise UserError(f"{text[:40]!r}... is longer than a path can be; give a shorter one")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{text} begins with a home folder that is not known here; write the path out, or ./{text} for a folder "
            "of that name"
        ) from error


def path_text(given: str) -> str:
    """The same as text, where it may be a name or an id, too: what does not begin with `~` stays as it is."""
    require_text([given])
    return str(given_path(given)) if given.startswith("~") else given


def leads_out(folder: Path, path: Path) -> bool:
    """Whether what lies in a folder by its name is a link to a place outside of it, or in a folder that is one."""
    return not path.resolve().is_relative_to(folder.resolve())


def require_text(words: Iterable[str]) -> None:
    """Raise UserError for a word with bytes that are not UTF-8, or with a zero byte."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{_shown(word)} has bytes that are not UTF-8, which files of settings and results can not hold; "
                "rename it, or give another path"
            ) from error
        if "\0" in word:
            raise UserError(f"{word!r} has a zero byte, which no path holds; leave it out")


def _shown(word: str) -> str:
    """A word that is no text, with its bytes written out, or where it has none its surrogates."""
    try:
        return word.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return word.encode("utf-8", "backslashreplace").decode()


def home() -> Path | None:
    """The user's home folder; None without $HOME and without an entry among the system's users, as in containers."""
    try:
        return Path.home()
    except RuntimeError:
        return None
