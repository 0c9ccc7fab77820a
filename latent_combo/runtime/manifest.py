"""A folder of files and the manifest that says what they hold: whoever reads it knows whether all is as it was written.

The manifest is written last, so that a folder without one is not whole.
"""

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from combo_common.bounded_json import parse_json, read_bounded
from combo_common.durable import Written, write_durably
from combo_common.hashing import BLOCK

MANIFEST = "manifest.json"
MOST_BYTES = 1 << 20
"""Of a manifest."""
NAME = re.compile(r"\w[\w.-]{0,99}")
"""Of a file in the folder, and nowhere else."""


class DamagedError(Exception):
    """A file is not as it was written; the message names it and says what is wrong."""


def write_manifest(folder: Path, about: Mapping[str, Any], files: Mapping[str, Written]) -> None:
    """Write what the files of a folder hold, and what there is to say of them. Raises OSError."""
    body = {**about, "files": {name: {"bytes": file.size, "sha256": file.sha256} for name, file in files.items()}}
    write_durably(folder / MANIFEST, [_with_checksum(body)])


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a folder's manifest says, all of its files being as that says. Raises DamagedError, and OSError."""
    path = folder / MANIFEST
    try:
        content = read_bounded(path, MOST_BYTES)
        said = parse_json(content)
        said.pop("sha256")
        if content != _with_checksum(said):
            raise DamagedError(f"{path} does not agree with its own checksum")
        if any(not NAME.fullmatch(name) for name in said["files"]):
            raise DamagedError(f"{path} names a file that is not beside it")
        for name, file in said["files"].items():
            _require(folder / name, file["bytes"], file["sha256"])
    except FileNotFoundError as error:
        raise DamagedError(f"{error.filename} is missing") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{path} is no manifest") from error
    return dict(said)


def _require(path: Path, size: int, sha256: str) -> None:
    """Raise DamagedError where a file is not of that size and SHA-256."""
    about = path.lstat()
    if not stat.S_ISREG(about.st_mode):
        raise DamagedError(f"{path} is a link or no file; put the file itself there")
    if about.st_size != size:
        raise DamagedError(f"{path} has {about.st_size} bytes instead of {size}")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    if digest.hexdigest() != sha256:
        raise DamagedError(f"{path} has another SHA-256 than {MANIFEST} says")


def _with_checksum(body: Mapping[str, Any]) -> bytes:
    """The manifest's bytes: all that is said, and the SHA-256 of that, one way to write it."""
    told = json.dumps(body, sort_keys=True)
    return json.dumps({**body, "sha256": hashlib.sha256(told.encode()).hexdigest()}, sort_keys=True, indent=1).encode()
