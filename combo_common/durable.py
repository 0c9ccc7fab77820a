"""Files and folders that are on the disk when a call returns, so that neither a kill nor a power cut halves them."""

import errno
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from combo_common.hashing import BLOCK

_UNKNOWN = (errno.EINVAL, errno.ENOTSUP, errno.EROFS, errno.EBADF)
"""What file systems answer that flush no folders."""


@dataclass(frozen=True)
class Written:
    """What a file holds."""

    size: int
    """Bytes."""
    sha256: str
    """64 hexadecimal digits."""


def write_durably(path: Path, parts: Iterable[bytes | memoryview]) -> Written:
    """Write a new file, part after part, flush it to the disk, and say what it holds. Raises OSError.

    The checksum is of what was asked for: it is taken on the way, and the file is not read again.
    """
    digest, size = hashlib.sha256(), 0
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        for part in parts:
            view = memoryview(part).cast("B")
            for start in range(0, len(view), BLOCK):
                piece = view[start : start + BLOCK]
                digest.update(piece)  # while it is in the processor's cache
                size += len(piece)
                while piece:
                    piece = piece[os.write(opened, piece) :]
        os.fsync(opened)
    finally:
        os.close(opened)
    return Written(size, digest.hexdigest())


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk. Raises OSError; file systems that know no such thing are let be."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    finally:
        os.close(opened)


def publish(temporary: Path, folder: Path) -> None:
    """Give a folder whose files are on the disk its name, by one rename that is on the disk, too. Raises OSError.

    There must be no folder of that name, other than an empty one.
    """
    sync_folder(temporary)
    os.rename(temporary, folder)
    sync_folder(folder.parent)
