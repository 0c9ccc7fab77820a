"""What a run's data are known by: a dataset that was replaced in its place is another one."""

import json
from pathlib import Path

from combo_common.files import write_atomically
from data.dataset import TrajectoryDataset
from latent_combo.config.recipe import Recipe
from latent_combo.config.schema import Config
from latent_combo.pipeline.history import ChangedError
from latent_combo.runtime.run_folder import DATASET, read_fingerprint

SHOWN = 12
"""Digits of a fingerprint that an error names."""


def keep_fingerprint(run: Path, config: Config, data: TrajectoryDataset, changed: bool = False) -> None:
    """Write what a run's data are known by into its folder, where it is not there yet, or has `changed`."""
    if data.fingerprint and (changed or not (run / DATASET).exists()):
        known = {
            "dataset": config.dataset,
            "fingerprint": data.fingerprint,
            "episodes": len(data.lengths),
            "transitions": int((data.lengths - 1).sum()),
        }
        write_atomically(run / DATASET, json.dumps(known, indent=2).encode())


def require_same_data(run: Path, config: Config, data: TrajectoryDataset) -> None:
    """Raise ChangedError where a run was begun on other data than its dataset's name stands for now.

    A run of an older version does not say what its data were.
    """
    _require(read_fingerprint(run), data, f"{config.dataset} is not what it was when {run} began", "train anew", run)


def require_data_of(recipe: Recipe, config: Config, data: TrajectoryDataset) -> None:
    """Raise ChangedError where a world model was fitted to other data that had the dataset's name."""
    if recipe.dataset == config.dataset:
        what = f"{config.dataset} is not what the world model of {config.world_model} was fitted to"
        _require(recipe.fingerprint, data, what, "fit the model anew", None)


def _require(known: str | None, data: TrajectoryDataset, what: str, otherwise: str, run: Path | None) -> None:
    if known and data.fingerprint and known != data.fingerprint:
        again = "" if run is None else " with another --out"
        change = f"fingerprint {known[:SHOWN]} then, {data.fingerprint[:SHOWN]} now"
        raise ChangedError(f"{what}: {change}; put those data back, or {otherwise}{again}", f"data: {change}")
