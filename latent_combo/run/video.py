"""Clips as files: mp4 and GIF."""

import io
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from latent_combo.run.files import replacing, write_atomically

Frames = NDArray[np.uint8]
"""(T, H, W, 3) uint8."""


def enlarge(frames: Frames, factor: int) -> Frames:
    """Repeat every pixel `factor` times in both directions, so that small pictures can be looked at."""
    return frames.repeat(factor, axis=-3).repeat(factor, axis=-2)


def encode_gif(frames: Frames, fps: int) -> bytes:
    """Encode an endless GIF."""
    buffer = io.BytesIO()
    iio.imwrite(buffer, frames, extension=".gif", duration=1000 / fps, loop=0)
    return buffer.getvalue()


def write_gif(path: Path, frames: Frames, fps: int) -> None:
    """Write a GIF, whole or not at all."""
    write_atomically(path, encode_gif(frames, fps))


def write_mp4(path: Path, frames: Frames, fps: int) -> None:
    """Write an H.264 mp4 that browsers play, whole or not at all; height and width must be even."""
    with replacing(path) as temporary:
        iio.imwrite(temporary, frames, fps=fps, codec="libx264", macro_block_size=2, output_params=["-crf", "18"])
