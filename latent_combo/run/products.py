"""Linear layers side by side, by the faster of the two libraries that torch has for a CPU.

torch multiplies float32 matrices by MKL, which takes its AVX2 path on processors that are not Intel's; oneDNN, which
torch brings for convolutions, takes AVX-512 wherever it is: measured on an AMD EPYC, 2.2 to 2.4 times the rate, in
float32 as well (benchmarks/bench.py). torch has no switch for that, so its operator is called by name where it exists.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

NARROW = 16
"""Layers with fewer inputs or outputs are as fast, or faster, by MKL."""


@functools.cache
def onednn() -> Any | None:
    """OneDNN's linear operator, where it is the faster one: on processors with AVX-512 that are not Intel's."""
    operator = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
    try:
        amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:
        amd = False
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return operator if amd and wide else None


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """A (N, M) times b (M, L) in float32, by the faster library; not differentiable."""
    operator = onednn() if a.device.type == "cpu" else None
    product: Tensor = a @ b if operator is None else operator(a, b.t(), None, "none", [], "")
    return product


def stacked_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """X (S, B, in) through S layers of weights (S, in, out) and biases (S, 1, out) to (S, B, out)."""
    narrow = min(weight.shape[1:]) < NARROW
    if narrow or x.device.type != "cpu" or x.dtype != torch.float32 or onednn() is None:
        return torch.baddbmm(bias, x, weight)
    apply: Callable[..., Tensor] = _StackedLinear.apply
    return apply(x, weight, bias)


class _StackedLinear(torch.autograd.Function):
    """The products of `baddbmm` and of its derivatives, a layer at a time: oneDNN's operator has no batches."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        operator = onednn()
        assert operator is not None
        layers = zip(x, weight, bias, strict=True)
        return _side_by_side([operator(inputs, w.t(), b[0], "none", [], "") for inputs, w, b in layers])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = _side_by_side([multiply(g, w.t()) for g, w in zip(gradient, weight, strict=True)])
        if ctx.needs_input_grad[1]:
            to_weight = _side_by_side([multiply(inputs.t(), g) for inputs, g in zip(x, gradient, strict=True)])
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum(1, keepdim=True)
        return to_x, to_weight, to_bias


def _side_by_side(parts: list[Tensor]) -> Tensor:
    """Stack; one part alone is not copied."""
    return parts[0][None] if len(parts) == 1 else torch.stack(parts)
