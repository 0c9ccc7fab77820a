"""Checksums of files."""

import hashlib
from pathlib import Path

BLOCK = 1 << 20
_known: dict[tuple[int, ...], str] = {}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, which is read once while it stays as it is. Raises OSError where it can't be read.

    Whether it has changed is told by its place on the disk, its size, and when it was last written or changed.
    """
    about = path.stat()
    key = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    if key not in _known:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
        _known[key] = digest.hexdigest()
    return _known[key]
