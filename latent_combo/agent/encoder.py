"""An encoder of frames that is trained with the critics (Yarats et al., 2022), and the networks on top of it.

Symbols (docs/symbols.md): S, B, N, A; k frames of a stack, H, W, F numbers of an encoding.
"""

import math
from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from latent_combo.agent.encoder_settings import PixelEncoderConfig
from latent_combo.agent.networks import Actor, StackedLinear, TwinCritic
from latent_combo.agent.settings import NetworkConfig
from latent_combo.agent.tanh_gaussian import TanhGaussian

KERNEL = 3
AT_ONCE = 1024
"""Stacks of frames that are encoded together; bounds the memory outside of training."""


class PixelEncoder(nn.Module):
    """S encoders side by side, each agent's own: convolutions with ReLU, as DrQ-v2 has them."""

    def __init__(self, stack: int, config: PixelEncoderConfig, image_size: int) -> None:
        super().__init__()
        self.feature_dim = config.channels * config.map_size(image_size) ** 2
        channels = (3 * config.frames, *[config.channels] * config.layers)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for source, target in pairwise(channels):
            weight = torch.empty(stack, target, source, KERNEL, KERNEL)
            for own in weight:
                nn.init.orthogonal_(own, math.sqrt(2.0))
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(stack, target)))

    def forward(self, frames: Tensor) -> Tensor:
        """Stacks (S, B, k, H, W, 3) of pixels from 0 to 255, of any type, to encodings (S, B, F) float32."""
        return torch.stack([self._alone(agent, own) for agent, own in enumerate(frames)])

    def _alone(self, agent: int, frames: Tensor) -> Tensor:
        pieces = []
        for piece in frames.split(AT_ONCE):
            # laid out channels-last: forward and backward take nine tenths of the time on a CPU
            x = torch.div(rearrange(piece, "b k h w c -> b h w (k c)"), 255.0).sub_(0.5).permute(0, 3, 1, 2)
            for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                x = functional.relu(functional.conv2d(x, weight[agent], bias[agent], stride=1 if layer else 2))
            pieces.append(x.flatten(1))
        return torch.cat(pieces)


class ProjectedActor(Actor):
    """S policies on encodings, which they first project."""

    def __init__(self, stack: int, config: NetworkConfig, feature_dim: int, action_dim: int, projection: int) -> None:
        super().__init__(stack, config, projection, action_dim)
        self.projection = StackedLinear(stack, feature_dim, projection)

    def forward(self, feature: Tensor) -> TanhGaussian:
        """Encodings (S, B, F) to distributions over (S, B, A)."""
        return super().forward(projected(self.projection, feature))


class ProjectedCritic(TwinCritic):
    """2S critics on encodings, each of which projects them by itself."""

    def __init__(self, stack: int, config: NetworkConfig, feature_dim: int, action_dim: int, projection: int) -> None:
        super().__init__(stack, config, projection, action_dim)
        self.projection = StackedLinear(2 * stack, feature_dim, projection)

    def of_each(self, feature: Tensor) -> Tensor:
        """See `TwinCritic.of_each`: encodings (S, B, F) to projections (2S, B, `projection`)."""
        return projected(self.projection, super().of_each(feature))


class EncodedActor(nn.Module):
    """S policies that act on frames: encoders and actors."""

    def __init__(self, encoder: PixelEncoder, actor: Actor) -> None:
        super().__init__()
        self.encoder, self.actor = encoder, actor

    @classmethod
    def of(
        cls, stack: int, encoder: PixelEncoderConfig, actor: NetworkConfig, image_size: int, action_dim: int
    ) -> "EncodedActor":
        """Policies of the given sizes, with fresh weights."""
        seeing = PixelEncoder(stack, encoder, image_size)
        return cls(seeing, ProjectedActor(stack, actor, seeing.feature_dim, action_dim, encoder.projection))

    def forward(self, frames: Tensor) -> TanhGaussian:
        """Stacks (S, B, k, H, W, 3) to distributions over (S, B, A)."""
        policy: TanhGaussian = self.actor(self.encoder(frames))
        return policy


def projected(layer: StackedLinear, encoding: Tensor) -> Tensor:
    """tanh(norm(linear(x))): (S, B, F) to (S, B, `projection`)."""
    x: Tensor = layer(encoding)
    return functional.layer_norm(x, x.shape[-1:]).tanh()
