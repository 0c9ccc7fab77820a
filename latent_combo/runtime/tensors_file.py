"""Many tensors in a safetensors file, written one after another without a copy of them all, and read one by one."""

import json
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from combo_common.durable import Written, write_durably

NAMES = {
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8"},
    **{torch.uint8: "U8", torch.bool: "BOOL"},
}
"""Types as the format calls them."""
MOST_HEADER = 1 << 23
"""Bytes that say where the tensors lie: some 100 for each."""
ALIGNMENT = 8
"""The header's length is a multiple of it, so that no number lies across two words."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Written:
    """Write a new file and flush it to the disk; says what it holds. Raises OSError, and TypeError for another type.

    It takes memory for the largest tensor that lies on a GPU or with gaps, and none for the others.
    """
    # wide types first: all numbers then lie at multiples of their sizes
    ordered = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, place = {}, 0
    for name in ordered:
        tensor = tensors[name]
        if tensor.dtype not in NAMES:
            raise TypeError(f"{name} is of {tensor.dtype}, which a checkpoint does not hold")
        end = place + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)

    def parts() -> Iterator[bytes | memoryview]:
        yield struct.pack("<Q", len(text)) + text
        for name in ordered:
            yield _bytes(tensors[name])

    return write_durably(path, parts())


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    numbers: Any = flat.view(torch.uint8).numpy()
    return memoryview(numbers)


def check_header(path: Path) -> None:
    """Raise ValueError for a file whose header is too large to be read, or is no file; and OSError."""
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("it is no file")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > min(MOST_HEADER, about.st_size - 8):
        raise ValueError(f"its header is said to have {length} bytes, and the file has {about.st_size}")


class TensorsFile:
    """A file of tensors that is read one by one; it holds no code."""

    def __init__(self, path: Path, device: torch.device) -> None:
        """Open it. Raises OSError, and ValueError where it is not safetensors."""
        check_header(path)
        try:
            self._opened: Any = safetensors.safe_open(path, "pt")
        except safetensors.SafetensorError as error:
            raise ValueError(" ".join(str(error).split())) from error
        self.device = device
        self._read: set[str] = set()

    def read(self, name: str) -> Tensor:
        """A tensor on the device, in memory of its own. Raises KeyError for a name that there is not.

        Raises ValueError for one that was read before: all that is read takes no more memory than the file has bytes.
        """
        if name in self._read:
            raise ValueError(f"the tensor {name!s:.80} belongs to two places")
        self._read.add(name)
        try:
            tensor: Tensor = self._opened.get_tensor(name)
        except safetensors.SafetensorError as error:
            raise KeyError(name) from error
        return tensor.to(self.device, copy=True)
