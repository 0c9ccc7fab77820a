"""Options that several data commands share."""

import argparse
from pathlib import Path

from combo_common.paths import given_path
from data.locate import default_data_dir


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Add --data-dir: the folder in which names of datasets are looked for."""
    parser.add_argument(
        "--data-dir",
        type=data_dir,
        default="",  # which argparse gives to `type`, and only where the option is missing
        metavar="FOLDER",
        help="where datasets are found by name (default: $LATENT_COMBO_DATA, else latent-combo in $XDG_CACHE_HOME or "
        "~/.cache)",
    )


def data_dir(given: str) -> Path:
    """The folder that a word names; the usual one for none. Raises UserError where nothing tells it."""
    return given_path(given) if given else default_data_dir()
