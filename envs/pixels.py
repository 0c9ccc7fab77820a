"""Arithmetic of pictures, which needs no simulator and no GL library."""

import numpy as np
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image

from envs.task import MIN_DRAWN_SIZE

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


def fitted(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """An image (H, W, 3) or (H, W, 1) of any size, as (size, size, 3): all of it, each pixel the mean of an area.

    What is not square is stretched to a square, so that nothing is cut off; one channel becomes three equal ones.
    """
    if image.shape[-1] == 1:
        image = np.repeat(image, 3, axis=-1)
    if image.shape[:2] == (size, size):
        return np.ascontiguousarray(image)
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((size, size), Image.Resampling.BOX)
    return np.asarray(resized, np.uint8)
