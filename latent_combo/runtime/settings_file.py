"""Files of settings, as YAML."""

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from combo_common.errors import UserError
from combo_common.plain_yaml import read_yaml
from latent_combo.runtime.renamed import line, with_new_names


def read_settings(path: Path) -> dict[str, Any]:
    """A file of settings, by the names that they have now. Raises UserError if it is none.

    A line on the standard error stream names what was renamed, once per file.
    """
    settings, found = with_new_names(read_mapping(path))
    if found:
        say(line(str(path), found))
    return settings


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


def read_mapping(path: Path) -> dict[str, Any]:
    """A file of settings, by the names that it has. Raises UserError if it is none."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings; it needs lines such as `seed: 1`")
    return content
