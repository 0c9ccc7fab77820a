"""Multi-layer perceptrons of an ensemble's members as stacked weights.

Symbols (docs/symbols.md): K, N.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from latent_combo.numerics.matmul import stacked_linear


class Perceptrons(nn.Module):
    """K multi-layer perceptrons (swish) side by side, each with initial weights of its own."""

    def __init__(self, members: int, widths: Sequence[int]) -> None:
        """`widths` are those of the inputs, of each hidden layer, and of the outputs."""
        super().__init__()
        shapes = list(pairwise(widths))
        # Truncated normal of std 1 / (2 sqrt(inputs)), drawn apart for every member: members that start alike stay so
        # (one public re-implementation has a single draw for all).
        self.weight = nn.ParameterList(
            nn.init.trunc_normal_(
                torch.empty(members, a, b), std=0.5 / math.sqrt(a), a=-1.0 / math.sqrt(a), b=1.0 / math.sqrt(a)
            )
            for a, b in shapes
        )
        self.bias = nn.ParameterList(torch.zeros(members, 1, b) for _, b in shapes)

    def apply_layers(self, x: Tensor, members: Tensor | None = None) -> Tensor:
        """Inputs (K, N, in) to outputs (K, N, out); `members` chooses networks, int64, of any number."""
        weights, biases = (
            [p if members is None else p[members] for p in parameters] for parameters in (self.weight, self.bias)
        )
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            x = functional.silu(stacked_linear(x, weight, bias))
        return stacked_linear(x, weights[-1], biases[-1])
