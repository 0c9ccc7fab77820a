"""What a dataset says of itself: `manifest.json`, and whether it fits a task."""

import json
import sys
import types
import typing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from combo_common.bounded_json import read_json
from combo_common.errors import UserError
from data.actions import bounds
from envs.task import Task

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
BOUNDS = ("action_low", "action_high")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is known of a dataset before its episodes are."""

    task: str
    split: str
    action_repeat: int
    """Control steps of the simulator in one row."""
    horizon: int
    """Rows, the first left out, at which the time limit ends an episode."""
    camera: str
    reward: str
    """What is rewarded, in a line."""
    seed: int
    behaviour: dict[str, Any]
    """Which policies acted, and how they were trained."""
    random_return: float | None
    """Mean return of uniform random actions: 0 of the normalised score."""
    expert_return: float | None
    """Mean return of the expert: 100 of the normalised score; either is None where nobody measured it."""
    image_size: int | None
    """Pixels of the square images; None for a recording, which has none."""
    look: str | None
    """How the images were drawn; None for a recording."""
    action_low: list[float] | None = None
    """The simulator's lowest actions, which -1 stands for; None in a manifest that was written before it was kept."""
    action_high: list[float] | None = None
    """The simulator's highest actions, which 1 stands for; likewise."""

    @property
    def kind(self) -> str:
        """`recording` (no images) or `pixels`."""
        return "recording" if self.image_size is None else "pixels"


@dataclass(frozen=True, kw_only=True)
class Manifest(Description):
    """A dataset's description together with what was counted while it was written."""

    format_version: int
    action_dim: int
    state_dim: int | None
    physics_dim: int | None
    episodes: int
    transitions: int
    return_mean: float
    return_std: float
    return_min: float
    return_max: float
    versions: dict[str, str]
    """Of the software that wrote it."""
    files: dict[str, str]
    """File name to SHA-256, in the order of the episodes."""

    def to_json(self) -> str:
        """Write the text of `manifest.json`."""
        return json.dumps({"kind": self.kind, **asdict(self)}, indent=1) + "\n"


def describe(
    task: Task,
    split: str,
    seed: int,
    behaviour: dict[str, Any],
    random_return: float | None = None,
    expert_return: float | None = None,
) -> Description:
    """Describe a recording of `task`; the two reference returns default to the task's."""
    return Description(
        task=task.name,
        split=split,
        action_repeat=task.action_repeat,
        horizon=task.horizon,
        camera=task.camera,
        reward=task.reward,
        seed=seed,
        behaviour=behaviour,
        random_return=task.random_return if random_return is None else random_return,
        expert_return=task.expert_return if expert_return is None else expert_return,
        image_size=None,
        look=None,
        **bounds_of(task),
    )


def bounds_of(task: Task) -> dict[str, list[float]]:
    """The bounds of a task's actions, by their keys in a manifest."""
    return {name: column.tolist() for name, column in zip(BOUNDS, bounds(task), strict=True)}


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.json`. Raises UserError naming the file and what is wrong with it."""
    path = folder / MANIFEST_NAME
    try:
        content = read_json(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{folder} is no dataset: it has no {MANIFEST_NAME}; make one with data.collect or data.render"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); restore it or make the dataset again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} does not hold a JSON object; restore it or make the dataset again")
    if content.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path} is of format version {content.get('format_version')!r:.80}, this program reads {FORMAT_VERSION}; "
            "make the dataset again, or use the version of latent-combo that made it"
        )
    content.pop("kind", None)
    hints = typing.get_type_hints(Manifest)
    names = [field.name for field in fields(Manifest)]
    if unknown := sorted(set(content) - set(names)):
        key = unknown[0].encode("unicode_escape").decode()[:80]
        raise UserError(f"{path}: unknown key `{key}`; restore it or make the dataset again")
    for name in names:
        if name not in content and name in BOUNDS:
            continue
        if name not in content:
            raise UserError(f"{path}: the key `{name}` is missing; restore it or make the dataset again")
        if not _is_a(content[name], hints[name]):
            raise UserError(f"{path}: `{name}` is {content[name]!r:.80}, of the wrong type; restore it")
    manifest = Manifest(**content)
    if any(Path(file).name != file or not file.endswith(".npz") or not file.isprintable() for file in manifest.files):
        raise UserError(f"{path}: `files` names a file outside the folder, or none; restore it or make it again")
    if len(manifest.files) != manifest.episodes or not manifest.files:
        raise UserError(f"{path} counts {manifest.episodes} episodes but names {len(manifest.files)} files; restore it")
    return manifest


def check_fits(manifest: Manifest, task: Task, drawn: tuple[str, int] | None, where: str = "the dataset") -> None:
    """Refuse a dataset that does not fit how the task is to be seen and acted in.

    `drawn` is the look and size of images, None for states. A recording fits any, for it is still to be drawn.
    Raises UserError naming the first mismatch.
    """
    expected: dict[str, Any] = {
        "task": task.name,
        "action_repeat": task.action_repeat,
        "horizon": task.horizon,
        "camera": task.camera,
        "action_dim": task.action_dim,
    }
    if None not in (manifest.action_low, manifest.action_high):
        expected |= bounds_of(task)
    if manifest.state_dim is not None:
        expected["state_dim"] = task.state_dim
    if manifest.physics_dim is not None:
        expected["physics_dim"] = task.physics_dim
    if manifest.kind == "pixels" and drawn is not None:
        expected |= {"look": drawn[0], "image_size": drawn[1]}
    for key, value in expected.items():
        found = getattr(manifest, key)
        if found != value:
            remedy = "render its recording again" if key in ("look", "image_size", "camera") else "use another dataset"
            raise UserError(f"{where} does not fit: its {key} is {found!r}, but {value!r} is asked for; {remedy}")


def _is_a(value: object, hint: Any) -> bool:
    """Whether a JSON value is of a field's type."""
    if isinstance(hint, types.UnionType):
        return any(_is_a(value, option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is list:
        return isinstance(value, list) and all(_is_a(item, typing.get_args(hint)[0]) for item in value)
    if typing.get_origin(hint) is dict:
        of = typing.get_args(hint)[1]
        return isinstance(value, dict) and all(_is_a(item, of) for item in value.values())
    if hint is Any:
        return True
    if hint is float:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return False
        return abs(value) <= sys.float_info.max  # no NaN, and no number that is none as a float
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))
