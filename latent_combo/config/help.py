"""The help of `train`: every setting with its text, its choices and the value in force."""

import argparse
import json
import shutil
import textwrap
import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

from combo_common.commands import program
from combo_common.validation import choices
from latent_combo.agent.algorithms import ALGORITHMS
from latent_combo.config.parser import NOT_SETTINGS, parser, setting_types
from latent_combo.config.presets import preset_names

FIRST = (
    *("obs", "dataset", "task", "algorithm", "preset", "seed", "out", "world_model", "device", "data_dir"),
    *("agent.beta", "agent.num_agents", "world_model_fit.steps", "agent_fit.updates"),
)
"""The settings that people use first."""
GIVEN = {
    **{"dataset": "NAME_OR_PATH", "task": "NAME", "out": "FOLDER", "data_dir": "FOLDER", "world_model": "RUN_OR_FILE"},
    "algorithm": f"{{{','.join(ALGORITHMS)}}}",
}
"""What settings of text take."""
OPTIONS = {
    "--config FILE": "A YAML file of settings, such as a run's config.yaml; single settings win over it.",
    "--resume RUN": "Go on with a stopped run, with its own settings; it stands alone.",
    "--accept-changes": "With --resume RUN: go on although settings in its config.yaml, or its data, have changed.",
    "--print-config": "Print all settings as YAML, and leave.",
    "--version": "Print this program's version and leave.",
    "-h, --help": "Print this text, with the values that the other arguments make, and leave.",
}
GROUPS = {
    "": "Settings of the whole run",
    "rssm": "rssm: the world model of images",
    "ensemble": "ensemble: the world model of states",
    "world_model_fit": "world_model_fit: the world model's training",
    "encode": "encode: how the dataset becomes features",
    "agent": "agent: the actor-critic",
    "agent_fit": "agent_fit: the agent's training (the schedule of algorithm 1)",
    "score": "score: how policies are scored",
    "views": "views: what a run draws of itself",
}
"""Headings, by the first word of a setting's name."""
ABOUT = """\
Train a policy offline: dataset -> world model -> latents -> policy -> score. Without settings it trains from images on
the bundled cart and pole; with --obs state from vectors, on the bundled hopper.

Settings come from the defaults (the paper's, for images), what the paper sets for the dataset, the preset, a fitted
--world-model, the algorithm, --config, and the command line; the later ones win. The values below are those of
--preset {preset} with --obs {obs}, and of the other arguments of this command line; `--preset small --help` shows
another's. Names may be spelt with dashes or underscores. Where a list is allowed, it has a value for each agent:
--agent.beta "[0.5, 1]"."""
MAX_LINE_WIDTH = 110
"""Characters of a line, at most."""


def help_text(values: dict[str, Any]) -> str:
    """Help with the given value of each setting, by its dotted name."""
    width = min(MAX_LINE_WIDTH, shutil.get_terminal_size().columns - 2)
    actions = {action.dest: action for action in parser()._actions if action.dest not in NOT_SETTINGS}
    settings = {name: action for name, action in actions.items() if setting_types()[name] is not None}
    about = ABOUT.format(preset=values["preset"], obs=values["obs"])
    lines = [f"usage: {program('train')} [--SETTING VALUE ...]", ""]
    for paragraph in about.split("\n\n"):
        lines += [*textwrap.wrap(paragraph, width, break_on_hyphens=False), ""]
    lines += ["Used first:", ""]
    for name in FIRST:
        lines += _entry(settings[name], values, width)
    lines += ["", "Files and information:", ""]
    for invocation, text in OPTIONS.items():
        lines += _described(invocation, text, width)
    for group, title in GROUPS.items():
        rest = [name for name in settings if name not in FIRST and _group(name) == group]
        lines += ["", f"{title}:", ""]
        for name in rest:
            lines += _entry(settings[name], values, width)
    return "\n".join(lines)


def _group(name: str) -> str:
    return name.partition(".")[0] if "." in name else ""


def _entry(action: argparse.Action, values: dict[str, Any], width: int) -> list[str]:
    """A setting: how it is given, and its text with the value in force."""
    setting = action.dest
    given = GIVEN.get(setting) or kind(setting_types()[setting])
    if setting == "preset":
        given = f"{{{','.join(preset_names(values['obs']))}}}"
    text = " ".join((action.help or "").split())
    invocation = f"--{setting.replace('_', '-')} {given}"
    return list(_described(invocation, f"{text} (default: {_plain(values[setting])})", width))


def _described(invocation: str, text: str, width: int) -> Iterator[str]:
    yield f"  {invocation}"
    indent = " " * 6
    yield from textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def kind(hint: Any) -> str:
    """What a setting of a type takes, in a word or as its choices: `{pixels,state}`, NUMBER, `N or [N, ...]`."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(kind(one) for one in get_args(hint))
    if get_origin(hint) in (list, tuple):
        return f"[{kind(get_args(hint)[0])}, ...]"
    if known := choices(hint):
        return f"{{{','.join(known)}}}"
    return {bool: "{true,false}", int: "N", float: "NUMBER", str: "TEXT", type(None): "null"}.get(hint, "VALUE")


def _plain(value: Any) -> str:
    """A value as it is written on a command line or in a file of settings."""
    return value if isinstance(value, str) else json.dumps(value)
