"""How a command line makes the configuration of a run.

Later wins: the defaults (the paper's), what the paper sets for the dataset, the preset, the size of the dataset's
images, what a fitted world model says of itself, the algorithm, `--config FILE`, single settings on the command line.
"""

import json
from dataclasses import replace
from pathlib import Path

from combo_common.cli import with_underscores
from combo_common.errors import UserError
from combo_common.paths import path_text, require_text
from combo_common.versions import named
from data.locate import unknown
from data.reference import resolve
from envs.registry import get_task, names_module, require_trusted
from latent_combo.agent.algorithms import ALGORITHMS
from latent_combo.config.arguments import (
    NONE,
    as_written,
    config_files,
    named_by_user,
    peek,
    resumed_folder,
    split_config,
    with_new_words,
)
from latent_combo.config.help import help_text
from latent_combo.config.layers import Layers, require_same
from latent_combo.config.parser import instantiate, read
from latent_combo.config.recipe import COMPUTED, GROUPS, Recipe
from latent_combo.config.saved import load_config
from latent_combo.config.schema import Config
from latent_combo.runtime.new_run import require_new_run

HELP = ("-h", "--help")


def parse(arguments: list[str]) -> tuple[Config, bool]:
    """Read a command line; returns the config and whether to resume.

    Prints and leaves for `--help`, which shows the values that the other arguments make, `--version` and
    `--print_config`. Raises UserError, with one readable line, for an unknown key, a wrong type or an impossible
    combination.
    """
    _answer(arguments)
    arguments = _spelt(arguments)
    if (run := resumed_folder(arguments)) is not None:
        return resumed(run, named_by_user(arguments)), True
    layers = Layers.of(arguments)
    whole = _ordered(arguments, layers)
    if layers.recipe is not None:
        _require_agreement(whole, layers.recipe, layers.world_model)
    return instantiate(whole), False


def resumed(run: Path, named: str) -> Config:
    """The config with which a run goes on, and with its task as a user names it; empty: as its settings do.

    Raises UserError where that takes a module that no user has named, and for another task than the run's.
    """
    config = load_config(run)
    if not named:
        require_trusted(config.task, str(run))
        return config
    if config.task == (task := get_task(named).name):
        return config  # which is known by that name from now on
    if not names_module(config.task):
        raise UserError(f"task is {task}, but the run {run} is of {config.task}; name that task")
    return replace(config, task=named)


def check(arguments: list[str]) -> None:
    """Leave as `parse` does; and raise what it raises, and `require_dataset`, before what a run needs is imported.

    A fitted world model, which takes torch to read, is not looked at: with one, names and types alone are checked.
    """
    _answer(arguments)
    spelt = _spelt(arguments)
    if resumed_folder(spelt) is None and peek(spelt, "world_model", "") not in NONE:
        if not any(argument.startswith("--print_config") for argument in spelt):
            files, single = split_config(spelt)
            read([*files, *single])
        return
    config, resume = parse(arguments)
    if not resume:
        require_dataset(config)
        require_new_run(Path(config.out))


def require_dataset(config: Config) -> None:
    """Raise UserError, with the nearest known names, where there is no such dataset, or no vectors of such names.

    Nothing is read or fetched.
    """
    task = get_task(config.task)
    task.vector_indices(config.observation_spec.vectors)
    reference = resolve(config.dataset, task, config.data_folder)
    if reference.path is None and reference.store is None:
        raise unknown(config.dataset, config.data_folder)


def _answer(arguments: list[str]) -> None:
    """Print what was asked for instead of a run, and leave; or nothing."""
    if "--version" in arguments:
        print(named())
        raise SystemExit
    if set(HELP) & set(arguments):
        try:
            print(explain([argument for argument in arguments if argument not in HELP]))
        except UserError:
            print(explain([]))
            raise
        raise SystemExit


def settings_files(arguments: list[str]) -> tuple[Path, ...]:
    """The files that a command line's settings come from, in the order in which they apply.

    Raises UserError as `parse` does.
    """
    arguments = _spelt(arguments)
    layers = Layers.of(arguments)
    said = () if layers.recipe is None else (Path(layers.world_model),)
    return (*layers.files, *said, *config_files(arguments))


def explain(arguments: list[str]) -> str:
    """The help of `train`: every setting, with the value that the arguments make of it.

    Raises UserError for arguments that make no config, such as a name that there is not.
    """
    spelt = _spelt(arguments)
    return help_text(read(_ordered(spelt, Layers.of(spelt))))


def _spelt(arguments: list[str]) -> list[str]:
    require_text(arguments)
    return with_new_words(with_underscores(arguments))


def _ordered(arguments: list[str], layers: Layers) -> list[str]:
    """A command line with all that lies beneath it as options before its own, since the later ones win."""
    algorithm = ALGORITHMS[layers.algorithm]
    defaults, settings = (
        [f"--agent.{name}={as_written(value)}" for name, value in some.items()]
        for some in (algorithm.defaults, algorithm.settings)
    )
    files, single = split_config(arguments)
    # What the command line says of the algorithm comes after a file; what a file says comes before its own settings.
    named_here = any(argument.split("=")[0] == "--algorithm" for argument in single)
    ordered = [*files, *settings] if named_here else [*settings, *files]
    # Its usual values give way to a file, but for one of another algorithm: a run's own has all values of that.
    others = peek(files, "algorithm", layers.algorithm) != layers.algorithm
    ordered = [*files, *defaults, *settings] if named_here and others else [*defaults, *ordered]
    beneath = [f"--config={path}" for path in layers.files]
    beneath += [f"--obs={layers.obs}", f"--task={layers.task}", *layers.images]
    if layers.recipe is not None:
        beneath += _options(layers.recipe)
    if layers.foreign_images:  # drawn by the simulators' own pictures, as far as anyone knows
        beneath.append("--look=full")
    whole = [*beneath, *ordered, *single]
    if layers.recipe is not None and peek(arguments, "split_seed", "null") == "null":
        whole.append(f"--split_seed={layers.recipe.split_seed}")  # as in a run's own settings, which --config may name
    return whole


def _options(recipe: Recipe) -> list[str]:
    """A recipe's settings as those of a command line."""
    settings = recipe.settings().items()
    return [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in settings]


def _require_agreement(arguments: list[str], recipe: Recipe, world_model: str) -> None:
    """Raise UserError where settings describe another world model than the fitted one, or hold out what it has seen."""
    try:
        own = read(_options(recipe))
        instantiate(_options(recipe))
    except UserError as error:
        raise UserError(f"{world_model} is not of this version of the program: {error}; fit the model anew") from error
    group, said = f"{GROUPS[recipe.obs]}.", read(arguments)
    names = [name for name in own if name.startswith(group) and name.removeprefix(group) not in COMPUTED]
    if path_text(said["dataset"]) == recipe.dataset:
        names += ["split_seed", "validation_fraction"]
    for name in ("look", "vectors", *names):
        require_same(name, said[name], own[name], world_model)
