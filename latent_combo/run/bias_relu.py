"""ReLU(x + bias), the end of nearly every layer here, in one pass over memory forwards and one backwards.

torch takes two passes forwards (three in a batched product, which first writes the bias everywhere) and two backwards,
the second of which, the bias's gradient, is the slower. On a GPU these passes are most of a layer's time (docs/speed.md
has what one pass instead is worth). There the kernels are Triton's, which torch brings along; elsewhere, or without it,
the same is done by torch's operators.
"""

import functools
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def bias_relu(x: Tensor, bias: Tensor) -> Tensor:
    """ReLU(x + bias): x (G * n, H), of which each n rows share one of the biases (G, H). A NaN stays one."""
    apply: Callable[..., Tensor] = _BiasReLU.apply
    return apply(x.contiguous(), bias)


class _BiasReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        if (kernels := triton_kernels(x.device)) is not None:
            y: Tensor = kernels.forward(x, bias)
        else:
            y = (x.view(len(bias), -1, x.shape[1]) + bias[:, None]).relu_().view_as(x)
        ctx.save_for_backward(y)
        ctx.groups, ctx.dtype = len(bias), bias.dtype
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:
        (y,), gradient = ctx.saved_tensors, gradients[0].contiguous()
        if (kernels := triton_kernels(y.device)) is not None:
            masked, of_bias = kernels.backward(gradient, y, ctx.groups)
            return masked, of_bias.to(ctx.dtype)
        masked = torch.ops.aten.threshold_backward(gradient, y, 0)
        if not ctx.needs_input_grad[1]:
            return masked, None
        return masked, masked.view(ctx.groups, -1, y.shape[1]).sum(1)


@functools.cache
def triton_kernels(device: torch.device) -> Any | None:
    """The kernels of `triton_bias_relu`, where they can run: tried once, for Triton needs a C compiler, too."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return None
    try:
        from latent_combo.run import triton_bias_relu  # needs Triton, and takes a second to import

        y = triton_bias_relu.forward(torch.ones(1, 16, device=device), torch.ones(1, 16, device=device))
        triton_bias_relu.backward(y, y, 1)
    except Exception as error:  # of whatever kind: the same can be had without
        reason = " ".join(str(error).split())[:200]
        print(
            f"Triton, which needs a C compiler, does not work here ({reason}); torch's own, slower kernels are used",
            file=sys.stderr,
        )
        return None
    return triton_bias_relu
