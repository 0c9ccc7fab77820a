"""Random numbers: everything draws from generators that are passed in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def generator(seed: int, device: torch.device) -> torch.Generator:
    """A generator of its own on a device."""
    return torch.Generator(device).manual_seed(seed)


@contextmanager
def initial_weights(seed: int) -> Iterator[None]:
    """Make torch's default initialisation reproducible within the body, and leave the global generator as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
