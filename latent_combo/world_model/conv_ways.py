"""Exact ways to compute a convolution of stride 2, or a transposed one, of which the fastest differs by processor.

Each way is the same sum of products in another arrangement; docs/speed.md has what they take, layer by layer.

- "plain": torch's own operator.
- "product": a matrix product. Of a transposed convolution of a 1x1 map it is all there is to do, and torch's operator
  takes seven times as long for it on the CPU of docs/speed.md; of a convolution the patches are copied together first.
- "phases": a convolution of stride 1 on pixels gathered two by two, or one that draws four images of half the size,
  whose pixels are then laid between one another. Three colours become twelve, which fill vectors and tensor cores.

A way's name may end in "/bfloat16": products of bfloat16 numbers with float32 sums; without it all is float32.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from latent_combo.world_model.conv_shapes import LOW, STRIDE, WAYS


class Way(NamedTuple):
    """How a layer is computed."""

    algorithm: str
    """plain, product or phases."""
    dtype: torch.dtype | None = None
    """bfloat16, or None for that of the weights."""

    @classmethod
    def named(cls, name: str) -> "Way":
        """Read a name such as "plain" or "phases/bfloat16". Raises ValueError for any other."""
        algorithm, _, low = name.partition("/")
        if algorithm not in WAYS or low not in ("", LOW):
            raise ValueError(f"{name!r} is no way to compute a layer: {', '.join(WAYS)}, or one with /{LOW}")
        return cls(algorithm, torch.bfloat16 if low else None)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, way: Way) -> Tensor:
    """Convolve with stride 2: (N, C, H, H) by weights (D, C, k, k), k even, to (N, D, O, O), laid out channels-last."""
    dtype = way.dtype or weight.dtype
    return CONVOLUTIONS[way.algorithm](x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype))


def transposed(x: Tensor, weight: Tensor, bias: Tensor | None, way: Way) -> Tensor:
    """Draw with stride 2: (N, C, H, H) by weights (C, D, k, k) to (N, D, 2H - 2 + k, 2H - 2 + k), channels-last.

    Raises ValueError for the way "product" of a map that is larger than 1x1.
    """
    dtype = way.dtype or weight.dtype
    return TRANSPOSED[way.algorithm](x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype))


def _convolve_plainly(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return functional.conv2d(x, weight, bias, STRIDE)


def _convolve_as_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out_channels, channels, kernel, _ = weight.shape
    patches = x.permute(0, 2, 3, 1).unfold(1, kernel, STRIDE).unfold(2, kernel, STRIDE)  # (N, O, O, C, k, k)
    count, side = patches.shape[:2]
    flat = patches.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel * kernel * channels)
    product = functional.linear(flat, weight.permute(0, 2, 3, 1).reshape(out_channels, -1), bias)
    return product.view(count, side, side, out_channels).permute(0, 3, 1, 2)


def _convolve_by_phases(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    count, channels, size, _ = x.shape
    out_channels, _, kernel, _ = weight.shape
    if size % 2:  # a row and a column that no output looks at, or that meet no whole kernel
        x = functional.pad(x, (0, 1, 0, 1))
    half, taps, more = (size + 1) // 2, kernel // 2, _missing(4 * channels, x)
    gathered = x.permute(0, 2, 3, 1).reshape(count, half, 2, half, 2, channels).permute(0, 1, 3, 2, 4, 5)
    image = functional.pad(gathered.reshape(count, half, half, 4 * channels), (0, more)).permute(0, 3, 1, 2)
    split = weight.view(out_channels, channels, taps, 2, taps, 2).permute(0, 3, 5, 1, 2, 4)
    kernels = functional.pad(split.reshape(out_channels, 4 * channels, taps, taps), (0, 0, 0, 0, 0, more))
    drawn = functional.conv2d(image, kernels, bias)
    side = (size - kernel) // STRIDE + 1
    return drawn[:, :, :side, :side]


def _draw_plainly(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return functional.conv_transpose2d(x, weight, bias, STRIDE)


def _draw_as_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    count, channels, size, _ = x.shape
    if size != 1:
        raise ValueError(f"a transposed convolution of {size} pixels a side is not one matrix product")
    out_channels, kernel = weight.shape[1:3]
    spread = weight.permute(2, 3, 1, 0).reshape(-1, channels)
    product = functional.linear(x.flatten(1), spread, None if bias is None else bias.repeat(kernel * kernel))
    return product.view(count, kernel, kernel, out_channels).permute(0, 3, 1, 2)


def _draw_by_phases(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    count, channels, size, _ = x.shape
    out_channels, kernel = weight.shape[1:3]
    if kernel % 2:
        weight = functional.pad(weight, (0, 1, 0, 1))
    taps = (kernel + 1) // 2
    # y[2i + p] is the sum over j of x[i - j] w[2j + p]: a convolution with the taps of phase p, mirrored
    split = weight.reshape(channels, out_channels, taps, 2, taps, 2).flip(2, 4).permute(3, 5, 1, 0, 2, 4)
    more = _missing(4 * out_channels, x)
    kernels = functional.pad(split.reshape(4 * out_channels, channels, taps, taps), (0, 0, 0, 0, 0, 0, 0, more))
    biases = None if bias is None else functional.pad(bias.repeat(4), (0, more))
    kernels = kernels.contiguous(memory_format=torch.channels_last)
    drawn = functional.conv2d(x, kernels, biases, padding=taps - 1)[:, : 4 * out_channels]  # (N, 4D, S, S)
    side = drawn.shape[-1]
    pixels = drawn.permute(0, 2, 3, 1).unflatten(3, (2, 2, out_channels)).permute(0, 1, 3, 2, 4, 5)
    image: Tensor = pixels.reshape(count, 2 * side, 2 * side, out_channels).permute(0, 3, 1, 2)
    whole = (size - 1) * STRIDE + kernel
    return image[:, :, :whole, :whole]


def _missing(channels: int, x: Tensor) -> int:
    """Channels to add, of zeros, until tensor cores can take them; else cuDNN copies the images to add them."""
    return -channels % 8 if x.device.type == "cuda" else 0


CONVOLUTIONS = {"plain": _convolve_plainly, "product": _convolve_as_product, "phases": _convolve_by_phases}
TRANSPOSED = {"plain": _draw_plainly, "product": _draw_as_product, "phases": _draw_by_phases}
