"""Files of settings that come with the program: the presets, and what the paper sets for its datasets."""

from pathlib import Path

from combo_common.errors import UserError
from combo_common.suggest import did_you_mean, nearest
from envs.builtin import V5, VARIED

INSTALLED, CHECKOUT = Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs"
PRESETS = INSTALLED if INSTALLED.is_dir() else CHECKOUT
"""A folder for each kind of observations, with a YAML file for each preset."""
PAPER = PRESETS / "paper"
"""What the paper sets for each task and dataset, whatever the sizes: a YAML file each, of images in `pixels`."""
SETTINGS_OF = {"expert": "medium-expert", "": "medium-replay"}
"""Which of D4RL's splits others follow."""


def preset_names(obs: str) -> list[str]:
    """The presets of a kind of observations."""
    return sorted(path.stem for path in (PRESETS / obs).glob("*.yaml"))


def preset_file(obs: str, name: str) -> Path:
    """The file of a preset. Raises UserError, with the known ones, if there is none of that name."""
    path = PRESETS / obs / f"{name}.yaml"
    if not path.exists():
        known = preset_names(obs)
        meant = did_you_mean(nearest(name, known))
        raise UserError(f"unknown preset {name!r}; for {obs} there are {', '.join(known)}{meant}")
    return path


def paper_settings(obs: str, task: str, split: str) -> Path | None:
    """The file of what the paper sets for a dataset; None for a task that it has not.

    `split` is one of D4RL's, or empty. What is none of those that the paper has follows the nearest: of states,
    experts' data are as narrow as medium-expert, anything else is taken to be as diverse as medium-replay.
    """
    folder = PAPER if obs == "state" else PAPER / "pixels"
    settings = SETTINGS_OF.get(split, split) if obs == "state" else split
    of = task.removesuffix(VARIED).removesuffix(V5)
    return next((path for name in (f"{of}-{settings}", of) if (path := folder / f"{name}.yaml").exists()), None)
