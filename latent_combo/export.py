"""`python -m latent_combo.export RUN OUT.safetensors`: a run's fitted world model as one file, with its recipe.

With --policy it is one agent's policy instead, which `latent_combo.load_policy` reads without the run.
"""

from pathlib import Path

import latent_combo.early  # noqa: F401
from combo_common.cli import run_cli
from combo_common.commands import command
from combo_common.errors import UserError
from latent_combo.api.policy_file import export_policy
from latent_combo.api.run import load_run
from latent_combo.config import options
from latent_combo.config.pretrained import read_pretrained, write_pretrained
from latent_combo.runtime.run_folder import config_file


def export(run: Path, out: Path, task: str | None = None) -> str:
    """Write the file, and say in a line what it holds; `task` names the run's own, which is not needed, but checked.

    Raises UserError for a run without a world model that is fitted to the end, and for a file that is there already.
    """
    config_file(run)  # which raises where the folder is no run
    if task is not None:
        load_run(run, task)
    recipe, weights = read_pretrained(run)
    if recipe is None:
        raise UserError(f"{run} does not say what its world model is")
    write_pretrained(out, recipe, weights)
    size, count = out.stat().st_size / 1e6, sum(tensor.numel() for tensor in weights.values())
    return f"{out}: {count:,} numbers, {size:.1f} MB; use it with: {command('train', '--world-model', out)}"


def export_agent(run: Path, out: Path, agent: int | None, task: str | None = None) -> str:
    """Write the file of one agent's policy, and say in a line how it is read; `task` as `load_run` has it.

    Raises UserError for a run without agents, for one that is not there, and for a file that is there already.
    """
    export_policy(load_run(run, task), out, agent)
    return f"{out}: {out.stat().st_size / 1e6:.1f} MB; read it with: latent_combo.load_policy({str(out)!r})"


def main() -> None:
    """Read the command line and export."""
    given = options.export()
    made = export_agent(given.run, given.out, given.agent, given.task) if given.policy else None
    print(made or export(given.run, given.out, given.task))


if __name__ == "__main__":
    run_cli(main)
