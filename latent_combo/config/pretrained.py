"""A fitted world model as a thing of its own: its weights, and the recipe that says what they are.

It is read from the folder of a run, from a file of `latent_combo.export`, or from bare weights, which lack a recipe.
Weights from elsewhere are read as safetensors only, which hold no code.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from combo_common.commands import command
from combo_common.errors import UserError
from combo_common.versions import versions
from latent_combo.agent.algorithms import has_world_model
from latent_combo.config.recipe import METADATA, Recipe
from latent_combo.evaluation.result import Result
from latent_combo.runtime import checkpoint
from latent_combo.runtime.run_command import run_command
from latent_combo.runtime.run_folder import SETTINGS, WORLD_MODEL, read_fingerprint
from latent_combo.runtime.settings_file import read_settings
from latent_combo.runtime.weights_file import Weights, read_metadata, read_weights, write_weights
from latent_combo.runtime.weights_name import SUFFIX

MAX_TENSORS_NAMED = 3
"""Tensors that an error names."""


def read_recipe(path: Path) -> Recipe | None:
    """What a fitted world model says of itself; None for bare weights.

    Raises UserError where there is no world model, for one that is not fitted to the end, and for damaged files.
    """
    if (path / SETTINGS).is_file():
        return _recipe_of_run(path, _checkpoint(path))
    files = _files(path)
    said = {file: text for file in files if (text := read_metadata(file).get(METADATA)) is not None}
    if said and path.is_dir():
        raise UserError(f"{next(iter(said))} says what it is; name it instead of its folder")
    return Recipe.from_json(said[path], path) if said else None


def read_pretrained(path: Path) -> tuple[Recipe | None, Weights]:
    """The recipe, and the weights by name, on the CPU. Raises UserError as `read_recipe` does."""
    if (path / SETTINGS).is_file():
        state = _checkpoint(path)
        return _recipe_of_run(path, state), state["fit"]["model"]
    recipe, weights = read_recipe(path), Weights()
    for file in _files(path):
        found = read_weights(file)
        if twice := weights.keys() & found.keys():
            raise UserError(f"{file} holds {min(twice)}, and so does another file of {path}; name the right file")
        weights |= found
    return recipe, weights


def write_pretrained(path: Path, recipe: Recipe, weights: Weights) -> None:
    """Write both as one file, whole or not at all. Raises UserError where the file is there, or can't be written."""
    write_weights(path, weights, {METADATA: recipe.to_json()})


def require_fit(weights: Weights, model: nn.Module, path: Path, settings: str) -> None:
    """Raise UserError, naming tensors, where a model needs others than the weights, or where they are not finite.

    `path` is where the weights are from, and `settings` says what the model was built by; it may be on the meta device.
    """
    parameters = dict(model.named_parameters())
    needed = {**parameters, **model.state_dict()}  # what is learnt comes first
    both = [(name, _kind(weights[name]), _kind(needed[name])) for name in needed if name in weights]
    wrong = [
        *(f"{name} is {found}, not {due}" for name, found, due in both if found != due),
        *(f"{name} is not there" for name in needed if name not in weights),
        *(f"{name} has no place" for name in weights if name not in needed),
    ]
    if wrong:
        more = f" and {len(wrong) - MAX_TENSORS_NAMED} more" if len(wrong) > MAX_TENSORS_NAMED else ""
        raise UserError(f"the weights of {path} do not fit {settings}: {', '.join(wrong[:MAX_TENSORS_NAMED])}{more}")
    for name in parameters:
        if not bool(weights[name].isfinite().all()):
            raise UserError(f"the weights of {path} are damaged: {name} is not finite; fit the model anew")


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _checkpoint(run: Path) -> dict[str, Any]:
    """The checkpoint of a run's world model, fitted to the end."""
    resume = run_command("train", run)
    if not has_world_model(algorithm := str(read_settings(run / SETTINGS).get("algorithm"))):
        remedy = f"name a run that has one; a policy is a file by {command('export', '--policy')}"
        raise UserError(f"{run} is a run of {algorithm}, which has no world model; {remedy}")
    if not checkpoint.exists(run / WORLD_MODEL):
        raise UserError(f"{run} has no world model yet; fit it with: {resume}")
    state = checkpoint.load(run / WORLD_MODEL, torch.device("cpu"), skip=("fit/optimiser",))
    try:
        fit, weights = state["fit"], state["fit"]["model"]
        if not all(isinstance(tensor, Tensor) for tensor in weights.values()):
            raise TypeError
        steps = read_settings(run / SETTINGS)["world_model_fit"]["steps"]
        if not fit.get("stopped") and fit["step"] < steps:
            raise UserError(f"{run} has a world model at step {fit['step']} of {steps}; fit it to the end: {resume}")
    except (LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{run / WORLD_MODEL} is not of this version of the program; fit the model anew") from error
    return state


def _recipe_of_run(run: Path, state: dict[str, Any]) -> Recipe:
    """The recipe of the world model that a run fitted, or took over."""
    if "recipe" in state:
        return Recipe.from_json(str(state["recipe"]), run / WORLD_MODEL)
    settings = read_settings(run / SETTINGS)
    try:
        result = Result.read(run)
    except UserError:  # which says nothing of the model itself
        result = None
    try:
        return Recipe.of_settings(
            settings,
            dataset=settings["dataset"],
            steps=state["fit"]["step"],
            world_model_fit=settings["world_model_fit"],
            versions=versions() if result is None else result.versions,
            metrics=None if result is None else result.world_model.to_json(),
            fingerprint=read_fingerprint(run),
        )
    except (LookupError, TypeError) as error:
        raise UserError(f"{run / SETTINGS} is not of this version of the program: it lacks {error}") from error


def _files(path: Path) -> list[Path]:
    """The safetensors files that a path names: itself, or all of a folder."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path} is not there; name the folder of a run, or a file that {command('export')} wrote")
    files = sorted(path.glob(f"*{SUFFIX}"))
    if not files:
        raise UserError(f"{path} has no world model: it is no run (no config.yaml) and holds no *{SUFFIX}")
    return files
