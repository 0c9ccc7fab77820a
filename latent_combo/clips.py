"""Pictures of what a model believes: clips for TensorBoard, and for people."""

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from latent_combo.run.video import enlarge
from latent_combo.world_model.base import Segment
from latent_combo.world_model.open_loop import dream
from latent_combo.world_model.recurrent import RecurrentWorldModel

Frames = NDArray[np.uint8]

FPS = 20
"""Agent steps of the walker in a second: its clips play in real time."""
SIDE = 192
"""Screen pixels of one picture."""
BORDER = 4
LABEL_WIDTH = 76
OBSERVING, DREAMING = (40, 170, 70), (200, 50, 40)
"""Colours of the border, while the model sees the frames and while it doesn't."""


@torch.no_grad()
def open_loop_clip(model: RecurrentWorldModel, segment: Segment, context: int, generator: torch.Generator) -> Frames:
    """Truth, prediction and absolute error as rows, one column for each of the B sequences, over L frames.

    The model sees `context` frames (green border), then follows the actions blindly (red). Returns (L, H', W', 3).
    """
    dreamed = dream(model, segment, context, generator)
    length = segment.action.shape[1]
    predicted = torch.stack([dreamed.image(model, t) for t in range(length)], 1).round()
    truth = segment.observation
    error = (predicted - truth.float()).abs()
    rows = torch.stack([truth, predicted.to(torch.uint8), error.to(torch.uint8)]).cpu().numpy()  # (3, B, L, H, W, 3)
    scale = max(1, SIDE // truth.shape[-2])
    frames = [
        _framed(rearrange(rows[:, :, t], "r b h w c -> (r h) (b w) c"), OBSERVING if t < context else DREAMING, scale)
        for t in range(length)
    ]
    labels = _labels(("truth", "prediction", "error"), frames[0].shape[0])
    return np.stack([np.concatenate([labels, frame], 1) for frame in frames])


def _framed(picture: Frames, colour: tuple[int, int, int], scale: int) -> Frames:
    large = enlarge(picture, scale)
    height, width, _ = large.shape
    framed = np.empty((height + 2 * BORDER, width + 2 * BORDER, 3), np.uint8)
    framed[:] = colour
    framed[BORDER:-BORDER, BORDER:-BORDER] = large
    return framed


def _labels(names: tuple[str, ...], height: int) -> Frames:
    image = Image.new("RGB", (LABEL_WIDTH, height), "white")
    draw = ImageDraw.Draw(image)
    for index, name in enumerate(names):
        draw.text((6, (index + 0.5) * height / len(names)), name, fill="black", anchor="lm", font_size=13)
    return np.asarray(image, np.uint8)
