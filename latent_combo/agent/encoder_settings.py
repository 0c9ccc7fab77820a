"""The settings of an agent's own encoder, for algorithms without a world model; plain data, read without torch."""

from dataclasses import dataclass

from combo_common.validation import require_at_most, require_not_negative, require_positive

PADDING, OF_PIXELS = 4, 84
"""Random shifts of DrQ (Kostrikov et al., 2021): pixels, and the size of the images that they are of."""

MOST_LAYERS = 100
"""Beyond it a setting is a slip, or somebody else's malice: each layer and frame takes time and memory."""


@dataclass(frozen=True)
class PixelEncoderConfig:
    """Sizes of DrQ-v2's encoder (Yarats et al., 2022), for algorithms without a world model; others have none."""

    frames: int = 3
    """k, frames that are seen together: the newest one and those before it. Before an episode's first frame there are
    copies of that."""
    channels: int = 32
    """Of each convolution."""
    layers: int = 4
    """Convolutions, kernel 3; the first has stride 2, the others stride 1."""
    projection: int = 50
    """Numbers that each critic and each policy project the last map to, by a linear layer, a layer norm and a tanh."""
    random_shift: int | None = 0
    """A transition's frames are shifted by up to this many pixels at each draw, all k alike, those of its next state by
    a shift of their own; held-out frames are not. null: DrQ's 4 pixels of 84, in proportion to the size of the
    images."""

    def __post_init__(self) -> None:
        require_positive(self, "frames", "channels", "layers", "projection")
        require_at_most(self, MOST_LAYERS, "frames", "layers")
        if self.random_shift is not None:
            require_not_negative(self, "random_shift")

    def shift(self, image_size: int) -> int:
        """The largest shift of images of that size, in pixels."""
        return round(PADDING * image_size / OF_PIXELS) if self.random_shift is None else self.random_shift

    def map_size(self, image_size: int) -> int:
        """Height and width of the last map of images of that size. Raises ValueError where nothing is left of it."""
        size = (image_size - 3) // 2 + 1 - 2 * (self.layers - 1)
        if size < 1:
            raise ValueError(
                f"encoder.layers is {self.layers}, which leaves nothing of images of {image_size} pixels; set it lower"
            )
        return size
