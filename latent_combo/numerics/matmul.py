"""Linear layers side by side, by the faster of the two libraries that torch has for a CPU.

torch multiplies float32 matrices by MKL, which takes its AVX2 path on processors that are not Intel's; oneDNN, which
torch brings for convolutions, takes AVX-512 wherever it is. Where the units are 512 bits wide (AMD's Zen 5) that is 2.2
to 2.4 times the rate, in float32 as well; where they take two turns (Zen 4) it is the same rate and more overhead
(docs/speed.md, "Beside others"). torch has no switch for that, so its operator is called by name where it exists. Which
is the faster one is measured once on a machine, and is part of a run's settings.
"""

import functools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from latent_combo.numerics.choices import fastest

OPERATOR: Any | None = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
)
"""oneDNN's: inputs (N, in), weights (out, in), a bias (out,) or None, and what follows the product ("none")."""
REPEATS = 5
"""Turns in which the libraries are timed."""
MIN_ONEDNN_WIDTH = 16
"""Layers with fewer outputs are as fast, or faster, by MKL."""


WIDE_FAMILY = 26
"""AMD's first processor family, Zen 5, whose AVX-512 units are 512 bits wide."""


Library = Literal["mkl", "onednn"]
LIBRARIES = get_args(Library)
"""Of `use_library`."""
_chosen: str | None = None


def use_library(name: str | None) -> None:
    """Let float32 matrices be multiplied by that library from now on; None leaves it to a rule of thumb.

    Raises ValueError for a library that is none, or that this torch lacks.
    """
    global _chosen
    if name not in (*LIBRARIES, None):
        raise ValueError(f"{name!r} is no library for products; there are {', '.join(LIBRARIES)}")
    if name == "onednn" and OPERATOR is None:
        raise ValueError("products is onednn, but this torch was built without it")
    _chosen = name


def prefers_onednn() -> bool:
    """Whether oneDNN multiplies: as was chosen, or else on AMD's processors with wide AVX-512 units."""
    return _rule_of_thumb() if _chosen is None else _chosen == "onednn"


@functools.cache
def _rule_of_thumb() -> bool:
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:
        about = ""
    return OPERATOR is not None and torch.backends.cpu.get_cpu_capability() == "AVX512" and is_wide_amd(about)


def fastest_library() -> str:
    """Measure which library is the faster one here, at the sizes of an agent's update; some 0.2 s."""
    if OPERATOR is None:
        return "mkl"
    x, weight, gradient = torch.rand(5376, 256), torch.rand(256, 256), torch.rand(5376, 256)
    ways: dict[str, tuple[Callable[[], object], ...]] = {
        "mkl": (lambda: x @ weight, lambda: x.t() @ gradient),
        "onednn": (lambda: _by_onednn(x, weight), lambda: _by_onednn(x.t(), gradient)),
    }
    taken = dict.fromkeys(ways, float("inf"))
    for _ in range(REPEATS):  # in turns, for machines are noisy
        for name, products in ways.items():
            started = time.perf_counter()
            for product in products:
                product()
            taken[name] = min(taken[name], time.perf_counter() - started)
    return fastest(taken)


PRECISIONS = ("float32", "bfloat16")
"""Of `fastest_precision`."""


def fastest_precision() -> str:
    """Measure whether a CPU's products of bfloat16 are faster than float32's, at the sizes of an agent's update."""
    x, weight, gradient = (torch.rand(size, 256) for size in (5376, 256, 5376))
    taken = dict.fromkeys(PRECISIONS, float("inf"))
    for _ in range(REPEATS):  # in turns, for machines are noisy
        for name, dtype in zip(PRECISIONS, (torch.float32, torch.bfloat16), strict=True):
            a, b, c = (part.to(dtype) for part in (x, weight, gradient))
            started = time.perf_counter()
            multiply(a, b)
            multiply(a.t(), c)
            taken[name] = min(taken[name], time.perf_counter() - started)
    return fastest(taken)


def is_wide_amd(about: str) -> bool:
    """Whether /proc/cpuinfo tells of an AMD processor of Zen 5 or later."""
    family = re.search(r"^cpu family\s*:\s*(\d+)", about, re.MULTILINE)
    return "AuthenticAMD" in about and family is not None and int(family[1]) >= WIDE_FAMILY


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """A (N, M) times b (M, L) in float32, by the faster library; not differentiable."""
    if OPERATOR is None or a.device.type != "cpu" or a.dtype != torch.float32 or not prefers_onednn():
        return a @ b
    return _by_onednn(a, b)


def _by_onednn(a: Tensor, b: Tensor) -> Tensor:
    assert OPERATOR is not None
    product: Tensor = OPERATOR(a, b.t(), None, "none", [], "")
    return product


def one_by_one(x: Tensor) -> bool:
    """Whether networks side by side are faster one after the other, for activations x (S, B, hidden).

    On a CPU they are, by whichever library: the activations of one network stay in the cache.
    """
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and x.shape[2] >= MIN_ONEDNN_WIDTH


def stacked_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X (S, B, in) through S layers of weights (S, in, out) and, if any, biases (S, 1, out) to (S, B, out)."""
    if weight.shape[2] < MIN_ONEDNN_WIDTH or x.device.type != "cpu" or x.dtype != torch.float32 or not prefers_onednn():
        return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias, x, weight)
    biases = [None] * len(x) if bias is None else bias.unbind()
    return torch.stack([linear(*layer) for layer in zip(x.unbind(), weight.unbind(), biases, strict=True)])


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """X (B, in) through one layer of weights (in, out) and a bias (1, out), by the faster library."""
    if not prefers_onednn() or weight.shape[1] < MIN_ONEDNN_WIDTH:
        return x @ weight if bias is None else torch.addmm(bias, x, weight)
    apply: Callable[..., Tensor] = _Linear.apply
    return apply(x, weight, bias)


SPLIT_ROWS = (128, 256)
"""Fewest and most rows, a network, that one product of a weight's gradient sums over on a GPU: with more networks there
is work for all of its processors in longer sums."""


def stacked_product(x: Tensor, weight: Tensor) -> Tensor:
    """X (S, B, in) times weights (S, in, out) to (S, B, out), as `stacked_linear` without biases.

    On a GPU the weights' gradient, a small matrix that sums over thousands of rows, is cut into products over some
    hundreds of them: all in one gives 32 of an H200's 132 processors work, and took some three times as long there.
    """
    if x.device.type != "cuda" or (rows := rows_of_a_piece(*x.shape[:2])) is None:
        return stacked_linear(x, weight)
    apply: Callable[..., Tensor] = _SplitProduct.apply
    return apply(x, weight, rows)


def rows_of_a_piece(networks: int, rows: int) -> int | None:
    """The largest number of rows, within SPLIT_ROWS, that divides `rows`; None where they are one piece."""
    least, most = (networks * size for size in SPLIT_ROWS)
    if rows < 2 * least:
        return None
    return next((size for size in range(min(most, rows // 2), least - 1, -1) if rows % size == 0), None)


def low_product(x: Tensor, weight: Tensor) -> Tensor:
    """X (S, B, in) in bfloat16 times weights (S, in, out), which are rounded for it, to (S, B, out) in bfloat16.

    Each sum is float32 and is rounded at its end: the weights' gradient, of float32, adds up pieces that are rounded.
    Halves what large layers read and write, and takes the units that newer processors have for it (docs/speed.md).
    """
    apply: Callable[..., Tensor] = _LowProduct.apply
    return apply(x, weight)


class _LowProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        low = weight.bfloat16()
        ctx.save_for_backward(x, low)
        return x @ low

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (x, low), (gradient,) = ctx.saved_tensors, gradients
        of_x = gradient @ low.mT if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return of_x, None
        return of_x, split_product(x, gradient, rows_of_a_piece(*x.shape[:2]) or x.shape[1])


class _SplitProduct(torch.autograd.Function):
    """A batched product whose second gradient is summed up in pieces."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.rows = rows
        return x @ weight

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x = gradients[0] @ weight.mT if ctx.needs_input_grad[0] else None
        return of_x, split_product(x, gradients[0], ctx.rows) if ctx.needs_input_grad[1] else None, None


def split_product(x: Tensor, gradient: Tensor, rows: int) -> Tensor:
    """The sum over all rows of x (S, B, in) and gradients (S, B, out), (S, in, out), in pieces of `rows` rows.

    Of bfloat16, too, the sum of the pieces is float32.
    """
    pieces = [part.reshape(-1, rows, part.shape[2]) for part in (x, gradient)]
    products: Tensor = torch.bmm(pieces[0].mT, pieces[1]).unflatten(0, (len(x), -1))
    return products.sum(1, dtype=torch.float32 if x.dtype == torch.bfloat16 else None)


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
