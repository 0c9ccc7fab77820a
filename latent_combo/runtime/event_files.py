"""TensorBoard's event files, cleaned of what a resumed run logs again.

TensorBoard itself forgets all tags of a folder from one step on (`purge_step`), which would take the model's curves
away with the agent's: the phases of a run count their steps apart, in one folder.
"""

import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from combo_common.files import GrowingFile, replacing_unseen, write_new, writing

FILES = "*tfevents*"
"""What TensorBoard takes for event files."""
TEMPORARY = "kept"
"""What it does not."""
HEADER, FOOTER = 12, 4
"""Bytes of a record (TFRecord) before its content, whose length and checksum of that they are, and after it."""
WAITING = 1 << 16
"""Bytes of events that are kept back at most until the file is flushed."""
_numbers = itertools.count()
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
        with replacing_unseen(path, TEMPORARY) as temporary, open(path, "rb") as file:
            write_new(temporary, *(record for record in _records(file) if _stays(record, keeps)))


class EventFile:
    """A new event file, of which several threads may write; what went wrong with it is raised where it does.

    It has the methods of TensorFlow's own writer that torch's `SummaryWriter` calls.
    """

    def __init__(self, folder: Path, suffix: str = "") -> None:
        """Make a file whose name TensorBoard takes for one of events. Raises UserError where that can't be."""
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        made = f"{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._folder, self._lock = folder, threading.Lock()
        self._file = GrowingFile(folder / f"events.out.tfevents.{made}{suffix}")
        self._waiting, self._size = list[bytes](), 0
        self._add(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self.flush()

    def add_summary(self, summary: Summary, global_step: int | None = None, walltime: float | None = None) -> None:
        """Add values of a step."""
        event = Event(wall_time=time.time() if walltime is None else walltime, summary=summary)
        if global_step is not None:
            event.step = int(global_step)
        self._add(event)

    def get_logdir(self) -> str:
        """The folder."""
        return str(self._folder)

    def flush(self) -> None:
        """Write what is waiting. Raises UserError where it can't be written."""
        with self._lock:
            self._write()

    def close(self) -> None:
        """Write what is waiting, and close the file."""
        try:
            self.flush()
        finally:
            self._file.close()

    def _add(self, event: Event) -> None:
        content = event.SerializeToString()
        header = struct.pack("<Q", len(content))
        record = header + struct.pack("<I", masked_crc32c(header)) + content + struct.pack("<I", masked_crc32c(content))
        with self._lock:
            self._waiting.append(record)
            self._size += len(record)
            if self._size >= WAITING:
                self._write()

    def _write(self) -> None:
        waiting, self._waiting, self._size = self._waiting, [], 0
        if waiting:
            self._file.write(b"".join(waiting))


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
