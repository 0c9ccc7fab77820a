"""Random shifts of images, so that a model can not learn its few episodes by heart."""

import torch
from torch import Tensor


def random_shift(image: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Shift each sequence (B, L, H, W, 3) uint8 by up to `pixels`, its edge rows and columns repeated.

    The shift is uniform over the (2 pixels + 1)^2 offsets, drawn per sequence and the same for all of its frames, so
    that motion is kept. Returns images of the same shape; `pixels` = 0 returns the input.
    """
    if pixels == 0:
        return image
    batch, _, height, width, _ = image.shape
    device = image.device
    offset = torch.randint(-pixels, pixels + 1, (2, batch, 1), generator=generator, device=device)
    rows = (torch.arange(height, device=device) + offset[0]).clamp(0, height - 1)  # (B, H)
    columns = (torch.arange(width, device=device) + offset[1]).clamp(0, width - 1)  # (B, W)
    if device.type == "cuda":  # one kernel instead of two for each sequence
        return _gathered(image, rows, columns)
    pieces = [
        sequence.index_select(1, row).index_select(2, column)
        for sequence, row, column in zip(image, rows, columns, strict=True)
    ]
    return torch.stack(pieces)


def _gathered(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Take the rows (B, H) and columns (B, W) of each sequence (B, L, H, W, 3)."""
    batch, length = image.shape[:2]
    sequence, frame = (torch.arange(size, device=image.device) for size in (batch, length))
    return image[sequence[:, None, None, None], frame[:, None, None], rows[:, None, :, None], columns[:, None, None]]
