"""Images moved as bytes: rows of a dataset gathered, and frames shifted."""

import torch
from torch import Tensor


def take_rows(column: Tensor, rows: Tensor) -> Tensor:
    """Rows (M,) of a column (N, ...); rows of bytes are moved as whole words, which is many times as fast."""
    flat = column.flatten(1) if column.dim() > 1 else column[:, None]
    if flat.dtype == torch.uint8 and flat.shape[1] % 8 == 0:
        return flat.view(torch.int64).index_select(0, rows).view(torch.uint8).view(-1, *column.shape[1:])
    return flat.index_select(0, rows).view(-1, *column.shape[1:])


def shifted(image: Tensor, offset: Tensor) -> Tensor:
    """Shift each sequence (B, L, H, W, 3) by its rows and columns `offset` (2, B), its edges repeated."""
    height, width = image.shape[2:4]
    rows = (torch.arange(height, device=image.device) + offset[0][:, None]).clamp(0, height - 1)  # (B, H)
    columns = (torch.arange(width, device=image.device) + offset[1][:, None]).clamp(0, width - 1)  # (B, W)
    if image.device.type == "cuda":  # one kernel instead of two for each sequence
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
