"""Arithmetic of pictures, which needs no simulator and no GL library."""

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from envs.tasks import MIN_DRAWN_SIZE

BLACK = 8
"""A frame whose brightest value is below this was not drawn."""


def drawn_size(size: int) -> int:
    """Pixels at which pictures of `size` are drawn: at least MIN_DRAWN_SIZE, in whole blocks that are averaged."""
    return size * -(-MIN_DRAWN_SIZE // size)


def averaged(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Images (..., H, H, 3) as the means of blocks of pixels, (..., size, size, 3); H is a multiple of `size`."""
    blocks = rearrange(images, "... (h y) (w x) c -> ... h w c (y x)", h=size, w=size)
    means: NDArray[np.uint8] = blocks.mean(-1).round().astype(np.uint8)
    return means
