"""What a run is made by: its settings, its data, the program and the machine; and how that differs from before."""

import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from combo_common.hashing import sha256_of
from combo_common.versions import ROOT, versions
from envs.registry import get_task, names_module
from latent_combo.config.saved import flat_settings
from latent_combo.config.schema import Config

WHERE = ("out", "data_dir", "log")
"""Settings that say where things are, and not what they are."""
HOW = ("save_every", "keep_checkpoints", "score.processes", "mapped")
"""Settings by which a run is done, and which no number in it depends on."""
UNNAMED = ("commit", "latent-combo")
"""Versions that a hash of the source stands for."""
PACKAGES = ("combo_common", "data", "envs", "latent_combo")
SHOWN = 3
"""Settings that a line names, at most."""


@dataclass(frozen=True)
class Origin:
    """What a run is made by."""

    settings: dict[str, Any]
    """All settings but where things are, and how they are done, by dotted names."""
    data: str
    """What the data are known by (SHA-256)."""
    code: str
    """SHA-256 of the program's files."""
    module: str
    """SHA-256 of the user's own module that the task was named by; empty for other tasks."""
    versions: dict[str, str]
    """Of the program, of Python and of the packages that results depend on."""
    machine: dict[str, str]
    """Device, processor and threads: others add up in another order."""

    @classmethod
    def of(cls, config: Config, data: str, machine: dict[str, str]) -> "Origin":
        """That of a run with these settings, on these data and this machine (`choices.machine`)."""
        return cls(settings_that_count(config), data, source(), module_of(config), versions(), machine)

    def otherwise(self, before: "Origin") -> Iterator[str]:
        """What of program and machine is not what it was before, for people; nothing where all is."""
        if self.code != before.code:
            commits = f" ({before.versions.get('commit')} then, {self.versions.get('commit')} now)"
            yield f"another version of this program's code{commits if 'commit' in self.versions else ''}"
        if self.module != before.module:
            yield f"another version of the module of {self.settings.get('task')}"
        if changed := differing(_named(before.versions), _named(self.versions), ("then", "now")):
            yield f"other packages: {changed}"
        if changed := differing(before.machine, self.machine, ("then", "now")):
            yield f"another machine: {changed}"


def settings_that_count(config: Config) -> dict[str, Any]:
    """All settings that numbers of a run depend on, by dotted names."""
    return {name: value for name, value in flat_settings(config).items() if name not in (*WHERE, *HOW)}


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any], names: set[str] | None = None) -> str:
    """In which settings two runs differ, for people; empty where they do in none.

    Those that only one of them has count where no `names` are given.
    """
    known = sorted(before.keys() | now.keys() if names is None else names)
    changed = [name for name in known if before.get(name) != now.get(name)]
    told = [f"{name} {before.get(name)} then, {now.get(name)} now" for name in changed[:SHOWN]]
    more = f", and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
    return f"{'; '.join(told)}{more}"


def packages() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on, on this machine."""
    return _named(versions())


def _named(found: Mapping[str, str]) -> dict[str, str]:
    return {name: version for name, version in found.items() if name not in UNNAMED}


def differing(one: Mapping[str, str], other: Mapping[str, str], called: tuple[str, str] = ("here", "there")) -> str:
    """In which words two sets of them differ, for people; empty where they do in none."""
    changed = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return "; ".join(f"{name} {one.get(name)} {called[0]}, {other.get(name)} {called[1]}" for name in changed)


def source() -> str:
    """SHA-256 of the program's files as they are."""
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT).as_posix()} ".encode() + path.read_bytes())
    return digest.hexdigest()


def module_of(config: Config) -> str:
    """SHA-256 of the module of a task that a user named by it; empty for any other."""
    if not names_module(config.task):
        return ""
    get_task(config.task)  # which imports it, from the working folder, too
    origin = sys.modules[config.task.partition(":")[0]].__file__
    return "" if origin is None else sha256_of(Path(origin))
