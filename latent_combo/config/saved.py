"""The settings of a run as a file, and as plain values."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from combo_common.errors import UserError
from combo_common.files import write_atomically
from latent_combo.config.parser import instantiate
from latent_combo.config.schema import Config
from latent_combo.runtime.run_folder import config_file
from latent_combo.runtime.settings_file import read_settings


def load_config(run: Path) -> Config:
    """The config of a run's folder. Raises UserError if it has none, or one of another version of this program."""
    path = config_file(run)
    read_settings(path)
    try:
        config = instantiate([f"--config={path}"])
    except UserError as error:
        why, remedy = str(error).removeprefix(f"{path}: "), "use the version that result.json names, or train anew"
        raise UserError(f"{path} is not of this version of the program: {why}; {remedy}") from error
    return Config(**{**vars(config), "out": str(run)})


def unreadable(run: Path) -> list[str]:
    """What there is to say of a run whose settings this version of the program can't read, a line or none."""
    try:
        load_config(run)
    except UserError as error:
        return [str(error)]
    return []


def save_config(config: Config, path: Path) -> None:
    """Write the whole config as YAML, whole or not at all. Raises UserError where it can't."""
    write_atomically(path, yaml.safe_dump(settings_of(config), sort_keys=False).encode())


def settings_of(config: Config) -> dict[str, Any]:
    """The whole config as plain values, nested as in its file."""
    settings: dict[str, Any] = _plain(asdict(config))
    return settings


def flat_settings(config: Config) -> dict[str, bool | str | float]:
    """All settings by dotted names, as plain values; what is none of those is written out."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, bool | str | float]]:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from walk(f"{prefix}.{name}" if prefix else name, inner)
        else:
            yield prefix, value if isinstance(value, (bool, str, int, float)) else str(value)

    return dict(walk("", settings_of(config)))


def _plain(value: Any) -> Any:
    """Tuples to lists, which YAML has."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
