"""Files of settings, as YAML."""

from pathlib import Path
from typing import Any

import yaml

from combo_common.errors import UserError


def read_settings(path: Path) -> dict[str, Any]:
    """A file of settings. Raises UserError if it is none."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not a YAML file of settings ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings; it needs lines such as `seed: 1`")
    return content
