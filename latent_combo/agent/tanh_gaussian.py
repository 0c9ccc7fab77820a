"""The policy's distribution over actions: the tanh of a diagonal Gaussian.

Symbols (docs/symbols.md): S, B, M, N, A.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from latent_combo.numerics.kernels import triton_kernels

KERNELS = "latent_combo.agent.triton_tanh_gaussian"
"""Of a sample, on a GPU."""


@dataclass(frozen=True)
class TanhGaussian:
    """Actions in (-1, 1): the tanh of a diagonal Gaussian; both fields are (..., A)."""

    loc: Tensor
    log_std: Tensor

    @property
    def mode(self) -> Tensor:
        """The deterministic action, tanh of the Gaussian's mean."""
        return self.loc.tanh()

    def act(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise (..., A) into actions (..., A)."""
        return torch.addcmul(self.loc, self.log_std.exp(), noise).tanh()

    def sample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Turn standard normal noise (..., A) into actions (..., A) and their log-densities (...).

        Either the noise has the shape of the parameters, or it has more rows (..., N, A) of them where they have one
        (..., 1, A).
        """
        apply: Callable[..., tuple[Tensor, Tensor]] = _Sample.apply
        return apply(self.loc, self.log_std, noise)

    def before_tanh(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise (..., N, A) into N samples of the Gaussian for each of the parameters (..., A)."""
        return torch.addcmul(self.loc[..., None, :], self.log_std.exp()[..., None, :], noise)

    def fixed(self) -> "TanhGaussian":
        """The same distribution, without gradients."""
        return TanhGaussian(self.loc.detach(), self.log_std.detach())

    def many(self, rows: slice) -> "TanhGaussian":
        """The distributions of some rows (S, M, 1, A) of (S, B, A), to draw several actions of each; no gradients."""
        return TanhGaussian(self.loc.detach()[:, rows, None], self.log_std.detach()[:, rows, None])

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density (...) of actions (..., A); those at the bounds count as 1e-4 inside of them."""
        raw = action.clamp(-1.0 + 1e-4, 1.0 - 1e-4).atanh()
        noise = (raw - self.loc) / self.log_std.exp()
        normal = -0.5 * (noise.square() + math.log(2.0 * math.pi)) - self.log_std
        return (normal - log_tanh_slope(raw)).sum(-1)


def log_tanh_slope(raw: Tensor) -> Tensor:
    """log(1 - tanh(x)^2) without cancellation."""
    return 2.0 * math.log(2.0) - 2.0 * (raw + functional.softplus(-2.0 * raw))


def _kernels(x: Tensor) -> Any | None:
    return triton_kernels(KERNELS, x.device) if x.dtype == torch.float32 else None


class _Sample(torch.autograd.Function):
    """`TanhGaussian.sample`, whose derivatives need three products of what is known anyway.

    With x = loc + exp(log_std) noise and a = tanh x, log pi is -sum(log_std + noise^2 / 2 + log(1 - a^2)) less
    constants, and its derivative by x is 2 a.
    """

    @staticmethod
    def forward(ctx: Any, loc: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        if (kernels := _kernels(loc)) is not None:
            action, log_density = kernels.forward(loc, log_std, noise)
        else:
            raw = torch.addcmul(loc, log_std.exp(), noise)
            # the normal's log-density less that of tanh's slope, its constants taken out of the sum
            shortfall = torch.addcmul(log_std, noise, noise, value=0.5) + log_tanh_slope(raw)
            action, log_density = raw.tanh(), -shortfall.sum(-1) - 0.5 * math.log(2.0 * math.pi) * noise.shape[-1]
        ctx.save_for_backward(action, log_std, noise)
        return action, log_density

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (action, log_std, noise), (of_action, of_density) = ctx.saved_tensors, gradients
        if (kernels := _kernels(action)) is not None and log_std.shape == noise.shape:
            by_loc, by_log_std = kernels.backward(of_action, of_density, action, log_std, noise)
            return by_loc, by_log_std, None
        each = of_density[..., None]
        by_loc = torch.addcmul(of_action, action, torch.addcmul(2.0 * each, of_action, action, value=-1.0))
        by_log_std = by_loc * log_std.exp() * noise - each
        return by_loc.sum_to_size(log_std.shape), by_log_std.sum_to_size(log_std.shape), None
