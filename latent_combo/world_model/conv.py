"""The convolutional encoder and decoder of the paper's Appendix B.1, with sizes from the config."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from latent_combo.numerics.layers import activate
from latent_combo.world_model.conv_shapes import ENCODER_KERNEL, STRIDE, algorithms, decoded_size, encoded_size
from latent_combo.world_model.conv_ways import Way, convolve, transposed
from latent_combo.world_model.settings import ConvConfig


def to_unit_range(image: Tensor) -> Tensor:
    """Images (N, H, W, 3) uint8 to (N, 3, H, W) float32 in [-0.5, 0.5], laid out channels-last."""
    # Permuting a contiguous NHWC tensor is already torch's channels-last layout: nothing is copied.
    return torch.div(image.permute(0, 3, 1, 2), 255.0).sub_(0.5)


class ConvLayer(nn.Conv2d):
    """A convolution of stride 2, computed in a `way` of its own, and a ReLU behind it."""

    def __init__(self, source: int, target: int, size: int) -> None:
        super().__init__(source, target, ENCODER_KERNEL, STRIDE)
        self.size, self.way = size, Way("plain")

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, H) to (N, D, O, O)."""
        assert self.bias is not None
        if x.device.type == "cuda":
            return _with_bias_and_relu(convolve(x, self.weight, None, self.way), self.bias)
        return functional.relu(convolve(x, self.weight, self.bias, self.way))


class TransposedLayer(nn.ConvTranspose2d):
    """A transposed convolution of stride 2, computed in a `way` of its own, and a ReLU behind all but the last."""

    def __init__(self, source: int, target: int, kernel: int, size: int, last: bool) -> None:
        super().__init__(source, target, kernel, STRIDE)
        self.size, self.last, self.way = size, last, Way("plain")

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Maps (N, C, H, H) to (N, D, 2H - 2 + k, 2H - 2 + k)."""
        assert self.bias is not None
        if x.device.type == "cuda" and not self.last:
            return _with_bias_and_relu(transposed(x, self.weight, None, self.way), self.bias)
        drawn = transposed(x, self.weight, self.bias, self.way)
        return drawn if self.last else functional.relu(drawn)


def _with_bias_and_relu(image: Tensor, bias: Tensor) -> Tensor:
    """ReLU(image + bias) of images (N, C, H, W) and biases (C,), channels-last."""
    rows = rearrange(image, "n c h w -> (n h w) c")  # in memory as it is
    return rearrange(activate(rows, bias[None]), "(n h w) c -> n c h w", n=len(image), h=image.shape[2])


def in_order(layers: Sequence[nn.Module]) -> nn.Sequential:
    """Chain layers, their weights laid out channels-last: on a CPU, forward and backward take 3/4 of the time.

    Their numbers in a file of weights are even: activations that were modules once had the odd ones.
    """
    chain = nn.Sequential(OrderedDict((str(2 * number), layer) for number, layer in enumerate(layers)))
    for parameter in chain.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return chain


class Encoder(nn.Module):
    """Images to embeddings: strided convolutions with ReLU."""

    def __init__(self, config: ConvConfig) -> None:
        super().__init__()
        channels = (3, *config.encoder_channels)
        sizes = (encoded_size(config.image_size, number) for number in range(len(config.encoder_channels)))
        self.layers = in_order([ConvLayer(*shape, size) for shape, size in zip(pairwise(channels), sizes, strict=True)])
        self.embedding_dim = channels[-1] * encoded_size(config.image_size, len(config.encoder_channels)) ** 2

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) float32 in [-0.5, 0.5] to (N, embedding_dim) float32."""
        embedding: Tensor = self.layers(image).flatten(1)
        return embedding.to(image.dtype)


class Decoder(nn.Module):
    """Features to the mean of a unit-variance Gaussian over images: transposed convolutions with ReLU."""

    def __init__(self, config: ConvConfig, feature_dim: int) -> None:
        super().__init__()
        self.start = nn.Linear(feature_dim, config.decoder_input)
        channels = (config.decoder_input, *config.decoder_channels, 3)
        layers = [
            TransposedLayer(
                *shape, kernel, decoded_size(config.decoder_kernels[:number]), number == len(config.decoder_channels)
            )
            for number, (shape, kernel) in enumerate(zip(pairwise(channels), config.decoder_kernels, strict=True))
        ]
        self.layers = in_order(layers)

    def forward(self, feature: Tensor) -> Tensor:
        """(N, F) to (N, 3, H, W), about [-0.5, 0.5], in the precision of the last layer."""
        image: Tensor = self.layers(self.start(feature)[:, :, None, None])
        return image


def layers_of(encoder: Encoder, decoder: Decoder) -> list[ConvLayer | TransposedLayer]:
    """All convolutions, in the order of `ConvConfig.ways`."""
    return [layer for layer in (*encoder.layers, *decoder.layers) if isinstance(layer, (ConvLayer, TransposedLayer))]


def choose_ways(config: ConvConfig, encoder: Encoder, decoder: Decoder) -> None:
    """Let each layer be computed as the config says, or else in the usual way."""
    layers = layers_of(encoder, decoder)
    for layer, name in zip(layers, config.ways or [usual_way(config, layer) for layer in layers], strict=True):
        layer.way = Way.named(name)


def usual_way(config: ConvConfig, layer: ConvLayer | TransposedLayer) -> str:
    """What nobody has measured: a matrix product where that is all there is to do, and torch's operator elsewhere."""
    first = algorithms(isinstance(layer, TransposedLayer), layer.size)[0]
    return f"{first}/bfloat16" if config.bfloat16 else first


@contextmanager
def computed_plainly(model: nn.Module) -> Iterator[None]:
    """Within the body all layers go through torch's own operators, whose floating-point operations are the least."""
    layers = [layer for layer in model.modules() if isinstance(layer, (ConvLayer, TransposedLayer))]
    before = [layer.way for layer in layers]
    try:
        for layer in layers:
            layer.way = Way("plain")
        yield
    finally:
        for layer, way in zip(layers, before, strict=True):
            layer.way = way
