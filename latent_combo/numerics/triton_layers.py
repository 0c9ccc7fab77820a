"""The kernels of `layers` for a GPU."""

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_ELEMENTS, MAX_COLUMNS = 4096, 256
"""Numbers, and columns of them, that a program holds at once; whole rows where they are normalised or summed up."""
STEPS, PROGRAMS = 16, 400
"""Blocks of rows that a program of the backward goes through at most, adding up on the way; fewer, where there would be
too few programs to keep a GPU busy."""


@triton.jit
def _normalised(value, inside, width, epsilon):
    """Rows of mean 0 and variance 1, and what they were multiplied by for it."""
    centred = tl.where(inside, value - (tl.sum(value, 1) / width)[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, 1) / width + epsilon)[:, None]
    return centred * scale, scale


@triton.jit
def _relu(value):
    return tl.where(value < 0.0, 0.0, value)  # a maximum would take NaN for 0


@triton.jit
def _forward(
    x,
    y,
    bias,
    weight,
    end,
    rows,
    width,
    group,
    network,
    epsilon,
    norm: tl.constexpr,
    ends: tl.constexpr,
    at_once: tl.constexpr,
    columns: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * at_once + tl.arange(0, at_once)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    place = row[:, None] * width + column[None, :]
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias + (row // group)[:, None] * width + column[None, :], mask=inside, other=0.0).to(tl.float32)
    if norm:
        value, _ = _normalised(value, inside, width, epsilon)
    value = _relu(value)
    if ends:
        by_network = (row // network)[:, None] * width + column[None, :]
        total = tl.sum(value * tl.load(weight + by_network, mask=inside, other=0.0), 1)
        tl.store(y + row, total + tl.load(end + row // network, mask=row < rows, other=0.0), mask=row < rows)
    else:
        tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _backward(
    gradient,
    kept,
    bias,
    weight,
    of_x,
    sums,
    products,
    group,
    network,
    width,
    pieces,
    epsilon,
    norm: tl.constexpr,
    ends: tl.constexpr,
    steps: tl.constexpr,
    at_once: tl.constexpr,
    columns: tl.constexpr,
):
    number, piece = tl.program_id(0) // pieces, tl.program_id(0) % pieces
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    total = tl.zeros((at_once, columns), tl.float32)
    of_weight = tl.zeros((at_once, columns), tl.float32)
    first = number.to(tl.int64) * group
    for step in range(steps):
        row = (piece * steps + step) * at_once + tl.arange(0, at_once)
        inside = (row < group)[:, None] & (column < width)[None, :]
        place = (first + row)[:, None] * width + column[None, :]
        value = tl.load(kept + place, mask=inside, other=0.0).to(tl.float32)
        if norm or ends:  # `kept` is what came before the bias
            value += tl.load(bias + number * width + column, mask=column < width, other=0.0).to(tl.float32)[None, :]
        scale = tl.full((at_once, 1), 1.0, tl.float32)
        if norm:
            value, scale = _normalised(value, inside, width, epsilon)
        if ends:
            by_end = tl.load(gradient + first + row, mask=row < group, other=0.0)[:, None]
            of_weight += tl.where(inside, by_end * _relu(value), 0.0)
            at = weight + (first // network) * width + column
            by_value = by_end * tl.load(at, mask=column < width, other=0.0)[None, :]
        else:
            by_value = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
        by_value = tl.where((value <= 0.0) | (inside == 0), 0.0, by_value)
        if norm:
            mean = (tl.sum(by_value, 1) / width)[:, None]
            along = (tl.sum(by_value * value, 1) / width)[:, None]
            by_value = tl.where(inside, (by_value - mean - value * along) * scale, 0.0)
        tl.store(of_x + place, by_value.to(of_x.dtype.element_ty), mask=inside)
        total += by_value
    where = tl.program_id(0).to(tl.int64) * width + column
    tl.store(sums + where, tl.sum(total, 0), mask=column < width)
    if ends:
        tl.store(products + where, tl.sum(of_weight, 0), mask=column < width)


def forward(
    x: Tensor, bias: Tensor, norm: bool, epsilon: float, weight: Tensor | None = None, end: Tensor | None = None
) -> Tensor:
    """`layers.activate`, and of its rows `layers.value` where there are weights (N, H) and ends (N,), in float32."""
    rows, width = x.shape
    ends = weight is not None and end is not None
    at_once, columns = block(width, norm or ends)
    y = torch.empty(rows, device=x.device) if ends else torch.empty_like(x)
    network = rows // len(weight) if weight is not None else rows
    grid = (triton.cdiv(rows, at_once), triton.cdiv(width, columns))
    bias = bias.contiguous()
    _forward[grid](
        x, y, bias, bias if weight is None else weight.contiguous(), bias if end is None else end.contiguous(),
        rows, width, rows // len(bias), network, epsilon, norm, ends, at_once, columns,
    )  # fmt: skip
    return y


def backward(
    gradient: Tensor, kept: Tensor, bias: Tensor, norm: bool, epsilon: float, weight: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of x (G * n, H), of the biases (G, H) and of the weights (N, H), the latter two in float32.

    From that of what `forward` gave, and from `kept`: x, or, where there was neither a norm nor weights, what
    `forward` gave.
    """
    rows, width = kept.shape
    groups, ends = len(bias), weight is not None
    at_once, columns = block(width, norm or ends)
    group = rows // groups
    blocks = triton.cdiv(group, at_once)
    steps = min(STEPS, triton.next_power_of_2(max(1, groups * blocks // PROGRAMS)), triton.next_power_of_2(blocks))
    pieces = triton.cdiv(blocks, steps)
    of_x, both = torch.empty_like(kept), torch.empty(1 + ends, groups, pieces, width, device=kept.device)
    sums, products = both[0], both[-1]
    network = rows // len(weight) if weight is not None else rows
    grid = (groups * pieces, triton.cdiv(width, columns))
    bias = bias.contiguous()
    _backward[grid](
        gradient, kept, bias, bias if weight is None else weight.contiguous(), of_x, sums, products,
        group, network, width, pieces, epsilon, norm, ends, steps, at_once, columns,
    )  # fmt: skip
    of_bias, *of_weight = both.sum(2) if pieces > 1 else both[:, :, 0]
    if weight is None:
        return of_x, of_bias, None
    return of_x, of_bias, of_weight[0] if len(weight) == groups else of_weight[0].view(len(weight), -1, width).sum(1)


def block(width: int, whole: bool) -> tuple[int, int]:
    """Rows and columns that a program holds; `whole` rows, if asked."""
    columns = triton.next_power_of_2(width)
    columns = columns if whole else min(columns, MAX_COLUMNS)
    return max(1, MAX_ELEMENTS // columns), columns


def probe(device: torch.device) -> None:
    """Compile and start the kernels on a GPU."""
    one = torch.ones(1, 16, device=device)
    backward(one, forward(one, one, False, 1e-5), one, False, 1e-5)
    end = forward(one, one, True, 1e-5, one, one[0, :1])
    backward(end, one, one, True, 1e-5, one)
