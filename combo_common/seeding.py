"""Random numbers: everything draws from generators that are passed in, one stream for each purpose."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed: other seeds and other purposes have other streams."""
    words = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def generator(seed: int, device: torch.device, purpose: str) -> torch.Generator:
    """A torch generator of its own on a device."""
    return torch.Generator(device).manual_seed(stream_seed(seed, purpose))


def numpy_generator(seed: int, purpose: str) -> np.random.Generator:
    """A numpy generator of its own."""
    return np.random.default_rng(stream_seed(seed, purpose))


@contextmanager
def initial_weights(seed: int, purpose: str) -> Iterator[None]:
    """Make torch's default initialisation reproducible within the body, and leave the global generator as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(stream_seed(seed, purpose))
        yield
