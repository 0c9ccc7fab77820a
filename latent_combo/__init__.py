"""Offline reinforcement learning from camera images: world models and conservative actor-critics in their latents.

Importing this takes no time: each name is imported from its place when it is first used (docs/python.md).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from combo_common.errors import UserError
    from data.dataset import TrajectoryDataset
    from data.episode import Episode
    from latent_combo.api.datasets import episodes_from_arrays, load_dataset, make_episode, save_dataset
    from latent_combo.api.latents import Rollout, decode, encode, imagine
    from latent_combo.api.policy import NumpyPolicy
    from latent_combo.api.policy_file import export_policy, load_policy
    from latent_combo.api.run import Run, load_run
    from latent_combo.api.settings import make_config
    from latent_combo.config.schema import Config
    from latent_combo.diagnostics.own_views import view
    from latent_combo.train import train

    __version__: str

__all__ = [
    "Config",
    "Episode",
    "NumpyPolicy",
    "Rollout",
    "Run",
    "TrajectoryDataset",
    "UserError",
    "__version__",
    "decode",
    "encode",
    "episodes_from_arrays",
    "export_policy",
    "imagine",
    "load_dataset",
    "load_policy",
    "load_run",
    "make_config",
    "make_episode",
    "save_dataset",
    "train",
    "view",
]

_PLACES = {
    "Config": "latent_combo.config.schema",
    "TrajectoryDataset": "data.dataset",
    "Episode": "data.episode",
    "NumpyPolicy": "latent_combo.api.policy",
    "Rollout": "latent_combo.api.latents",
    "Run": "latent_combo.api.run",
    "UserError": "combo_common.errors",
    "decode": "latent_combo.api.latents",
    "encode": "latent_combo.api.latents",
    "episodes_from_arrays": "latent_combo.api.datasets",
    "export_policy": "latent_combo.api.policy_file",
    "imagine": "latent_combo.api.latents",
    "load_dataset": "latent_combo.api.datasets",
    "load_policy": "latent_combo.api.policy_file",
    "load_run": "latent_combo.api.run",
    "make_config": "latent_combo.api.settings",
    "make_episode": "latent_combo.api.datasets",
    "save_dataset": "latent_combo.api.datasets",
    "view": "latent_combo.diagnostics.own_views",
}
"""The module that each name is imported from."""


def __getattr__(name: str) -> Any:
    """Import a name from its place. Raises AttributeError for a name that this package does not offer."""
    if name == "__version__" or name == "train" or name in _PLACES:
        import_module("latent_combo.own_packages")  # which raises ImportError where a user's own packages hide ours
    if name == "__version__":
        return import_module("combo_common.versions").version_of("latent-combo")
    if name == "train":  # the command's module, which can be called: both have this name
        return import_module("latent_combo.train")
    if name not in _PLACES:
        raise AttributeError(f"module 'latent_combo' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
