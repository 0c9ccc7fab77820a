"""`python -m tools.settings_reference`: write docs/settings.md from the dataclasses of settings and the presets.

With `--check` nothing is written, and the exit code is 1 if the page is not what the code says.
"""

import argparse
import ast
import dataclasses
import inspect
import sys
import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from latent_combo.config.schema import Config

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "settings.md"
PRESETS = ("quickstart", "own", "small", "gpu", "paper")
OBSERVED = {"pixels": "pixels", "state": "states"}
"""Folders of presets, and what their runs observe."""
COMMAND = "python -m tools.settings_reference"
INTRODUCTION = """# All settings

Each setting is an option of `latent-combo train` (`--agent.beta 1.0`; underscores may be dashes) and a key of
`--config FILE`, where the groups are nested. A run's `config.yaml` holds all of them. Later sources override earlier
ones: the defaults below, what the paper sets for the dataset, the preset, the recipe of a fitted world model, the
algorithm, `--config`, single options. `latent-combo train --print_config` prints the result.

This page is made from the code by `{command}`.
"""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One option."""

    name: str
    """Dotted, as on the command line."""
    type: str
    default: str
    text: str
    """Its docstring, on one line."""


def attribute_docstrings(cls: type) -> dict[str, str]:
    """The strings that stand below the fields of a class, each on one line."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, text in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            found[field.target.id] = " ".join(text.value.value.split())
    return found


def type_name(of: Any) -> str:
    """A type as people write it; choices are listed."""
    if typing.get_origin(of) is typing.Literal:
        return ", ".join(str(choice) for choice in typing.get_args(of))
    if typing.get_origin(of) in (typing.Union, types.UnionType):
        return " or ".join("null" if some is types.NoneType else type_name(some) for some in typing.get_args(of))
    if typing.get_origin(of) in (list, tuple):
        inner = [some for some in typing.get_args(of) if some is not Ellipsis]
        return f"list of {type_name(inner[0])}"
    return str(getattr(of, "__name__", of))


def written(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(written, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def groups(cls: type, prefix: str = "") -> Iterator[tuple[str, type, list[Setting]]]:
    """Each group of settings of a class, from the class itself down: its dotted prefix, its class, its own settings."""
    types_of, texts = typing.get_type_hints(cls), attribute_docstrings(cls)
    default = cls()
    own, inner = [], []
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(types_of[field.name]):
            inner.append((field.name, types_of[field.name]))
            continue
        name, value = f"{prefix}{field.name}", getattr(default, field.name)
        own.append(Setting(name, type_name(types_of[field.name]), written(value), texts.get(field.name, "")))
    yield prefix.rstrip("."), cls, own
    for name, some in inner:
        yield from groups(some, f"{prefix}{name}.")


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def cell(text: str) -> str:
    """Text that may stand in a cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def group_section(prefix: str, cls: type, settings: list[Setting]) -> str:
    """A group's heading, what its class says, and its settings."""
    rows = [(f"`{s.name}`", cell(s.type), f"`{cell(s.default)}`", cell(s.text)) for s in settings]
    about = cell((inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " "))
    return f"## {prefix or 'The run'}\n\n{about}\n\n{table(('setting', 'type', 'default', 'meaning'), rows)}\n"


def presets_section(folder: str, of: str) -> str:
    """What each preset sets of its own."""
    paths = {name: ROOT / "configs" / folder / f"{name}.yaml" for name in PRESETS}
    files = {name: flat(yaml.safe_load(path.read_text())) for name, path in paths.items() if path.exists()}
    names = dict.fromkeys(name for values in files.values() for name in values if name != "preset")
    rows = [
        (f"`{name}`", *(f"`{written(values[name])}`" if name in values else "" for values in files.values()))
        for name in names
    ]
    return f"## What the presets set: {of}\n\n{table(('setting', *files), rows)}\n"


def page() -> str:
    """The whole page."""
    sections = [group_section(*group) for group in groups(Config) if group[2]]
    sections += [presets_section(folder, of) for folder, of in OBSERVED.items()]
    return "\n".join([INTRODUCTION.format(command=COMMAND), *sections])


def main() -> int:
    """Write the page, or check it; returns the exit code."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is not up to date")
    text = page()
    if parser.parse_args().check:
        fresh = PAGE.exists() and PAGE.read_text() == text
        if not fresh:
            print(f"docs/settings.md is not what the code says; run: {COMMAND}", file=sys.stderr)
        return 0 if fresh else 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
