"""The recipe of a fitted world model, which says what its weights are: plain data, read without torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from combo_common.bounded_json import parse_json
from combo_common.errors import UserError
from latent_combo.runtime.renamed import with_new_names
from latent_combo.runtime.settings_file import flat

FORMAT = 2
"""Version of what the recipe holds; 1 has settings by names of before, and is read, too."""
METADATA = "recipe"
"""Where the recipe stands in a file's metadata."""
GROUPS = {"pixels": "rssm", "state": "ensemble"}
"""The settings of a world model, by what it observes."""
COMPUTED = ("conv.ways", "conv.bfloat16")
"""Settings that say how a machine computes a world model, not what the model is."""


@dataclass(frozen=True)
class Recipe:
    """What a fitted world model is, and what it was fitted to."""

    obs: str
    """pixels or state."""
    task: str
    look: str
    image_size: int | None
    """Pixels; None for a model of states."""
    model: dict[str, Any]
    """All settings of the world model, nested."""
    dataset: str | None
    """As the run named it; None where nobody knows."""
    split_seed: int
    """It decides, with the share held out, which of the dataset's episodes the model was not fitted to."""
    validation_fraction: float
    steps: int | None
    """Steps of the fit; None where nobody knows."""
    world_model_fit: dict[str, Any] | None
    """All settings of the fit; None where nobody knows."""
    versions: dict[str, str]
    """The versions of the program, and of what it stands on, that fitted the model."""
    metrics: dict[str, Any] | None
    """What the run's result.json has of the world model; None for a run without a result."""
    fingerprint: str | None = None
    """What the data of the fit are known by; None where nobody knows."""
    vectors: list[str] | str = field(default_factory=list)
    """What the model sees beside images; empty where that is nothing."""

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any], **known: Any) -> "Recipe":
        """The recipe of a run with the given settings, nested as in its config.yaml; the rest is `known`."""
        group = GROUPS[settings["obs"]]
        split_seed = settings.get("split_seed")
        return cls(
            **{name: settings[name] for name in ("obs", "task", "look", "validation_fraction")},
            image_size=settings[group]["conv"]["image_size"] if settings["obs"] == "pixels" else None,
            model=settings[group],
            split_seed=settings["seed"] if split_seed is None else split_seed,
            vectors=settings.get("vectors", []),
            **known,
        )

    @classmethod
    def from_json(cls, text: str, where: Path) -> "Recipe":
        """Read what `to_json` wrote. Raises UserError for anything else."""
        try:
            said = parse_json(text)
            if (version := said.pop("format")) == 1:
                said = _of_format_1(said)
            elif version != FORMAT:
                raise UserError(f"{where} has a recipe of another format than {FORMAT}; use a version that reads it")
            recipe = cls(model=said.pop(GROUPS[said["obs"]]), **said)
            for name in ("task", "look"):
                _require(name, said[name], str)
            _require("dataset", said["dataset"], str, type(None))
            _require("vectors", recipe.vectors, str, list)
            _require("split_seed", said["split_seed"], int)
            _require("validation_fraction", said["validation_fraction"], float)
            _require("steps", said["steps"], int, type(None))
            _require("fingerprint", said.get("fingerprint"), str, type(None))
            for name, value in recipe.settings().items():
                if name.startswith(GROUPS[said["obs"]]):
                    _require_numbers(name, value)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{where} has no recipe that can be read ({error}); export it anew") from error
        return recipe

    def to_json(self) -> str:
        """All of it on a line, with the version of the format."""
        said = {"format": FORMAT, **asdict(self)}
        said[GROUPS[said["obs"]]] = said.pop("model")
        return json.dumps(said)

    def settings(self) -> dict[str, Any]:
        """What a run that uses the model takes over, by dotted names; how it is computed is the machine's to settle."""
        said = asdict(self)
        names = ("obs", "vectors", "task", "look", "dataset", "split_seed", "validation_fraction")
        taken = {name: said[name] for name in names if said[name] is not None}
        group = GROUPS[said["obs"]]
        return taken | {f"{group}.{name}": value for name, value in flat(said["model"]) if name != COMPUTED[0]}


def _of_format_1(said: dict[str, Any]) -> dict[str, Any]:
    """A recipe by the names that settings had before, by those that they have now."""
    new, _ = with_new_names(said)
    own = {"fit": "world_model_fit", "quality": "metrics"}  # the first is a group, but where it is null
    return {own.get(name, name): value for name, value in new.items()}


def _require(name: str, value: object, *kinds: type) -> None:
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}")


def _require_numbers(name: str, value: object) -> None:
    """Settings of a model are numbers; a word might be taken for the name of a file."""
    for number in value if isinstance(value, list) else [value]:
        if not isinstance(number, (bool, int, float)):
            raise TypeError(f"{name} is {value!r}")
