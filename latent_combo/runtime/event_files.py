"""TensorBoard's event files, cleaned of what a resumed run logs again.

TensorBoard itself forgets all tags of a folder from one step on (`purge_step`), which would take the model's curves
away with the agent's: the phases of a run count their steps apart, in one folder.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from combo_common.files import replacing_unseen, writing

FILES = "*tfevents*"
"""What TensorBoard takes for event files."""
TEMPORARY = "kept"
"""What it does not."""
HEADER, FOOTER = 12, 4
"""Bytes of a record (TFRecord) before its content, whose length and checksum of that they are, and after it."""
Keeps = Callable[[Summary.Value, int], bool]
"""Whether a value that was logged at a step stays."""


def purge(folder: Path, keeps: Keeps) -> None:
    """Take the events out of a folder's files that hold a value which does not stay.

    A file appears whole or not at all, under its own name, and one that loses nothing is left alone; so this may be
    interrupted and done again. Raises UserError where a file can't be written.
    """
    for path in sorted(folder.glob(FILES)):
        with writing(path), open(path, "rb") as file:
            if all(_stays(record, keeps) for record in _records(file)):
                continue
        with replacing_unseen(path, TEMPORARY) as temporary, open(path, "rb") as file, open(temporary, "wb") as kept:
            kept.writelines(record for record in _records(file) if _stays(record, keeps))


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Records with their headers and checksums, up to the first that is cut short or damaged, where readers stop."""
    while len(header := file.read(HEADER)) == HEADER:
        length, checksum = struct.unpack("<QI", header)
        if checksum != masked_crc32c(header[:8]):
            return
        body = file.read(length + FOOTER)
        if len(body) < length + FOOTER:
            return
        yield header + body


def _stays(record: bytes, keeps: Keeps) -> bool:
    try:
        event = Event.FromString(record[HEADER:-FOOTER])
    except DecodeError:
        return False
    return all(keeps(value, event.step) for value in event.summary.value)
