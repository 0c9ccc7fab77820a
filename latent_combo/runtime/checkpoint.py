"""Checkpoints: a folder each, written whole or not at all, and read only as it was written. Nothing is unpickled.

A phase's checkpoint after 2000 steps is the folder `agent-0002000` with `tensors.safetensors`, `state.json` (the rest,
by `plain_json`) and `manifest.json` (sizes and SHA-256 of both). It is written under another name, each file flushed to
the disk, the manifest last, and appears by one rename; only then an older one is removed.
"""

import re
import shutil
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from combo_common.bounded_json import MOST_BYTES, read_bounded
from combo_common.durable import publish, write_durably
from combo_common.errors import UserError
from combo_common.files import writing
from combo_common.reason import reason
from latent_combo.runtime import old_checkpoint
from latent_combo.runtime.manifest import DamagedError, read_manifest, write_manifest
from latent_combo.runtime.plain_json import from_json, to_json
from latent_combo.runtime.tensors_file import TensorsFile, write_tensors

FORMAT = 2
"""Version of what a checkpoint's folder holds; 1 is the single file of `torch.save`, and is read, too."""
KEPT = 2
"""Checkpoints of a phase that stay, unless a run's settings say otherwise."""
TENSORS, STATE = "tensors.safetensors", "state.json"
DIGITS = 7
"""Of the steps in a name, at least."""
OLD = ".pt"
"""The suffix of a checkpoint of before."""
PARTIAL, DAMAGED = ".partial", ".damaged"
"""How names end of a checkpoint that is being written or removed, and of one that is not used any more."""
FAILURES = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading raises on a file that is not as it was written."""
TRIES = 3
"""How often a reader looks again where checkpoints are replaced while it reads."""


@dataclass(frozen=True)
class Found:
    """A checkpoint that is whole."""

    state: dict[str, Any]
    place: Path
    """Its folder, or its file if it is one of before."""
    damaged: tuple[Path, ...]
    """Later ones that are not."""


def save(path: Path, step: int, state: dict[str, Any], kept: int = KEPT) -> int:
    """Write a phase's checkpoint after `step` steps, and remove all but the last `kept`; returns its bytes.

    `path` is the folder's without the steps, such as RUN/checkpoints/agent. Raises UserError where it can't be written,
    and TypeError for a state that is neither plain nor tensors; earlier checkpoints are then untouched.
    """
    folder = _new(path, step)
    partial = folder.with_name(f"{folder.name}{PARTIAL}")
    content, tensors = to_json(state)
    with writing(folder):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if partial.exists():
                shutil.rmtree(partial)
            partial.mkdir()
            files = {
                STATE: write_durably(partial / STATE, [content]),
                TENSORS: write_tensors(partial / TENSORS, tensors),
            }
            write_manifest(partial, {"format": FORMAT, "phase": path.name, "step": step}, files)
            publish(partial, folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    for older in [other for other in _folders(path) if other != folder][max(0, kept - 1) :]:
        _retire(older)
    return sum(file.size for file in files.values())


def exists(path: Path) -> bool:
    """Whether there is a checkpoint of a phase, whole or not."""
    return bool(_folders(path)) or _old(path).is_file()


def load(path: Path, device: torch.device, skip: Collection[str] = ()) -> dict[str, Any]:
    """Read a phase's newest whole checkpoint onto a device, against its checksums.

    What is at the places of `skip`, such as fit/buffer, is None and is not read. A line on the standard error stream
    names a newer one that is damaged. Raises UserError where there is none, and where none is whole.
    """
    return find(path, device, skip).state


def find(path: Path, device: torch.device, skip: Collection[str] = ()) -> Found:
    """The same, with its place and the damaged ones."""
    for _ in range(TRIES):
        damaged = dict[Path, str]()
        for folder in [*_folders(path), *([_old(path)] if _old(path).is_file() else [])]:
            try:
                state = _read_old(folder, device) if folder.suffix == OLD else _read(folder, device, skip)
            except DamagedError as damage:
                damaged[folder] = str(damage)
            else:
                for other, why in damaged.items():
                    print(
                        f"warning: {why}; {other.name} is damaged, and {folder.name} is used instead", file=sys.stderr
                    )
                return Found(state, folder, tuple(damaged))
        if all(folder.exists() for folder in damaged):
            break  # or else others took their places meanwhile
    if damaged:
        remedy = "remove what is damaged and train that part again"
        raise UserError(
            f"{path.parent} has no checkpoint of {path.name} that is whole: {'; '.join(damaged.values())}; {remedy}"
        )
    raise UserError(f"{path}-* does not exist; has this run been trained that far?")


def sweep(path: Path, found: Found | None, kept: int = KEPT) -> None:
    """Remove what killed saves have left, all but the last `kept` among it, and give damaged ones another name.

    Only where nobody else writes there.
    """
    if path.parent.is_dir():
        for left in (*path.parent.glob(f"{path.name}-*{PARTIAL}"), *path.parent.glob(f"{path.name}{OLD}*.tmp")):
            _remove(left)
    for folder in found.damaged if found is not None else ():
        aside = folder.with_name(f"{folder.name}{DAMAGED}")
        _remove(aside)
        with writing(aside):
            folder.rename(aside)
    for older in _folders(path)[max(1, kept) :]:
        _retire(older)


def _folders(path: Path) -> list[Path]:
    """All checkpoints of a phase that have appeared, the newest first."""
    if not path.parent.is_dir():
        return []
    own = re.compile(rf"{re.escape(path.name)}-(\d+)(?:\.(\d+))?")
    named = ((match, folder) for folder in path.parent.iterdir() if (match := own.fullmatch(folder.name)))
    numbered = sorted(((int(match[1]), int(match[2] or 0), folder) for match, folder in named), reverse=True)
    return [folder for _, _, folder in numbered]


def _new(path: Path, step: int) -> Path:
    """A name that no checkpoint has: what is written again after the same steps does not replace itself."""
    folder, times = path.with_name(f"{path.name}-{step:0{DIGITS}d}"), 0
    while (named := folder.with_name(f"{folder.name}.{times}") if times else folder).exists():
        times += 1
    return named


def _old(path: Path) -> Path:
    return path.with_name(f"{path.name}{OLD}")


def _read(folder: Path, device: torch.device, skip: Collection[str]) -> dict[str, Any]:
    """Read a folder. Raises DamagedError, and UserError for what a permission or another version's format forbids."""
    try:
        said = read_manifest(folder)
        if said["format"] != FORMAT:
            raise UserError(
                f"{folder} is of format {said['format']!r:.40}, not {FORMAT}; read it by the version that wrote it"
            )
        tensors = TensorsFile(folder / TENSORS, device)
        return from_json(read_bounded(folder / STATE, MOST_BYTES), tensors.read, skip)
    except PermissionError as error:
        raise UserError(f"can not read {error.filename}: {error.strerror}; mend its permissions") from error
    except FAILURES as error:
        raise DamagedError(f"{folder} can not be read ({reason(error)})") from error


def _read_old(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a file of before. Raises DamagedError, and UserError where a permission forbids it."""
    try:
        return {name: _moved(part, device) for name, part in old_checkpoint.read(path).items()}
    except PermissionError as error:
        raise UserError(f"can not read {path}: {error.strerror}; mend its permissions") from error
    except FAILURES as error:
        raise DamagedError(f"{path} is not a readable checkpoint ({reason(error)})") from error


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    return type(value)(_moved(item, device) for item in value) if isinstance(value, (list, tuple)) else value


def _retire(folder: Path) -> None:
    """Remove a checkpoint, which is none from the first moment on."""
    with suppress(OSError):
        shutil.rmtree(folder.rename(folder.with_name(f"{folder.name}{PARTIAL}")))


def _remove(path: Path) -> None:
    """Remove a file or folder, or what can be removed of it: what stays is no checkpoint, and is tried again."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
