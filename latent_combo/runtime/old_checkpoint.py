"""Checkpoints of before, which `torch.save` wrote: read without pickle, by the few words that tensors are made of.

Such a file is a zip: `data.pkl` says what is there in the opcodes of pickle, and each tensor's numbers are a file of
their own. The opcodes are read here as data. Of functions only the two are known that lay out a tensor, and the empty
dictionary; whatever else a file names is refused, and nothing of it is imported or called.
"""

import math
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPES = {
    **{"DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16},
    **{"BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32},
    **{"ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool},
}
"""Of a tensor's numbers, by the class in whose name they were written."""
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE")
"""Opcodes that put their argument on the stack."""
MOST_ENTRIES, MOST_WORDS, MOST_VALUES = 100_000, 1 << 22, 1_000_000
"""Files in the zip, bytes of its `data.pkl`, and values that this describes."""
_MARK = object()


class _Name(str):
    """The name of a class or function in a file."""


def read(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote of a dictionary of plain values and tensors, on the CPU.

    Every part is read against its checksum. Raises ValueError for anything else, and OSError where it can't be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("a part of it is compressed, and may unpack to any size")
            if len(entries) > MOST_ENTRIES or sum(entry.file_size for entry in entries) > path.stat().st_size:
                raise ValueError("its parts are more than the file holds")
            if archive.testzip() is not None:
                raise ValueError("a part of it does not agree with its checksum")
            (words,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            folder = words.removesuffix("data.pkl")
            order = f"{folder}byteorder"
            if order in archive.namelist() and archive.read(order) != b"little":
                raise ValueError("it was written on a machine of another byte order")
            if archive.getinfo(words).file_size > MOST_WORDS:
                raise ValueError(f"what says what is in it has more than {MOST_WORDS} bytes")
            state = _state(archive.read(words), lambda key: archive.read(f"{folder}data/{key}"))
    except (
        zipfile.BadZipFile,
        LookupError,
        TypeError,
        AttributeError,
        RuntimeError,
        EOFError,
        ArithmeticError,
    ) as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(state, dict):
        raise ValueError("it is no dictionary")
    _require_bounded(state)
    return state


def _require_bounded(state: Any) -> None:
    """Raise ValueError for a state in which a few values stand in so many places that nobody could go through it."""
    waiting, met = [state], 0
    while waiting:
        value = waiting.pop()
        met += 1
        if met > MOST_VALUES:
            raise ValueError(f"it has more than {MOST_VALUES} values")
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value


def _state(words: bytes, numbers: Callable[[str], bytes]) -> Any:
    """Follow the opcodes; `numbers` gives the bytes of a tensor by its key."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    storages: dict[str, Tensor] = {}

    def since_mark() -> list[Any]:
        place = len(stack) - 1
        while stack[place] is not _MARK:
            place -= 1  # to -1 - len(stack), where there is none
        taken = stack[place + 1 :]
        del stack[place:]
        return taken

    argument: Any
    for opcode, argument, _ in pickletools.genops(words):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case name if name in VALUES:
                stack.append(argument)
            case "GLOBAL":
                stack.append(_Name(argument))
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS":
                items = since_mark()
                stack[-1].extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "SETITEMS":
                pairs = since_mark()
                stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "BINPERSID":
                stack.append(_storage(stack.pop(), storages, numbers))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_made(function, arguments))
            case "BUILD":  # of a state_dict, versions of its modules
                stack.pop()
            case name:
                raise ValueError(f"{name} has no place in a checkpoint")
    raise ValueError("it ends in the middle")


def _storage(place: Any, storages: dict[str, Tensor], numbers: Callable[[str], bytes]) -> Tensor:
    """The numbers (n,) that a persistent id names: ("storage", class, key, device, count)."""
    _, kind, key, _, _ = place
    if key not in storages:
        module, _, name = str(kind).partition(" ")
        if module != "torch" or name not in DTYPES:
            raise ValueError(f"{kind} is no kind of numbers")
        content = bytearray(numbers(key))
        dtype = DTYPES[name]
        storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
    return storages[key]


def _made(function: Any, arguments: Any) -> Any:
    """What one of the few known functions gives."""
    if not isinstance(function, _Name):
        raise ValueError("something is called that is no function")
    if function == "collections OrderedDict" and arguments == ():
        return {}
    if function == "torch._utils _rebuild_tensor_v2":
        numbers, offset, shape, strides = arguments[:4]
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if math.prod(shape) else -1
        valid = all(type(n) is int and n >= 0 for n in (offset, *shape, *strides))
        if not (valid and isinstance(numbers, Tensor) and last < len(numbers) and math.prod(shape) <= len(numbers)):
            raise ValueError("a tensor has more numbers than the file")
        return numbers.as_strided(shape, strides, offset)
    if function == "torch._utils _rebuild_parameter":
        return arguments[0]
    raise ValueError(f"{function} has no place in a checkpoint")
