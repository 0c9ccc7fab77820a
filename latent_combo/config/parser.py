"""The parser of all settings: words in, a `Config` out, or one line that says what is wrong."""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import jsonargparse

from combo_common.commands import program
from combo_common.errors import UserError
from combo_common.paths import given_path
from combo_common.plain_yaml import require_plain
from combo_common.reason import printable
from combo_common.suggest import did_you_mean, nearest, nearest_by_last_word
from combo_common.validation import choices, with_group
from latent_combo.config.schema import Config
from latent_combo.runtime.settings_file import flat, read_settings

NOT_SETTINGS = ("help", "config", "resume", "print_config", "print_shtab")
"""Options that are not settings of a run."""
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
"""What values of plain types are."""
ALIKE = 0.75
"""Likeness, in [0, 1], from which on a setting may have been meant by a name that there is not."""


@cache
def parser() -> jsonargparse.ArgumentParser:
    """The parser of the options `--config` and `--resume`, and of every setting by its dotted name."""
    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    made = jsonargparse.ArgumentParser(prog=program("train"), exit_on_error=False, allow_abbrev=False, add_help=False)
    made.add_argument("--config", action="config", help="a YAML file of settings, such as a run's config.yaml")
    made.add_argument("--resume", metavar="RUN", help="go on with a stopped run, with its own settings")
    made.add_class_arguments(Config)
    return made


def instantiate(arguments: list[str]) -> Config:
    """The config that a command line makes. Raises UserError for what is unknown, mistyped or impossible."""
    with one_line():
        made: Config = _composed(Config, _namespace(arguments).as_dict(), "")
        return made


def _composed(of: type, values: Mapping[str, Any], group: str) -> Any:
    """A dataclass of settings and of groups of them. Raises ValueError for impossible ones, named by their groups."""
    hints = get_type_hints(of)
    given = {
        name: _composed(hints[name], value, f"{group}.{name}".strip(".")) if is_dataclass(hints[name]) else value
        for name, value in values.items()
    }
    try:
        return of(**given)
    except ValueError as error:
        raise ValueError(with_group(str(error), group, hints)) from error


def read(arguments: list[str]) -> dict[str, Any]:
    """All settings by dotted names, each of its type, whether or not they go together."""
    with one_line():
        return dict(vars(_namespace(arguments).as_flat()))


def _namespace(arguments: list[str]) -> jsonargparse.Namespace:
    for name in (argument.partition("=")[0].removeprefix("--") for argument in arguments if argument[:2] == "--"):
        if name not in NOT_SETTINGS and setting_types().get(name) is None:  # or else the parser might import something
            raise ValueError(_unknown(name))
    namespace = _defaults().clone()
    # on defaults of its own the parser would check each of them anew, which is most of its time
    namespace.update(parser().parse_args([_as_read(argument) for argument in arguments], defaults=False))
    namespace.pop("config", None)
    namespace.pop("resume", None)
    return namespace


@cache
def _defaults() -> jsonargparse.Namespace:
    """Every setting as the schema has it."""
    return parser().get_defaults()


def _as_read(argument: str) -> str:
    """An option; one that names a file holds what that says instead, which the parser would read less strictly."""
    if not argument.startswith("--config="):
        return argument
    path = given_path(argument.removeprefix("--config="))
    if not path.is_file():
        raise UserError(f"there is no file {path}; --config names a YAML file of settings")
    return f"--config={json.dumps(settings_in(path))}"


def settings_in(path: Path) -> dict[str, Any]:
    """What a file says, nested as there; what is left empty and can not be null is not said.

    Raises UserError if it is no file of settings, and for names that are none.
    """
    said = read_settings(path)
    require_known(said, str(path))
    return _without_empty(said)


def require_known(settings: Mapping[str, Any], where: str, prefix: str = "") -> None:
    """Raise UserError for a name that no setting has, a group that is no mapping, and a value that is one.

    The parser takes some more names than those: `class_path` has it import a module, `config` and the name of a group
    with text have it read another file. It takes text for YAML where a setting is more than text.
    """
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if name not in setting_types() and not any(known.startswith(f"{name}.") for known in setting_types()):
            inner = dict(flat(value, f"{name}.")) if isinstance(value, Mapping) else {}
            raise UserError(f"{where}: {printable(_unknown(next(iter(inner), name)))}")
        kind = setting_types().get(name)
        if kind is None:
            if value is None:
                continue  # it is left empty, and nothing is said
            if not isinstance(value, Mapping):
                raise UserError(f"{where}: {name} is {value!r:.80}, but it is a group of settings; give them by name")
            require_known(value, where, f"{name}.")
        elif isinstance(value, Mapping):
            raise UserError(f"{where}: {name} has settings below it, but it is one itself; give it a value")
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, (list, Mapping)) and kind is not None:
                raise UserError(f"{where}: {name} has a list or a group in a list; give it values")
            if isinstance(text, str) and kind is not str:
                require_plain(text, f"{where}: {name}")


def _without_empty(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    said: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            said[key] = _without_empty(value, f"{prefix}{key}.")
        elif value is not None or may_be_null(f"{prefix}{key}"):
            said[key] = value
    return said


def may_be_null(name: str) -> bool:
    """Whether null is a value of a setting, by its dotted name; of what is none it is, so that its name is refused."""
    kinds = setting_types()
    return (name not in kinds and not any(known.startswith(f"{name}.") for known in kinds)) or type(None) in get_args(
        kinds.get(name)
    )


@contextmanager
def one_line() -> Iterator[None]:
    """Errors of the body become a UserError."""
    try:
        yield
    except (jsonargparse.ArgumentError, ValueError, TypeError) as error:
        line = printable(_readable(" ".join(str(error).split())))
        raise UserError(f"{line} ({program('train')} --help lists all settings)") from error


def _readable(line: str) -> str:
    """What the parser says of an unknown name or of a value of the wrong type, for people."""
    if unknown := re.match(r"unrecognized arguments: (--)?([\w.]+)", line):
        return _unknown(unknown[2])
    if unknown := re.match(r"(?:Group '([\w.]+)' does not accept option|Option) '([\w.]+)'", line):
        return _unknown(".".join(filter(None, unknown.groups())))
    if (key := re.match(r'Parser key "([\w.]+)": (.*)', line)) is None:
        return line
    name, reason = key.groups()
    given = re.search(r"(?:Given|Got) value: ([^:]*)$", reason)
    if given is None:
        return line
    if known := choices(setting_types()[name]):
        wrong = next((value for value in _values(given[1]) if value not in known), given[1])
        return f"{name} is {wrong!r}; it is one of {', '.join(known)}{did_you_mean(nearest(str(wrong), known))}"
    if "list[" in reason:
        return f"{name} is {given[1]}; it is one value, or a list with one for each agent, such as [0.5, 1]"
    if given[1].startswith("[") and name.startswith("agent."):
        return f"{name} is {given[1]}, but agents of a stack can not differ in it; give one value"
    if get_origin(setting_types()[name]) is tuple:
        entry = KINDS[get_args(setting_types()[name])[0]]
        return f"{name} is given {given[1]}; it is a list, of which each entry is {entry}"
    kinds = get_args(setting_types()[name]) or (setting_types()[name],)
    if all(kind in KINDS for kind in kinds):
        return f"{name} is {given[1]}; it is {' or '.join(KINDS[kind] for kind in kinds)}"
    return line


def _unknown(name: str) -> str:
    """What to say of a name that no setting has."""
    return f"there is no setting {name}{did_you_mean(nearest_by_last_word(name, setting_types(), '.', ALIKE))}"


def _values(given: str) -> list[Any]:
    """The entries of a list that an error quotes, or the one value."""
    return list(ast.literal_eval(given)) if given.startswith("[") else [given]


@cache
def setting_types() -> dict[str, Any]:
    """The type of each setting, by its dotted name; of groups None."""
    settings = (action for action in parser()._actions if action.dest not in NOT_SETTINGS)
    return {action.dest: getattr(action, "_typehint", None) for action in settings}
