"""The sizes of convolutions, and the names of the ways to compute them: what settings are checked by, without torch."""

STRIDE = 2
ENCODER_KERNEL = 4
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


def algorithms(transposed: bool, size: int) -> tuple[str, ...]:
    """The ways that make sense for a layer whose input has `size` pixels a side, the first being the usual one."""
    if not transposed:
        return WAYS
    return ("product", "plain") if size == 1 else ("plain", "phases")
