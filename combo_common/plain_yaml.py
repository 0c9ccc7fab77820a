"""YAML without what can do harm: of settings, from files and command lines that nobody vouches for.

Refused are tags (which name classes), anchors and aliases (ten lines of which make a billion values), nesting, sizes
and counts that settings never have, names that are no text, and names that are there twice. Dates are text.
"""

import copy
import stat
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from combo_common.errors import UserError
from combo_common.reason import reason

MOST_BYTES = 1 << 20
"""Of a file."""
MOST_EVENTS = 20_000
"""Values, names, and ends of groups; a run's settings have some 400."""
MOST_NESTED = 20
"""Groups in groups."""
MOST_ITEMS = 256
"""Of a list; a stack has no more agents. The parser of settings takes time that grows with their square."""
MOST_LETTERS = 4096
"""Of a value or a name; a path has no more."""
NUMBERS = range(-(1 << 63), 1 << 64)
"""Whole numbers that others than Python have, too."""
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DATE = "tag:yaml.org,2002:timestamp"


class _RefusedError(ValueError):
    """What is wrong, which the caller's line goes on with."""


class _Loader(_Base):  # type: ignore[misc]  # libyaml's, ten times as fast, where it is installed
    """Mappings have text for names, each once."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # as yaml has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
        for first, resolvers in _Base.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping. Raises _RefusedError for a name that is no text, or is there twice."""
        made: dict[Hashable, Any] = {}
        for name_node, value_node in node.value:
            line = f"in line {name_node.start_mark.line + 1}"
            name = self.construct_object(name_node) if isinstance(name_node, yaml.ScalarNode) else None
            if not isinstance(name, str):
                told = f"{name_node.value} is" if isinstance(name_node, yaml.ScalarNode) else "a list or a group is"
                raise _RefusedError(f"{line} {told} no text, as names are; put it in quotes if it is a name")
            if name in made:
                raise _RefusedError(f"{line} {name} is there twice; leave one of them out")
            made[name] = self.construct_object(value_node, deep)
        return made

    def construct_whole(self, node: yaml.ScalarNode) -> int:
        """A whole number. Raises _RefusedError for one that is too large for anything."""
        number: int = self.construct_yaml_int(node)
        if number not in NUMBERS:
            raise _RefusedError(
                f"in line {node.start_mark.line + 1} is a number of more than 64 bits; give a smaller one"
            )
        return number


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole)


def read_yaml(path: Path) -> Any:
    """What a file says: text, numbers, true, false, null, lists, and mappings by text. Raises UserError for others."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # whoever opens a pipe waits for what it may never say
            raise _RefusedError("it is no file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise _RefusedError(f"it has more than {MOST_BYTES} bytes; settings have a hundred lines")
        return copy.deepcopy(_loaded(content.decode()))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not a YAML file of settings ({reason(error)})") from error


def load_yaml(text: str, where: str) -> Any:
    """The same of a text, which errors call `where`."""
    try:
        return copy.deepcopy(_loaded(text))
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{where} is not YAML ({reason(error)})") from error


def require_plain(text: str, where: str) -> None:
    """Raise UserError for text that is YAML of what is refused here; what is no YAML at all is mere text."""
    try:
        _check(text)
    except _RefusedError as error:
        raise UserError(f"{where} is not taken ({reason(error)})") from error
    except yaml.YAMLError:
        return


@lru_cache(maxsize=64)
def _loaded(text: str) -> Any:
    """What a text says, which is read once: a command line reads its preset five times."""
    _check(text)
    return yaml.load(text, _Loader)  # a SafeLoader, which makes nothing but plain values


def _check(text: str) -> None:
    """Raise _RefusedError for what is not plain, before anything is made of it."""
    groups: list[int | None] = []  # those that are open: of lists, what they hold so far
    for number, event in enumerate(yaml.parse(text, _Base)):
        mark = event.start_mark
        line = f"in line {1 if mark is None else mark.line + 1}"
        if number >= MOST_EVENTS:
            raise _RefusedError(f"it has more than {MOST_EVENTS} values; settings have a hundred")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _RefusedError(f"{line} is an anchor or alias (& or *); write the value out, or put it in quotes")
        if getattr(event, "tag", None) is not None:
            raise _RefusedError(f"{line} is a tag (!); write the value without it, or put it in quotes")
        if isinstance(event, yaml.NodeEvent) and groups and (held := groups[-1]) is not None:
            if held == MOST_ITEMS:
                raise _RefusedError(f"{line} a list has more than {MOST_ITEMS} values")
            groups[-1] = held + 1
        if isinstance(event, yaml.CollectionStartEvent):
            groups.append(0 if isinstance(event, yaml.SequenceStartEvent) else None)
        elif isinstance(event, yaml.CollectionEndEvent):
            groups.pop()
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > MOST_LETTERS:
            raise _RefusedError(f"{line} is a value of {len(event.value)} letters, and {MOST_LETTERS} are the most")
        if len(groups) > MOST_NESTED:
            raise _RefusedError(f"{line} groups are nested more than {MOST_NESTED} deep")
