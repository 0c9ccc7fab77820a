"""Options that several data commands share."""

import argparse
from pathlib import Path

from data.locate import default_data_dir


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Add --data-dir: the folder in which names of datasets are looked for."""
    parser.add_argument(
        "--data-dir",
        type=lambda given: Path(given).expanduser(),
        default=default_data_dir(),
        metavar="FOLDER",
        help="where datasets are found by name (default: $LATENT_COMBO_DATA, else latent-combo in $XDG_CACHE_HOME or "
        "~/.cache)",
    )
