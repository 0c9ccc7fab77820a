"""Triton's kernels, where they can run: on a GPU for which torch brought Triton along, with a C compiler at hand."""

import functools
import importlib
import importlib.util
import sys
from typing import Any

import torch


@functools.cache
def triton_kernels(module: str, device: torch.device) -> Any | None:
    """The named module of kernels, whose `probe(device)` runs them once; None where that does not work.

    Importing it needs Triton and takes a second, so this is done where it is used. What fails is said once.
    """
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return None
    try:
        kernels = importlib.import_module(module)
        kernels.probe(device)
    except Exception as error:  # of whatever kind: the same can be had without
        reason = " ".join(str(error).split())[:200]
        print(
            f"Triton, which needs a C compiler, does not work here ({reason}); torch's own, slower kernels are used "
            f"in place of {module.rpartition('.')[2]}",
            file=sys.stderr,
        )
        return None
    return kernels
