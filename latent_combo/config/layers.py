"""What lies beneath a command line's own settings: what the paper sets, a preset, a fitted world model."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from combo_common.errors import UserError
from combo_common.suggest import did_you_mean, nearest
from data.locate import EMBEDDED, default_data_dir
from data.reference import DatasetReference, resolve
from envs.registry import find_task, get_task, names_module, require_trusted, unregistered
from envs.task import OBSERVATIONS
from latent_combo.agent.algorithms import ALGORITHMS
from latent_combo.config.arguments import NONE, named_by_user, peek, split_config
from latent_combo.config.image_size import image_settings
from latent_combo.config.presets import paper_settings, preset_file
from latent_combo.config.recipe import Recipe
from latent_combo.config.schema import Config
from latent_combo.runtime.settings_file import read_settings


@dataclass(frozen=True)
class Layers:
    """What lies beneath a command line's own settings."""

    obs: str
    task: str
    algorithm: str
    files: tuple[Path, ...]
    """The paper's settings for the dataset, if there are any, and the preset, in the order in which they apply."""
    foreign_images: bool = False
    """Whether the dataset is another program's, of images."""
    images: tuple[str, ...] = ()
    """Options for the size of images, and for the layers of another size than these files have."""
    world_model: str = ""
    """Where the fitted world model is that agents are to be trained on; empty where one is to be fitted."""
    recipe: Recipe | None = None
    """What it says of itself; its settings lie above all of these."""

    @classmethod
    def of(cls, arguments: list[str]) -> "Layers":
        """Those of a command line, spelt as the command line is read (`command_line.parse`).

        Raises UserError for unknown names, and for a task, dataset and world model that do not go together.
        """
        obs, chosen, algorithm = chosen_names(arguments)
        world_model, recipe = _pretrained(arguments)
        if recipe is not None:
            obs = peek(arguments, "obs", recipe.obs)
            require_same("obs", obs, recipe.obs, world_model)
        preset = known_preset(obs, chosen, algorithm)
        folder = _data_folder(arguments)
        usual, dataset = str(read_settings(preset).get("dataset", Config.dataset)), peek(arguments, "dataset", "")
        own = None if recipe is None else recipe.dataset
        if own is not None:
            usual, dataset = own, "" if dataset == own else dataset
        reference = resolve(dataset or usual, None, folder)
        told = reference.task
        if (asked := peek(arguments, "task", "")) != named_by_user(arguments):
            require_trusted(asked, "the file that --config names")
        named = _named_task(asked, told if dataset else None, recipe, world_model)
        if own is None and not dataset and named and told not in (named, None):
            raise UserError(
                f"task is {named}, but the dataset of preset {chosen} is {usual}, which is of {told}; "
                f"name a --dataset of {named}"
            )
        if dataset and not named and told is None and reference.format is not None:
            raise reference.without_task("name it with --task")
        task = named or told or Config.task
        published = paper_settings(obs, task, reference.split)
        files = (preset,) if published is None else (published, preset)
        foreign = obs == "pixels" and bool(dataset) and _is_foreign(reference)
        sized = tuple(image_settings(arguments, files, reference)) if obs == "pixels" and recipe is None else ()
        kept = asked if names_module(asked) else task  # so that the run can be read back, by the same module
        return cls(obs, kept, algorithm, files, foreign, sized, world_model, recipe)


def require_same(name: str, value: object, own: object, world_model: str) -> None:
    """Raise UserError where a setting is not that of the fitted world model."""
    if value != own:
        option = name.replace("_", "-")
        remedy = f"name a --dataset of {own}" if name == "task" else f"set --{option} {own}"
        raise UserError(
            f"{name} is {value}, but the world model of {world_model} has {own}; {remedy}, or another model"
        )


def chosen_names(arguments: list[str]) -> tuple[str, str, str]:
    """The observations, the preset and the algorithm that a command line names, or the usual ones."""
    obs, preset, algorithm = (peek(arguments, name, getattr(Config, name)) for name in ("obs", "preset", "algorithm"))
    return obs, preset, algorithm


def known_preset(obs: str, preset: str, algorithm: str) -> Path:
    """The file of a preset. Raises UserError for observations, an algorithm or a preset that there is not."""
    _require_known("obs is", obs, OBSERVATIONS)
    _require_known("unknown algorithm", algorithm, ALGORITHMS)
    return preset_file(obs, preset)


def _named_task(named: str, told: str | None, recipe: Recipe | None, world_model: str) -> str:
    """The task that a command line names, or that follows from its dataset or fitted world model; or "".

    Raises UserError for an unknown task, and where it is not the world model's.
    """
    if named:
        named = get_task(named).name
    if recipe is None:
        return named
    own = _task_of(recipe.task, named, world_model)
    task = named or told or own
    require_same("task", task, own, world_model)
    return task


def _task_of(own: str, named: str, world_model: str) -> str:
    """The name of a fitted world model's task, of which no module is imported but the one that a user named."""
    if (task := find_task(own)) is not None:
        return task.name
    if not named:
        raise unregistered(world_model, own)
    return named if names_module(own) else own


def _require_known(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise UserError(f"{what} {name!r}; it is one of {', '.join(known)}{did_you_mean(nearest(name, known))}")


def _data_folder(arguments: list[str]) -> Path:
    """Where datasets are looked for by name.

    Without any such folder it is that of what comes with the program: a run that needs another says so itself.
    """
    if (named := peek(arguments, "data_dir", "")) not in NONE:
        return Path(named)
    try:
        return default_data_dir()
    except UserError:
        return EMBEDDED


def _is_foreign(dataset: DatasetReference) -> bool:
    """Whether a dataset is there, or where its store keeps it, in a format that does not say how images were drawn."""
    try:
        return dataset.format is not None and not dataset.format.tells_look
    except UserError:
        return False  # loading it says what is wrong


def _pretrained(arguments: list[str]) -> tuple[str, Recipe | None]:
    """Where the fitted world model is that a command line names, or "", and what that says of itself."""
    world_model = peek(arguments, "world_model", "")
    if world_model in NONE:
        return "", None
    for argument in split_config(arguments)[1]:
        if (name := argument.split("=")[0]).startswith("--world_model_fit.") or name == "--world_model_fit":
            raise UserError(f"{name} is of fitting a world model, but that of {world_model} is fitted; leave it out")
    from latent_combo.config.pretrained import read_recipe  # here: it needs torch, which takes seconds to import

    return world_model, read_recipe(Path(world_model))
