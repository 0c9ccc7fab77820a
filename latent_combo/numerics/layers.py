"""The ends of layers in one pass over memory forwards and one backwards: a bias, perhaps a norm, a ReLU, perhaps a sum.

torch takes two passes forwards for a bias and a ReLU (three in a batched product, which first writes the bias
everywhere) and two backwards, the second of which, the bias's gradient, is the slower; a norm and a last layer of one
output are more of them. On a GPU these passes are most of a layer's time (docs/speed.md has what one pass instead is
worth). There the kernels are Triton's; elsewhere, or without it, the same is done by torch's operators.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from latent_combo.numerics.kernels import triton_kernels

KERNELS = "latent_combo.numerics.triton_layers"
EPSILON = 1e-5
"""That a variance is increased by, torch's own."""


def activate(x: Tensor, bias: Tensor, norm: bool = False) -> Tensor:
    """ReLU(x + bias), or ReLU(norm(x + bias)) over the columns, of x's dtype.

    Each n rows of x (G * n, H) share one bias (G, H). A NaN stays one.
    """
    x = x.contiguous()
    if not norm or _kernels(x) is not None:
        apply: Callable[..., Tensor] = _Activate.apply
        return apply(x, bias, norm)
    value = x.view(len(bias), -1, x.shape[1]) + bias[:, None]
    return functional.layer_norm(value, value.shape[-1:], eps=EPSILON).relu().view_as(x).to(x.dtype)


def value(x: Tensor, bias: Tensor, norm: bool, weight: Tensor, end: Tensor) -> Tensor:
    """`activate`, and a last layer of one output: with weights (N, H) and their biases (N,) to (G * n,).

    N networks follow one another in the rows of x (G * n, H), each with as many.
    """
    if _kernels(x) is None:
        y = activate(x, bias, norm).to(weight.dtype).view(len(weight), -1, x.shape[1])
        return torch.baddbmm(end[:, None, None], y, weight[..., None]).flatten()
    apply: Callable[..., Tensor] = _Value.apply
    return apply(x.contiguous(), bias, norm, weight, end)


def _kernels(x: Tensor) -> Any | None:
    return triton_kernels(KERNELS, x.device) if x.dtype in (torch.float32, torch.bfloat16) else None


class _Activate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, norm: bool) -> Tensor:
        if (kernels := _kernels(x)) is not None:
            y: Tensor = kernels.forward(x, bias, norm, EPSILON)
        else:
            y = (x.view(len(bias), -1, x.shape[1]) + bias[:, None]).relu_().view_as(x).to(x.dtype)
        ctx.save_for_backward(x if norm else y, bias)
        ctx.norm = norm
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (kept, bias), gradient = ctx.saved_tensors, gradients[0].contiguous()
        if (kernels := _kernels(kept)) is not None:
            of_x, of_bias, _ = kernels.backward(gradient, kept, bias, ctx.norm, EPSILON)
            return of_x, of_bias.to(bias.dtype), None
        masked = torch.ops.aten.threshold_backward(gradient, kept, 0)
        if not ctx.needs_input_grad[1]:
            return masked, None, None
        return masked, masked.view(len(bias), -1, kept.shape[1]).sum(1, dtype=bias.dtype), None


class _Value(torch.autograd.Function):
    """By the kernels for a GPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, norm: bool, weight: Tensor, end: Tensor) -> Tensor:
        kernels = _kernels(x)
        assert kernels is not None
        ctx.save_for_backward(x, bias, weight)
        ctx.norm = norm
        found: Tensor = kernels.forward(x, bias, norm, EPSILON, weight, end)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, Tensor, Tensor]:
        (x, bias, weight), gradient = ctx.saved_tensors, gradients[0].contiguous()
        kernels = _kernels(x)
        assert kernels is not None
        of_x, of_bias, of_weight = kernels.backward(gradient, x, bias, ctx.norm, EPSILON, weight)
        return of_x, of_bias.to(bias.dtype), None, of_weight, gradient.view(len(weight), -1).sum(1)
