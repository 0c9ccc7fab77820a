"""Linear layers side by side, by the faster of the two libraries that torch has for a CPU.

torch multiplies float32 matrices by MKL, which takes its AVX2 path on processors that are not Intel's; oneDNN, which
torch brings for convolutions, takes AVX-512 wherever it is. Where the units are 512 bits wide (AMD's Zen 5) that is 2.2
to 2.4 times the rate, in float32 as well; where they take two turns (Zen 4) it is the same rate and more overhead
(docs/experiments.md). torch has no switch for that, so its operator is called by name where it exists.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

OPERATOR: Any | None = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
)
"""oneDNN's: inputs (N, in), weights (out, in), a bias (out,) or None, and what follows the product ("none")."""
NARROW = 16
"""Layers with fewer outputs are as fast, or faster, by MKL."""


WIDE_FAMILY = 26
"""AMD's first processor family, Zen 5, whose AVX-512 units are 512 bits wide."""


@functools.cache
def prefers_onednn() -> bool:
    """Whether oneDNN is the faster one: on AMD's processors with wide AVX-512 units."""
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:
        about = ""
    return OPERATOR is not None and torch.backends.cpu.get_cpu_capability() == "AVX512" and is_wide_amd(about)


def is_wide_amd(about: str) -> bool:
    """Whether /proc/cpuinfo tells of an AMD processor of Zen 5 or later."""
    family = re.search(r"^cpu family\s*:\s*(\d+)", about, re.MULTILINE)
    return "AuthenticAMD" in about and family is not None and int(family[1]) >= WIDE_FAMILY


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """A (N, M) times b (M, L) in float32, by the faster library; not differentiable."""
    if OPERATOR is None or a.device.type != "cpu" or not prefers_onednn():
        return a @ b
    product: Tensor = OPERATOR(a, b.t(), None, "none", [], "")
    return product


def one_by_one(x: Tensor) -> bool:
    """Whether networks side by side are faster one after the other, for activations x (S, B, hidden).

    On a CPU they are, by whichever library: the activations of one network stay in the cache.
    """
    return x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[2] >= NARROW


def stacked_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X (S, B, in) through S layers of weights (S, in, out) and, if any, biases (S, 1, out) to (S, B, out)."""
    if weight.shape[2] < NARROW or x.device.type != "cpu" or x.dtype != torch.float32 or not prefers_onednn():
        return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias, x, weight)
    biases = [None] * len(x) if bias is None else bias.unbind()
    return torch.stack([linear(*layer) for layer in zip(x.unbind(), weight.unbind(), biases, strict=True)])


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """X (B, in) through one layer of weights (in, out) and a bias (1, out), by the faster library."""
    if not prefers_onednn() or weight.shape[1] < NARROW:
        return x @ weight if bias is None else torch.addmm(bias, x, weight)
    apply: Callable[..., Tensor] = _Linear.apply
    return apply(x, weight, bias)


class _Linear(torch.autograd.Function):
    """The product of `addmm` and those of its derivatives."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        assert OPERATOR is not None
        ctx.save_for_backward(x, weight)
        out: Tensor = OPERATOR(x, weight.t(), None if bias is None else bias[0], "none", [], "")
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        return (
            multiply(gradient, weight.t()) if ctx.needs_input_grad[0] else None,
            multiply(x.t(), gradient) if ctx.needs_input_grad[1] else None,
            gradient.sum(0, keepdim=True) if ctx.needs_input_grad[2] else None,
        )
