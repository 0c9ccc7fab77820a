"""Networks with a leading axis of independent agents.

Symbols (docs/symbols.md): S, B, N, F, A.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from latent_combo.agent.settings import NetworkConfig
from latent_combo.agent.tanh_gaussian import TanhGaussian
from latent_combo.numerics.layers import activate, value
from latent_combo.numerics.matmul import linear, low_product, one_by_one, stacked_linear, stacked_product

MIN_LOG_STD, MAX_LOG_STD = -5.0, 2.0


class StackedLinear(nn.Module):
    """S linear layers side by side: (S, B, in) to (S, B, out), each agent through its own weights."""

    def __init__(self, stack: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)  # torch.nn.Linear's own rule
        self.weight = nn.Parameter(torch.empty(stack, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(stack, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(S, B, in) to (S, B, out)."""
        return stacked_linear(x, self.weight, self.bias)


class StackedMLP(nn.Module):
    """S multi-layer perceptrons side by side, from the products of their first layer on (which is the caller's)."""

    def __init__(self, stack: int, config: NetworkConfig, outputs: int, layer_norm: bool) -> None:
        super().__init__()
        self.layer_norm = layer_norm
        widths = [config.hidden] * config.layers
        self.hidden = nn.ModuleList(StackedLinear(stack, width, width) for width in widths[1:])
        self.out = StackedLinear(stack, config.hidden, outputs)

    def after_first(self, x: Tensor, bias: Tensor) -> Tensor:
        """First-layer products (S, B, hidden), and what groups of rows add (G, 1, hidden), to (S, B, outputs).

        Of products in bfloat16 those of the other hidden layers are, too (`low_product`); outputs are float32.
        """
        if one_by_one(x):
            return self._one_by_one(x, bias)
        low = x.dtype == torch.bfloat16
        for layer in self.hidden:
            assert isinstance(layer, StackedLinear)
            x = activate(x.flatten(0, 1), bias[:, 0], self.layer_norm).view_as(x)
            x, bias = low_product(x, layer.weight) if low else stacked_product(x, layer.weight), layer.bias
        if self.out.weight.shape[2] == 1:
            weight, end = self.out.weight[..., 0], self.out.bias[:, 0, 0]
            return value(x.flatten(0, 1), bias[:, 0], self.layer_norm, weight, end).view(*x.shape[:2], 1)
        y: Tensor = self.out(
            activate(x.flatten(0, 1), bias[:, 0], self.layer_norm).view_as(x).to(self.out.weight.dtype)
        )
        return y

    def _one_by_one(self, x: Tensor, bias: Tensor) -> Tensor:
        """The same, one network after the other: its activations stay in the cache, and are never copied together."""
        low = x.dtype == torch.bfloat16  # and so are biases here: in float32 an update takes 1.4 times as long
        first = self._nonlinear((x.reshape(len(bias), -1, x.shape[2]) + bias.to(x.dtype)).view_as(x))
        layers: list[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]] = []
        for layer in self.hidden:
            assert isinstance(layer, StackedLinear)
            layers.append((layer.weight.unbind(), layer.bias.unbind()))
        out = (self.out.weight.unbind(), self.out.bias.unbind())
        ends = []
        for network, row in enumerate(first.unbind()):
            for weight, biases in layers:
                if low:
                    product = low_product(row[None], weight[network][None])[0] + biases[network].bfloat16()
                else:
                    product = linear(row, weight[network], biases[network])
                row = self._nonlinear(product)
            ends.append(torch.addmm(out[1][network], row.to(out[0][network].dtype), out[0][network]))
        return torch.stack(ends)

    def _nonlinear(self, x: Tensor) -> Tensor:
        if self.layer_norm:
            x = functional.layer_norm(x, x.shape[-1:])
        return functional.relu(x)


class Actor(nn.Module):
    """S policies."""

    def __init__(self, stack: int, config: NetworkConfig, feature_dim: int, action_dim: int) -> None:
        super().__init__()
        self.first = StackedLinear(stack, feature_dim, config.hidden)
        self.rest = StackedMLP(stack, config, 2 * action_dim, layer_norm=False)

    def forward(self, feature: Tensor) -> TanhGaussian:
        """Features (S, B, F) to distributions over (S, B, A)."""
        loc, raw = self.rest.after_first(stacked_linear(feature, self.first.weight), self.first.bias).chunk(2, -1)
        # A smooth bound keeps a gradient where a clamp would have none.
        log_std = 0.5 * (MAX_LOG_STD - MIN_LOG_STD) * raw.tanh() + 0.5 * (MAX_LOG_STD + MIN_LOG_STD)
        return TanhGaussian(loc, log_std)


class TwinCritic(nn.Module):
    """2S critics: each agent's two, as one stack of 2S.

    Values are `value_mean + value_std * network`: 0 and 1 unless they are set to what values will be like.
    """

    value_mean: Tensor
    value_std: Tensor

    def __init__(self, stack: int, config: NetworkConfig, feature_dim: int, action_dim: int) -> None:
        super().__init__()
        self.num_agents = stack
        self.feature_in = StackedLinear(2 * stack, feature_dim, config.hidden)
        bound = 1.0 / math.sqrt(feature_dim + action_dim)
        self.action_in = nn.Parameter(torch.empty(2 * stack, action_dim, config.hidden).uniform_(-bound, bound))
        self.rest = StackedMLP(2 * stack, config, 1, config.layer_norm)
        self.register_buffer("value_mean", torch.zeros(2 * stack, 1, 1))
        self.register_buffer("value_std", torch.ones(2 * stack, 1, 1))

    def forward(self, feature: Tensor, action: Tensor, low: bool = False) -> Tensor:
        """Features (S, B, F) and N actions for each (S, B, N, A) to values (2, S, B, N).

        Actions (2, S, B, N, A) are each critic's own. With `low` the products of all actions are bfloat16's, those of
        the features and of the last layer float32's.
        """
        stack, batch, number, size = action.shape[-4:]
        # The first layer is linear: a state's part of it is computed once for all of the state's actions.
        state_part = self.feature_in(self.of_each(feature)).flatten(0, 1)[:, None]  # (2S * B, 1, hidden)
        both = action if action.dim() == 5 else action.expand(2, *action.shape)
        each = both.reshape(2 * stack, batch * number, size)
        action_part = low_product(each.bfloat16(), self.action_in) if low else stacked_product(each, self.action_in)
        values = torch.addcmul(self.value_mean, self.value_std, self.rest.after_first(action_part, state_part))
        return values.view(2, stack, batch, number)

    def of_each(self, feature: Tensor) -> Tensor:
        """What each critic is given of features (S, B, F): (2S, B, F)."""
        return feature.expand(2, *feature.shape).flatten(0, 1)
