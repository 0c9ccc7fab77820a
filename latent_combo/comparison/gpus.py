"""Which GPU each of several runs of this machine has."""

import os
from collections.abc import Sequence

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The environment variable by which a process sees only some GPUs, by their numbers or words, with commas between."""


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, as `VISIBLE` names them; all of the machine where it is not set."""
    named = os.environ.get(VISIBLE)
    if named is not None:
        words = [word.strip() for word in named.split(",") if word.strip()]
        return words[: words.index("-1")] if "-1" in words else words  # CUDA sees none from the first wrong one on
    import torch  # here: it takes seconds, and only several runs at a time need it

    return [str(number) for number in range(torch.cuda.device_count())]


def gpu_of(place: int, gpus: Sequence[str]) -> dict[str, str]:
    """The environment of the run in a place, of those that run at a time: one GPU in turn where there are several.

    Without it, each of them would take the first. A run on the CPU ignores it.
    """
    return {VISIBLE: gpus[place % len(gpus)]} if len(gpus) > 1 else {}
