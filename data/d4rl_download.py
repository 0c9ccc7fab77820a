"""D4RL's own files: their names, where they may lie on this machine, and fetching them.

Nothing else of the program uses the network, and this only where a dataset is asked for by D4RL's name and is not here.
"""

import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import ClassVar

from combo_common.errors import UserError
from combo_common.files import write_all, write_new, writing
from combo_common.hashing import sha256_of
from combo_common.lock import waiting_for
from combo_common.paths import home
from combo_common.progress import progress_bar
from data.formats.store import Store

ROBOTS = ("halfcheetah", "hopper", "walker2d", "ant")
SPLITS = ("random", "medium", "medium-replay", "medium-expert", "expert")
VERSIONS = ("v0", "v2")
D4RL_NAME_PATTERN = re.compile(rf"({'|'.join(ROBOTS)})-({'|'.join(SPLITS)})-({'|'.join(VERSIONS)})")
SOURCES = {
    "v2": (
        "http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2/{file}",
        "https://huggingface.co/datasets/imone/D4RL/resolve/main/{file}",
    ),
    "v0": ("http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco/{file}",),
}
"""Where the files are published, in the order in which they are tried."""
D4RL_FOLDER = Path(".d4rl") / "datasets"
"""Where D4RL itself keeps them, below the home folder."""
SECONDS = 30.0
"""Without an answer, a source is given up."""
BLOCK = 1 << 20


def published_names() -> list[str]:
    """All of D4RL's names that are known here."""
    return [f"{robot}-{split}-{version}" for robot in ROBOTS for split in SPLITS for version in VERSIONS]


def file_name(name: str) -> str:
    """What D4RL's file of a dataset is called. Raises ValueError for a name that is none of D4RL's."""
    match = D4RL_NAME_PATTERN.fullmatch(name)
    if match is None:
        raise ValueError(f"{name} is none of D4RL's names")
    robot, split, version = match.groups()
    if version == "v0":  # of the first version, the replay is called "mixed", and that of walker2d is misspelt
        split = "mixed" if split == "medium-replay" else split
        robot = "walker" if split == "mixed" and robot == "walker2d" else robot
    stem = f"{robot}_{split.replace('-', '_')}"
    return f"{stem}.hdf5" if version == "v0" else f"{stem}-{version}.hdf5"


class D4RLStore(Store):
    """D4RL's names: in the data folder, in D4RL's own, or on the network."""

    by_name: ClassVar[bool] = False

    def has(self, name: str) -> bool:
        """Whether it is robot-split-version."""
        return D4RL_NAME_PATTERN.fullmatch(name) is not None

    def may_hold_images(self, name: str) -> bool:
        """None does."""
        return False

    def find(self, name: str, data_dir: Path) -> Path | None:
        """The file in the data folder or in D4RL's own, unread."""
        own = home()
        folders = [data_dir] if own is None else [data_dir, own / D4RL_FOLDER]
        return next((path for folder in folders if (path := folder / file_name(name)).is_file()), None)

    def fetch(self, name: str, data_dir: Path) -> Path:
        """The file, held against its SHA-256 of when it was first seen."""
        path = self.find(name, data_dir)
        if path is None:
            return download(name, data_dir)
        check_sum(path, data_dir)
        return path

    def known(self) -> list[str]:
        """All of D4RL's names that are known here."""
        return published_names()


def check_sum(path: Path, data_dir: Path) -> None:
    """Note a file's SHA-256 when it is first seen, and afterwards hold it against that.

    The note lies in the data folder: D4RL's own folder is not ours. Raises UserError where they differ.
    """
    note = data_dir / f"{path.name}.sha256"
    found = sha256_of(path)
    if not note.exists():
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            write_new(note, f"{found}  {path.name}\n".encode())
        except OSError as error:
            raise UserError(f"cannot write to {data_dir}: {error.strerror}; choose another --data-dir") from error
        return
    if (known := note.read_text().split()[0]) != found:
        raise UserError(
            f"{path} is not what it was when it was first seen (SHA-256 {found[:12]}..., then {known[:12]}...); "
            f"remove it to fetch it again, or remove {note} if the new one is right"
        )


def download(name: str, data_dir: Path, sources: tuple[str, ...] | None = None) -> Path:
    """Fetch a dataset into the data folder, going on where an earlier attempt was cut off.

    Where another process fetches it, this one waits, and takes what that fetched. Raises UserError, naming an address
    to fetch by hand, where no source answers.
    """
    target = data_dir / file_name(name)
    with waiting_for(target.with_name(f"{target.name}.lock"), str(target)):
        if target.is_file():
            check_sum(target, data_dir)
            return target
        return _downloaded(name, target, SOURCES[name.rsplit("-", 1)[1]] if sources is None else sources)


def _downloaded(name: str, target: Path, sources: tuple[str, ...]) -> Path:
    data_dir, file, reasons = target.parent, target.name, []
    for number, source in enumerate(sources):
        # what one source began, another can not go on with: its file may be another
        url, part = source.format(file=file), data_dir / f"{file}.part{number}"
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            _fetch(url, part)
        except (OSError, urllib.error.URLError) as error:
            plain = isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError)
            reasons.append(f"{url}: {getattr(error, 'reason', error) if plain else error}")
            continue
        os.replace(part, target)
        check_sum(target, data_dir)
        return target
    raise UserError(
        f"{name} is not in {data_dir} or ~/{D4RL_FOLDER}, and could not be fetched ({'; '.join(reasons)}); "
        f"fetch {sources[0].format(file=file)} by hand and put it into {data_dir}"
    )


def _fetch(url: str, part: Path) -> None:
    """Write what a URL holds to `part`, or what of it is not there yet. Raises OSError where that fails."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:  # 416: nothing is left after what we have
            raise
        return
    with answer:
        resumed = answer.status == 206
        left = int(answer.headers.get("Content-Length") or 0)
        total = left + (have if resumed else 0)
        with part.open("ab" if resumed else "wb", buffering=0) as file, progress_bar(
            desc=f"fetching {url}", total=total or None, initial=have if resumed else 0, unit="B", unit_scale=True
        ) as bar:  # fmt: skip
            while block := answer.read(BLOCK):
                with writing(part):
                    write_all(file.fileno(), block)
                bar.update(len(block))
    if total and part.stat().st_size != total:
        raise OSError(f"cut off after {part.stat().st_size} of {total} bytes")
