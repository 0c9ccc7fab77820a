"""Clips as files: mp4 and GIF."""

import errno
import io
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from combo_common.files import replacing, scratch_folder

Frames = NDArray[np.uint8]
"""(T, H, W, 3) uint8."""
COLOURS = 128
"""Of a GIF."""
SAMPLED, ENOUGH = 8, 2_000_000
"""Frames that its colours are chosen from, and pixels of them, on a grid, from which more change little."""


def encode_gif(frames: Frames, fps: int, exact: Sequence[tuple[int, int, int]] = ()) -> bytes:
    """Encode an endless GIF of 128 colours, the same for all frames; `exact` are colours that must be among them.

    One palette, and pixels that do not change left out, make the file a seventh of one with a palette for each frame.
    """
    some = np.concatenate(frames[:: max(1, len(frames) // SAMPLED)])
    grid = slice(None, None, 1 + math.isqrt(some.shape[0] * some.shape[1] // ENOUGH))
    sample = Image.fromarray(np.ascontiguousarray(some[grid, grid]))
    chosen = sample.quantize(COLOURS - len(exact), dither=Image.Dither.NONE).getpalette() or []
    colours = [*chosen[: 3 * (COLOURS - len(exact))], *(level for colour in exact for level in colour)]
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours)
    first, *rest = (Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in frames)
    buffer = io.BytesIO()
    first.save(buffer, "gif", save_all=True, append_images=rest, optimize=True, duration=1000 / fps, loop=0)
    return buffer.getvalue()


def write_mp4(path: Path, frames: Frames, fps: int) -> None:
    """Write an H.264 mp4 that browsers play, whole or not at all; height and width must be even.

    Raises UserError where it can't be written: ffmpeg, a process of its own, does so, and nothing tells how it ends.
    """
    with replacing(path) as temporary, scratch_folder(path) as folder:
        written = folder / path.name  # by a process that may outlast a drawing that is cut off while it starts
        settings: dict[str, Any] = {"codec": "libx264", "macro_block_size": 2, "output_params": ["-crf", "18"]}
        try:
            iio.imwrite(written, frames, fps=fps, ffmpeg_log_level="quiet", **settings)
        except OSError as error:
            raise OSError(error.errno or errno.EIO, "ffmpeg has not taken all frames; is the disk full?") from error
        if not _is_whole(written.read_bytes()):
            raise OSError(errno.ENOSPC, "ffmpeg has not written all of it; is the disk full?")
        written.replace(temporary)


def _is_whole(content: bytes) -> bool:
    """Whether an mp4's boxes fill it, and its table of frames, which is written last, is among them."""
    kinds, place = [], 0
    while place + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        if size == 1 and place + 16 <= len(content):
            (size,) = struct.unpack_from(">Q", content, place + 8)
        if size < 8:
            return False
        kinds.append(kind)
        place += size
    return place == len(content) and b"moov" in kinds and b"mdat" in kinds
