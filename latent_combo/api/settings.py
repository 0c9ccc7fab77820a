"""Settings of a run from Python, through the same layers as a command line's."""

import json
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from typing import Any

from combo_common.errors import UserError
from latent_combo.config.command_line import parse
from latent_combo.config.schema import Config

NOT_SETTINGS = ("resume", "accept_changes", "help", "version", "print_config")
"""Options of the command line that are no settings."""


def make_config(**settings: Any) -> Config:
    """The configuration of a run, as `python -m latent_combo.train` would make it of the same settings.

    Later wins: the paper's settings for the dataset, the preset, the algorithm, `config` (a YAML file), `settings`.
    Nested settings are dictionaries, `agent={"beta": 1.0}`, or dotted names, `**{"agent.beta": 1.0}`. `world_model` may
    be the path of a fitted world model. Raises UserError for unknown settings, wrong types and impossible combinations.
    """
    config, _ = parse([f"--{name}={_written(name, value)}" for name, value in _flat(settings)])
    return config


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted names."""
    for name, value in settings.items():
        if not prefix and name in NOT_SETTINGS:
            raise UserError(
                f"{name} is no setting; train takes resume and accept_changes, and docs/python.md lists the rest"
            )
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _written(name: str, value: Any) -> str:
    """A value as a command line has it."""
    if isinstance(value, (str, PathLike)):
        return fspath(value)
    if hasattr(value, "tolist"):  # numpy's and torch's numbers
        value = value.tolist()
    try:
        return json.dumps(value)
    except TypeError as error:
        raise UserError(f"{name} is of type {type(value).__name__}; give numbers, words, or lists of them") from error
