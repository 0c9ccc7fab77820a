"""Files of settings, as YAML."""

import copy
import sys
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

from combo_common.errors import UserError
from latent_combo.runtime.renamed import line, with_new_names


def read_settings(path: Path) -> dict[str, Any]:
    """A file of settings, by the names that they have now. Raises UserError if it is none.

    A line on the standard error stream names what was renamed, once per file.
    """
    settings, found = with_new_names(read_mapping(path))
    if found:
        say(line(str(path), found))
    return settings


def has_old_names(path: Path) -> bool:
    """Whether a file has settings by names of before. Raises UserError if it is no file of settings."""
    return bool(with_new_names(read_mapping(path))[1])


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings by dotted names."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@cache
def say(text: str) -> None:
    """Print a line on the standard error stream, once."""
    print(text, file=sys.stderr)


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """What a YAML text says; a command line reads its preset five times, and parsing it took half of its time."""
    return yaml.safe_load(text)


def read_mapping(path: Path) -> dict[str, Any]:
    """A file of settings, by the names that it has. Raises UserError if it is none."""
    try:
        content = copy.deepcopy(_parsed(path.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not a YAML file of settings ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings; it needs lines such as `seed: 1`")
    return content
