"""`python -m latent_combo.export RUN OUT.safetensors`: a run's fitted world model as one file, with its recipe."""

from pathlib import Path

import latent_combo.own_packages  # noqa: F401
from combo_common.cli import run_cli
from combo_common.commands import command
from combo_common.errors import UserError
from latent_combo.config import options
from latent_combo.config.fitted import read_fitted, write_fitted
from latent_combo.runtime.run_folder import config_file


def export(run: Path, out: Path) -> str:
    """Write the file, and say in a line what it holds.

    Raises UserError for a run without a world model that is fitted to the end, and for a file that is there already.
    """
    config_file(run)  # which raises where the folder is no run
    recipe, weights = read_fitted(run)
    if recipe is None:
        raise UserError(f"{run} does not say what its world model is")
    write_fitted(out, recipe, weights)
    size, count = out.stat().st_size / 1e6, sum(tensor.numel() for tensor in weights.values())
    return f"{out}: {count:,} numbers, {size:.1f} MB; use it with: {command('train', '--world-model', out)}"


def main() -> None:
    """Read the command line and export."""
    given = options.export().parse_args()
    print(export(given.run, given.out))


if __name__ == "__main__":
    run_cli(main)
