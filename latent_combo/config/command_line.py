"""How a command line makes the configuration of a run.

Later wins: the defaults (the paper's), what the paper sets for the dataset, the preset, what a fitted world model says
of itself, the algorithm, `--config FILE`, single settings on the command line.
"""

import difflib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from combo_common.errors import UserError
from combo_common.versions import named
from data.locate import default_data_dir
from data.reference import DatasetReference, resolve
from envs.tasks import OBSERVATIONS, VARIED, get_task
from latent_combo.agent.algorithms import ALGORITHMS
from latent_combo.config.fitted import COMPUTED, GROUPS, Recipe, read_recipe
from latent_combo.config.schema import Config
from latent_combo.runtime.run_folder import config_file
from latent_combo.runtime.settings_file import read_settings

PRESETS = Path(__file__).parents[2] / "configs"
"""A folder for each kind of observations, with a YAML file for each preset."""
PAPER = PRESETS / "paper"
"""What the paper sets for each task and dataset, whatever the sizes: a YAML file each, of images in `pixels`."""
SETTINGS_OF = {"expert": "medium-expert", "": "medium-replay"}
"""Which of D4RL's splits others follow."""


@cache
def _parser() -> jsonargparse.ArgumentParser:
    parser = jsonargparse.ArgumentParser(
        prog="python -m latent_combo.train",
        description="Train a policy offline: dataset -> world model -> latents -> policy -> score. Without settings it "
        "trains from images on the bundled cart and pole; with --obs state from vectors, on the bundled hopper or on "
        "--dataset, which may be one of D4RL's names. Settings come from the defaults below (the paper's, for images), "
        "then what the paper sets for the dataset, the preset, a fitted --world_model, the algorithm, --config, and "
        "the command line; the later ones win, and a run says which files it took.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=named(), help="print this program's version and leave")
    parser.add_argument("--config", action="config", help="a YAML file of settings, such as a run's config.yaml")
    parser.add_argument("--resume", metavar="RUN", help="go on with a stopped run, with its own settings")
    parser.add_class_arguments(Config)
    return parser


def parse(arguments: list[str]) -> tuple[Config, bool]:
    """Read a command line; returns the config and whether to resume.

    Raises UserError, with one readable line, for an unknown key, a wrong type or an impossible combination.
    """
    arguments = _with_fitted(_with_underscores(arguments))
    if "--resume" in arguments or any(a.startswith("--resume=") for a in arguments):
        run = _resumed_folder(arguments)
        return load_config(run), True
    layers = _layers(arguments)
    settings = [f"--agent.{name}={value}" for name, value in ALGORITHMS[layers.algorithm].settings.items()]
    files, single = _split_config(arguments)
    # What the command line says of the algorithm comes after a file; what a file says comes before its own settings.
    named = any(argument.split("=")[0] == "--algorithm" for argument in single)
    ordered = [*files, *settings] if named else [*settings, *files]
    defaults = [f"--config={path}" for path in layers.files]
    defaults += [f"--obs={layers.obs}", f"--task={layers.task}"]
    if layers.recipe is not None:
        defaults += _options(layers.recipe)
    if layers.foreign_images:  # drawn by the simulators' own pictures, as far as anyone knows
        defaults.append("--look=full")
    whole = [*defaults, *ordered, *single]
    if layers.recipe is not None:
        if _peek(arguments, "split_seed", "null") == "null":  # as in a run's own settings, which `--config` may name
            whole.append(f"--split_seed={layers.recipe.split_seed}")
        _require_agreement(whole, layers.recipe, layers.fitted)
    return _instantiate(whole), False


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
    fitted: str = ""
    """Where the fitted world model is that agents are to be trained on; empty where one is to be fitted."""
    recipe: Recipe | None = None
    """What it says of itself; its settings lie above all of these."""


def settings_files(arguments: list[str]) -> tuple[Path, ...]:
    """The files that a command line's settings come from, in the order in which they apply.

    Raises UserError as `parse` does.
    """
    arguments = _with_fitted(_with_underscores(arguments))
    given, _ = _split_config(arguments)
    layers = _layers(arguments)
    said = () if layers.recipe is None else (Path(layers.fitted),)
    return (*layers.files, *said, *(Path(option.removeprefix("--config=")) for option in given))


def _layers(arguments: list[str]) -> Layers:
    obs, chosen, algorithm = (_peek(arguments, name, getattr(Config, name)) for name in ("obs", "preset", "algorithm"))
    fitted, recipe = _fitted(arguments)
    if recipe is not None:
        obs = _peek(arguments, "obs", recipe.obs)
        _require_same("obs", obs, recipe.obs, fitted)
    if obs not in OBSERVATIONS:
        raise UserError(f"obs is {obs!r}; it is one of {', '.join(OBSERVATIONS)}")
    if algorithm not in ALGORITHMS:
        raise UserError(f"unknown algorithm {algorithm!r}; known: {', '.join(ALGORITHMS)}")
    preset = _preset(obs, chosen)
    folder = Path(_peek(arguments, "data_dir", str(default_data_dir()))).expanduser()
    default = str(read_settings(preset).get("dataset", Config.dataset))
    dataset, task = _peek(arguments, "dataset", ""), _peek(arguments, "task", "")
    own = None if recipe is None else recipe.dataset
    if own is not None:
        default, dataset = own, "" if dataset == own else dataset
    reference = resolve(dataset or default, None, folder)
    told = reference.task
    if task:
        get_task(task)
    if recipe is not None:
        get_task(recipe.task)
        task = task or (dataset and told) or recipe.task
        _require_same("task", task, recipe.task, fitted)
    if own is None and not dataset and task and told not in (task, None):
        raise UserError(
            f"task is {task}, but the dataset of preset {chosen} is {default}, which is of {told}; "
            f"name a --dataset of {task}"
        )
    if dataset and not task and told is None and reference.format is not None:
        raise UserError(f"{dataset} does not say which task it is of; name it with --task")
    task = task or told or Config.task
    published = paper_settings(obs, task, reference.split)
    files = (preset,) if published is None else (published, preset)
    foreign = obs == "pixels" and bool(dataset) and _is_foreign(reference)
    return Layers(obs, task, algorithm, files, foreign, fitted, recipe)


def _told(line: str) -> str:
    """What the parser says of an unknown name or of a value of the wrong type, for people."""
    if unknown := re.match(r"unrecognized arguments: (--)?([\w.]+)", line):
        return f"there is no setting {unknown[2]}" + _like(unknown[2])
    if (key := re.match(r'Parser key "([\w.]+)": (.*)', line)) is None:
        return line
    name, reason = key.groups()
    if given := re.search(r"Union subtypes .* Given value: (.*)", reason):
        return f"{name} is {given[1]}; it is one value, or a list with one for each agent, such as [0.5, 1]"
    if (given := re.search(r"Got value: (\[.*\])", reason)) and name.startswith("agent."):
        return f"{name} is {given[1]}, but agents of a stack can not differ in it; give one value"
    return line


def _like(name: str) -> str:
    """A question with the setting that was perhaps meant, or nothing."""
    names = [action.dest for action in _parser()._actions if action.dest not in ("help", "version", "print_config")]
    last = {known.rpartition(".")[2]: known for known in names}
    close = difflib.get_close_matches(name, names, 1, 0.75) or [
        last[own] for own in difflib.get_close_matches(name.rpartition(".")[2], last, 1, 0.75)
    ]
    return f"; did you mean {close[0]}?" if close else ""


def _with_underscores(arguments: list[str]) -> list[str]:
    """A command line whose settings are spelt as in files: --data-dir is --data_dir."""
    spelt = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        spelt.append("--" + name[2:].replace("-", "_") + equals + value if name.startswith("--") else argument)
    return spelt


def _with_fitted(arguments: list[str]) -> list[str]:
    """A command line whose `--world_model PATH` is `--fitted=PATH`: its other `--world_model.*` are of a new one."""
    result, following = [], iter(arguments)
    for argument in following:
        name, inline, path = argument.partition("=")
        if name != "--world_model":
            result.append(argument)
            continue
        path = path if inline else next(following, "")
        if not path or path.startswith("--"):
            raise UserError("--world_model names nothing; give the folder of a run or a file of latent_combo.export")
        result.append(f"--fitted={path}")
    return result


def _fitted(arguments: list[str]) -> tuple[str, Recipe | None]:
    """Where the fitted world model is that a command line names, or "", and what that says of itself."""
    fitted = _peek(arguments, "fitted", "")
    if fitted in ("", "null"):
        return "", None
    for argument in _split_config(arguments)[1]:
        if (name := argument.split("=")[0]).startswith("--fit.") or name == "--fit":
            raise UserError(f"{name} is of fitting a world model, but that of {fitted} is fitted; leave it out")
    return fitted, read_recipe(Path(fitted))


def _options(recipe: Recipe) -> list[str]:
    """A recipe's settings as those of a command line."""
    settings = recipe.settings().items()
    return [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in settings]


def _require_agreement(arguments: list[str], recipe: Recipe, fitted: str) -> None:
    """Raise UserError where settings describe another world model than the fitted one, or hold out what it has seen."""
    try:
        own = _read(_options(recipe))
        _instantiate(_options(recipe))
    except UserError as error:
        raise UserError(f"{fitted} is not of this version of the program: {error}; fit the model anew") from error
    group, said = f"{GROUPS[recipe.obs]}.", _read(arguments)
    names = [name for name in own if name.startswith(group) and name.removeprefix(group) not in COMPUTED]
    if said["dataset"] == recipe.dataset:
        names += ["split_seed", "held_out"]
    for name in ("look", *names):
        _require_same(name, said[name], own[name], fitted)


def _require_same(name: str, value: object, own: object, fitted: str) -> None:
    """Raise UserError where a setting is not that of the fitted world model."""
    if value != own:
        remedy = f"name a --dataset of {own}" if name == "task" else f"set --{name} {own}"
        raise UserError(f"{name} is {value}, but the world model of {fitted} has {own}; {remedy}, or another model")


def _is_foreign(dataset: DatasetReference) -> bool:
    """Whether a dataset is there, or where its store keeps it, in a format that does not say how images were drawn."""
    try:
        return dataset.format is not None and not dataset.format.tells_look
    except UserError:
        return False  # loading it says what is wrong


def _preset(obs: str, name: str) -> Path:
    """The file of a preset. Raises UserError, with the known ones, if there is none of that name."""
    folder = PRESETS / obs
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise UserError(f"unknown preset {name!r}; for {obs} there are {known}")
    return path


def paper_settings(obs: str, task: str, split: str) -> Path | None:
    """The file of what the paper sets for a dataset of a task and split; None for a task that it has not.

    What is none of D4RL's splits (an empty one) follows the nearest: of states, experts' data are as narrow as
    medium-expert, anything else is taken to be as diverse as medium-replay.
    """
    folder = PAPER if obs == "state" else PAPER / "pixels"
    settings = SETTINGS_OF.get(split, split) if obs == "state" else split
    of = task.removesuffix(VARIED)
    return next((path for name in (f"{of}-{settings}", of) if (path := folder / f"{name}.yaml").exists()), None)


def load_config(run: Path) -> Config:
    """The config of a run's folder. Raises UserError if it has none, or one of another version of this program."""
    path = config_file(run)
    read_settings(path)
    try:
        config = _instantiate([f"--config={path}"])
    except UserError as error:
        remedy = "use the version that result.json names, or train anew"
        raise UserError(f"{path} is not of this version of the program: {error}; {remedy}") from error
    return Config(**{**vars(config), "out": str(run)})


def unreadable(run: Path) -> list[str]:
    """What there is to say of a run whose settings this version of the program can't read, a line or none."""
    try:
        load_config(run)
    except UserError as error:
        return [str(error)]
    return []


def save_config(config: Config, path: Path) -> None:
    """Write the whole config as YAML."""
    path.write_text(yaml.safe_dump(settings_of(config), sort_keys=False))


def settings_of(config: Config) -> dict[str, Any]:
    """The whole config as plain values, nested as in its file."""
    settings: dict[str, Any] = _plain(asdict(config))
    return settings


def flat_settings(config: Config) -> dict[str, bool | str | float]:
    """All settings by dotted names, as plain values; what is none of those is written out."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, bool | str | float]]:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from walk(f"{prefix}.{name}" if prefix else name, inner)
        else:
            yield prefix, value if isinstance(value, (bool, str, int, float)) else str(value)

    return dict(walk("", settings_of(config)))


def _instantiate(arguments: list[str]) -> Config:
    with _one_line():
        made: Any = _parser().instantiate(_namespace(arguments))
        return Config(**made.as_dict()) if not isinstance(made, Config) else made


def _read(arguments: list[str]) -> dict[str, Any]:
    """All settings by dotted names, each of its type, whether or not they go together."""
    with _one_line():
        return dict(vars(_namespace(arguments).as_flat()))


def _namespace(arguments: list[str]) -> jsonargparse.Namespace:
    namespace = _parser().parse_args(arguments)
    namespace.pop("config", None)
    namespace.pop("resume", None)
    return namespace


@contextmanager
def _one_line() -> Iterator[None]:
    """Errors of the body become a UserError."""
    try:
        yield
    except (jsonargparse.ArgumentError, ValueError, TypeError) as error:
        line = _told(" ".join(str(error).split()))
        raise UserError(f"{line} (python -m latent_combo.train --help lists all settings)") from error


def _peek(arguments: list[str], name: str, default: str) -> str:
    """The value of one option, from the command line or else from the --config file, before the rest is parsed."""
    files, single = _split_config(arguments)
    value = default
    for path in (Path(option.removeprefix("--config=")) for option in files):
        if path.is_file():
            found = read_settings(path).get(name)
            value = value if found is None else str(found)
    for index, argument in enumerate(single):
        key, _, inline = argument.partition("=")
        if key == f"--{name}":
            value = inline or (single[index + 1] if index + 1 < len(single) else "")
    return value


def _split_config(arguments: list[str]) -> tuple[list[str], list[str]]:
    """A command line as its `--config=FILE` options and the rest, each in order."""
    files, single, following = [], [], iter(arguments)
    for argument in following:
        if argument == "--config":
            files.append(f"--config={next(following, '')}")
        elif argument.startswith("--config="):
            files.append(argument)
        else:
            single.append(argument)
    return files, single


def _resumed_folder(arguments: list[str]) -> Path:
    words = [word for argument in arguments for word in argument.split("=", 1)]
    if len(words) != 2 or words[0] != "--resume":
        raise UserError("--resume RUN stands alone: a run goes on with its own settings")
    return Path(words[1])


def _plain(value: Any) -> Any:
    """Tuples to lists, which YAML has."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
