"""The sizes of convolutions, and the names of the ways to compute them: what settings are checked by, without torch.

Layers that nobody names follow from the size of the images. Backwards from these, a transposed convolution of kernel 6
(of 5, where the size is odd) draws from a map of half the size, less 2, until that is 10 pixels or fewer: the first
layer's kernel, which draws it from one pixel. The encoder has as many layers. Channels double from layer to layer up to
eight times the first's, and the decoder's halve from four times the encoder's first down to it. For 64 and 128 pixels
these are the paper's layers (Appendix B.1).
"""

STRIDE = 2
ENCODER_KERNEL = 4
MIN_FOLLOWED, MAX_FOLLOWED = 16, 256
"""Sizes of images, in pixels, from which layers follow."""
MAX_FIRST_KERNEL = 10
EVEN_KERNEL, ODD_KERNEL = 6, 5
"""Kernels of the decoder's other layers, by the size that they draw."""
MAX_WIDENING, MAX_NARROWING = 3, 2
"""How often channels double in the encoder, and halve in the decoder."""
WAYS = ("plain", "product", "phases")
"""The ways to compute a layer (conv_ways.py)."""
LOW = "bfloat16"
"""What may follow a way's name, after a slash: the precision of its products."""


def encoded_size(image_size: int, layers: int) -> int:
    """Side in pixels of what `layers` convolutions of kernel 4 and stride 2 leave of an image."""
    for _ in range(layers):
        image_size = (image_size - ENCODER_KERNEL) // STRIDE + 1
    return image_size


def decoded_size(kernels: tuple[int, ...]) -> int:
    """Side in pixels of what transposed convolutions of stride 2 draw from one pixel."""
    size = 1
    for kernel in kernels:
        size = (size - 1) * STRIDE + kernel
    return size


def kernels_of(image_size: int) -> tuple[int, ...]:
    """The decoder's kernels for images of a size, of the colours' last; see above."""
    kernels: list[int] = []
    while image_size > MAX_FIRST_KERNEL:
        kernels.append(ODD_KERNEL if image_size % STRIDE else EVEN_KERNEL)
        image_size = (image_size - kernels[-1]) // STRIDE + 1
    return (image_size, *reversed(kernels))


def channels_of(image_size: int, first: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels of the encoder's layers, of which the first has `first`, and of the decoder's; see above."""
    layers = len(kernels_of(image_size))
    narrowing = range(min(layers - 2, MAX_NARROWING), 1 - layers + min(layers - 2, MAX_NARROWING), -1)
    encoder = tuple(first << min(layer, MAX_WIDENING) for layer in range(layers))
    return encoder, tuple(first << max(0, doublings) for doublings in narrowing)


def algorithms(transposed: bool, size: int) -> tuple[str, ...]:
    """The ways that make sense for a layer whose input has `size` pixels a side, the first being the usual one."""
    if not transposed:
        return WAYS
    return ("product", "plain") if size == 1 else ("plain", "phases")
