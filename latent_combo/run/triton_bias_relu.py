"""The kernels of `bias_relu` for a GPU."""

import torch
import triton
import triton.language as tl
from torch import Tensor

HELD, WIDEST = 4096, 256
"""Numbers, and columns of them, that a program holds at once."""
STEPS, PROGRAMS = 16, 1024
"""Blocks of rows that a program of the backward goes through at most, adding up on the way; fewer, where there would be
too few programs to keep a GPU busy."""


@triton.jit
def _forward(x, y, bias, rows, width, group, at_once: tl.constexpr, columns: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * at_once + tl.arange(0, at_once)
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    place = row[:, None] * width + column[None, :]
    value = tl.load(x + place, mask=inside).to(tl.float32)
    value += tl.load(bias + (row // group)[:, None] * width + column[None, :], mask=inside).to(tl.float32)
    value = tl.where(value < 0.0, 0.0, value)  # a maximum would take NaN for 0
    tl.store(y + place, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _backward(
    gradient,
    y,
    masked,
    sums,
    group,
    width,
    pieces,
    steps: tl.constexpr,
    at_once: tl.constexpr,
    columns: tl.constexpr,
):
    number, piece = tl.program_id(0) // pieces, tl.program_id(0) % pieces
    column = tl.program_id(1) * columns + tl.arange(0, columns)
    total = tl.zeros((at_once, columns), tl.float32)
    for step in range(steps):
        row = (piece * steps + step) * at_once + tl.arange(0, at_once)
        inside = (row < group)[:, None] & (column < width)[None, :]
        place = (number.to(tl.int64) * group + row)[:, None] * width + column[None, :]
        value = tl.load(gradient + place, mask=inside, other=0.0)
        value = tl.where(tl.load(y + place, mask=inside, other=0.0) <= 0.0, 0.0, value)
        tl.store(masked + place, value, mask=inside)
        total += value.to(tl.float32)
    where = tl.program_id(0).to(tl.int64) * width + column
    tl.store(sums + where, tl.sum(total, 0), mask=column < width)


def forward(x: Tensor, bias: Tensor) -> Tensor:
    """ReLU(x + bias) of x (G * n, H) and biases (G, H)."""
    rows, width = x.shape
    y, (at_once, columns) = torch.empty_like(x), block(width)
    grid = (triton.cdiv(rows, at_once), triton.cdiv(width, columns))
    _forward[grid](x, y, bias.contiguous(), rows, width, rows // len(bias), at_once, columns)
    return y


def backward(gradient: Tensor, y: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Gradients of x (G * n, H) and of the biases (G, H) in float32, from that of y (G * n, H) and y itself."""
    (rows, width), (at_once, columns) = y.shape, block(y.shape[1])
    group = rows // groups
    blocks = triton.cdiv(group, at_once)
    steps = min(STEPS, triton.next_power_of_2(max(1, groups * blocks // PROGRAMS)), triton.next_power_of_2(blocks))
    pieces = triton.cdiv(blocks, steps)
    masked, sums = torch.empty_like(gradient), torch.empty(groups, pieces, width, device=y.device)
    grid = (groups * pieces, triton.cdiv(width, columns))
    _backward[grid](gradient, y, masked, sums, group, width, pieces, steps, at_once, columns)
    return masked, sums.sum(1) if pieces > 1 else sums[:, 0]


def block(width: int) -> tuple[int, int]:
    """Rows and columns that a program holds."""
    columns = min(triton.next_power_of_2(width), WIDEST)
    return HELD // columns, columns
