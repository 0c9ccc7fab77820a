"""The convolutional encoder and decoder of the paper's Appendix B.1, with sizes from the config."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

ENCODER_KERNEL = 4
STRIDE = 2


@dataclass(frozen=True)
class ConvConfig:
    """Channels of the convolutions; the defaults are the paper's for 64-pixel images (B.1)."""

    image_size: int = 64
    """Pixels; the images are square."""
    encoder_channels: tuple[int, ...] = (32, 64, 128, 256)
    """One layer each, kernel 4, stride 2."""
    decoder_input: int = 1024
    """Units of the 1x1 map from which the decoder starts."""
    decoder_channels: tuple[int, ...] = (128, 64, 32)
    """One transposed layer each, stride 2; the layer that draws the 3 colours follows them."""
    decoder_kernels: tuple[int, ...] = (5, 5, 6, 6)
    """One for each of `decoder_channels` and one for the colours."""
    bfloat16: bool = False
    """Run the convolutions under bfloat16 autocast; losses stay float32."""

    def __post_init__(self) -> None:
        if not self.encoder_channels or min(*self.encoder_channels, *self.decoder_channels, self.decoder_input) < 1:
            raise ValueError("encoder_channels needs a layer, and every layer a channel")
        if len(self.decoder_kernels) != len(self.decoder_channels) + 1:
            raise ValueError(
                f"decoder_kernels has {len(self.decoder_kernels)} entries, "
                f"but {len(self.decoder_channels)} decoder_channels and the colours need one each"
            )
        if decoded_size(self.decoder_kernels) != self.image_size:
            raise ValueError(
                f"decoder_kernels {self.decoder_kernels} draw {decoded_size(self.decoder_kernels)} pixels, "
                f"but image_size is {self.image_size}"
            )
        if encoded_size(self.image_size, len(self.encoder_channels)) < 1:
            raise ValueError(f"{len(self.encoder_channels)} encoder layers are too many for {self.image_size} pixels")


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


def to_unit_range(image: Tensor) -> Tensor:
    """Images (N, H, W, 3) uint8 to (N, 3, H, W) float32 in [-0.5, 0.5], laid out channels-last."""
    # Permuting a contiguous NHWC tensor is already torch's channels-last layout: nothing is copied.
    return image.permute(0, 3, 1, 2).float().div_(255.0).sub_(0.5)


def channels_last(layers: list[nn.Module]) -> nn.Sequential:
    """Chain convolutions, their weights laid out channels-last: on a CPU, forward and backward take 3/4 of the time."""
    chain = nn.Sequential(*layers)
    for parameter in chain.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return chain


class Encoder(nn.Module):
    """Images to embeddings: strided convolutions with ReLU."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        self.low_precision = config.bfloat16
        channels = (3, *config.encoder_channels)
        layers: list[nn.Module] = []
        for source, target in pairwise(channels):
            layers += [nn.Conv2d(source, target, ENCODER_KERNEL, STRIDE), nn.ReLU()]
        self.layers = channels_last(layers)
        self.embedding_dim = channels[-1] * encoded_size(config.image_size, len(config.encoder_channels)) ** 2

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) float32 in [-0.5, 0.5] to (N, embedding_dim) float32."""
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.low_precision):
            embedding: Tensor = self.layers(image).flatten(1)
        return embedding.float()


class Decoder(nn.Module):
    """Features to the mean of a unit-variance Gaussian over images: transposed convolutions with ReLU."""

    def __init__(self, config: ConvConfig, feature_dim: int) -> None:
        super().__init__()
        self.low_precision = config.bfloat16
        self.start = nn.Linear(feature_dim, config.decoder_input)
        channels = (config.decoder_input, *config.decoder_channels, 3)
        layers: list[nn.Module] = []
        for source, target, kernel in zip(channels[:-1], channels[1:], config.decoder_kernels, strict=True):
            layers += [nn.ConvTranspose2d(source, target, kernel, STRIDE), nn.ReLU()]
        self.layers = channels_last(layers[:-1])

    def forward(self, feature: Tensor) -> Tensor:
        """(N, F) to (N, 3, H, W) float32, about [-0.5, 0.5]."""
        with torch.autocast(feature.device.type, torch.bfloat16, enabled=self.low_precision):
            start = self.start(feature)[:, :, None, None].contiguous(memory_format=torch.channels_last)
            image: Tensor = self.layers(start)
        return image.float()
