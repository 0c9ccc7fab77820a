"""A command line as words, before anything is known of its settings."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from combo_common.cli import with_underscores
from combo_common.errors import UserError
from combo_common.paths import given_path, path_text
from combo_common.plain_yaml import load_yaml, require_plain
from latent_combo.config.parser import may_be_null, require_known, setting_types, settings_in
from latent_combo.config.schema import PATHS
from latent_combo.runtime.renamed import GROUPS, line, renamed, with_new_names
from latent_combo.runtime.settings_file import flat, read_mapping, say

ACCEPT = "--accept_changes"
"""The option by which a run goes on with changes, in its settings or its data."""
NONE = ("", "null")
"""Values of an option that name nothing."""


def with_new_words(arguments: list[str]) -> list[str]:
    """A command line whose settings have the names that they have now, one by one; a line names what was renamed.

    Settings of a group that are given together, `--agent '{"beta": 1}'` or `--agent FILE`, become an option each.
    Raises UserError for a group that is given anything else, and where no path follows `--world_model`.
    """
    result, found, rest = list[str](), dict[str, str](), list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            result.append(argument)
            continue
        given = value if equals else "".join(rest[:1])
        group_of_before = name in GROUPS and given.startswith("{")  # world_model is a group only so
        now = GROUPS[name] if group_of_before else renamed(name)
        if now == "world_model" and (not given or given.startswith("--")):
            raise UserError("--world-model names nothing; give the folder of a run, or a file of latent-combo export")
        if now != name:
            found[name] = now
        if setting_types().get(now, now) is None:
            rest = rest if equals else rest[1:]
            settings, inside = with_new_names({name: _together(name, given)})
            require_known(settings, f"--{name}")
            found |= inside
            said = ((own, item) for own, item in flat(settings) if item is not None or may_be_null(own))
            result += [f"--{own}={as_written(item)}" for own, item in said]
        else:
            result.append(f"--{now}{equals}{value}")
    # Of any other name the error says what was meant
    known = {f"--{old}": f"--{now}" for old, now in found.items() if now in setting_types()}
    if known:
        say(line("the command line", {old.replace("_", "-"): now.replace("_", "-") for old, now in known.items()}))
    return result


def _together(group: str, given: str) -> dict[str, Any]:
    """The settings of a group that one option gives, as a mapping or by a file's name. Raises UserError for others."""
    if given.startswith("{"):
        require_plain(given, f"--{group}")
        with suppress(UserError):
            content = load_yaml(given, f"--{group}")
            if isinstance(content, dict):
                return content
    elif given and given_path(given).is_file():
        return read_mapping(given_path(given))
    remedy = f"set --{group}.NAME, or some together: --{group} '{{\"NAME\": VALUE}}'".replace("_", "-")
    raise UserError(f"{group} is {given or 'given nothing'}, but it is a group of settings; {remedy}")


def as_written(value: Any) -> str:
    """A value as a command line has it; what a file has of other types, such as a date, as text."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def split_config(arguments: list[str]) -> tuple[list[str], list[str]]:
    """A command line as its `--config=FILE` options and the rest, each in order.

    Raises UserError for a --config that holds settings itself.
    """
    files, single, following = [], [], iter(arguments)
    for argument in following:
        if argument.partition("=")[0] != "--config":
            single.append(argument)
            continue
        path = argument.partition("=")[2] or next(following, "")
        if path.startswith("{"):  # a preset, dataset or algorithm in it would be named too late to count
            raise UserError("--config names a YAML file of settings; give settings of a group as --agent '{...}'")
        files.append(f"--config={path}")
    return files, single


def config_files(arguments: list[str]) -> Iterator[Path]:
    """The files that `--config` names, in order."""
    return (given_path(option.removeprefix("--config=")) for option in split_config(arguments)[0])


def peek(arguments: list[str], name: str, default: str) -> str:
    """The value of one option, from the command line or else from the --config file, before the rest is parsed.

    Null is "null". Raises UserError for a file that holds no settings.
    """
    value = default
    for path in config_files(arguments):
        if path.is_file():
            said = settings_in(path)
            value = "null" if said.get(name, value) is None else str(said.get(name, value))
    single = split_config(arguments)[1]
    for index, argument in enumerate(single):
        key, equals, inline = argument.partition("=")
        if key == f"--{name}":
            value = inline if equals else single[index + 1] if index + 1 < len(single) else ""
    return path_text(value) if name in PATHS else value


def resumed_folder(arguments: list[str]) -> Path | None:
    """The run that `--resume` names, or None without that option.

    Raises UserError where anything but --accept_changes, and the run's own --task, is beside it, and for the first
    without it.
    """
    if not any(argument.split("=")[0] == "--resume" for argument in arguments):
        if accepts_changes(arguments):
            raise UserError("--accept-changes is for a run that goes on: --resume RUN --accept-changes")
        return None
    words = [word for argument in arguments for word in argument.split("=", 1) if argument != ACCEPT]
    given = dict(zip(words[::2], words[1::2], strict=False))
    if len(words) != 2 * len(given) or not set(given) <= {"--resume", "--task"}:
        raise UserError(
            "--resume RUN stands alone, or with --task: a run goes on with its own settings; edit its config.yaml to "
            "change them, and give --accept-changes"
        )
    return given_path(given["--resume"])


def named_by_user(arguments: list[str]) -> str:
    """The task that the command line itself names, in no file; empty for none."""
    return peek(split_config(arguments)[1], "task", "")


def accepts_changes(arguments: list[str]) -> bool:
    """Whether a command line says that a run goes on with changes."""
    return ACCEPT in with_underscores(arguments)
