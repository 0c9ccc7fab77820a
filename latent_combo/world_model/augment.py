"""Random shifts of images, so that a model can not learn its few episodes by heart."""

import torch
from torch import Tensor

from latent_combo.numerics.data_parallel import WHOLE, Share
from latent_combo.numerics.images import shifted


def random_shift(image: Tensor, pixels: int, generator: torch.Generator, share: Share = WHOLE) -> Tensor:
    """Shift each sequence (B, L, H, W, 3) uint8 by up to `pixels`, its edge rows and columns repeated.

    The shift is uniform over the (2 pixels + 1)^2 offsets, drawn per sequence and the same for all of its frames, so
    that motion is kept. Returns images of the same shape; `pixels` = 0 returns the input. The sequences may be a
    `share` of a batch, whose offsets are then drawn for all of it.
    """
    if pixels == 0:
        return image
    return shifted(image, share.own(offsets(share.whole(len(image)), pixels, generator)[..., None], 1).squeeze(-1))


def offsets(count: int, pixels: int, generator: torch.Generator) -> Tensor:
    """Draw offsets (2, count), in pixels: of rows, and of columns."""
    return torch.randint(-pixels, pixels + 1, (2, count), generator=generator, device=generator.device)
