"""The kernels of a policy's samples for a GPU: one forwards and one backwards, for some forty operators of torch."""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

HELD = 1024
"""Numbers that a program holds at once."""


@triton.jit
def _tanh(value):
    return 2.0 * tl.sigmoid(2.0 * value) - 1.0


@triton.jit
def _forward(
    loc, log_std, noise, action, density, rows, size, each, constant, at_once: tl.constexpr, columns: tl.constexpr
):
    row = tl.program_id(0) * at_once + tl.arange(0, at_once)
    column = tl.arange(0, columns)
    inside = (row < rows)[:, None] & (column < size)[None, :]
    place = row[:, None] * size + column[None, :]
    of_row = (row // each)[:, None] * size + column[None, :]
    spread = tl.load(log_std + of_row, mask=inside, other=0.0)
    drawn = tl.load(noise + place, mask=inside, other=0.0)
    raw = tl.load(loc + of_row, mask=inside, other=0.0) + tl.exp(spread) * drawn
    tl.store(action + place, _tanh(raw), mask=inside)
    # log(1 - tanh(x)^2) without cancellation
    doubled = -2.0 * raw
    softplus = tl.where(doubled > 20.0, doubled, tl.log(1.0 + tl.exp(doubled)))
    slope = 2.0 * 0.6931471805599453 - 2.0 * (raw + softplus)
    shortfall = tl.where(inside, spread + 0.5 * drawn * drawn + slope, 0.0)
    tl.store(density + row, -tl.sum(shortfall, 1) - constant, mask=row < rows)


@triton.jit
def _backward(
    of_action,
    of_density,
    action,
    log_std,
    noise,
    by_loc,
    by_log_std,
    rows,
    size,
    at_once: tl.constexpr,
    columns: tl.constexpr,
):
    row = tl.program_id(0) * at_once + tl.arange(0, at_once)
    column = tl.arange(0, columns)
    inside = (row < rows)[:, None] & (column < size)[None, :]
    place = row[:, None] * size + column[None, :]
    done = tl.load(action + place, mask=inside, other=0.0)
    each = tl.load(of_density + row, mask=row < rows, other=0.0)[:, None]
    by_raw = tl.load(of_action + place, mask=inside, other=0.0) * (1.0 - done * done) + 2.0 * each * done
    tl.store(by_loc + place, by_raw, mask=inside)
    spread = tl.exp(tl.load(log_std + place, mask=inside, other=0.0))
    tl.store(by_log_std + place, by_raw * spread * tl.load(noise + place, mask=inside, other=0.0) - each, mask=inside)


def forward(loc: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Actions (..., A) and log-densities (...), as `TanhGaussian.sample`."""
    size, rows = noise.shape[-1], noise[..., 0].numel()
    each = rows // loc[..., 0].numel()
    assert loc.shape[:-2] == noise.shape[:-2] and loc.shape[-2] in (1, noise.shape[-2]), "noise of another shape"
    action, density = torch.empty_like(noise, memory_format=torch.contiguous_format), noise.new_empty(noise.shape[:-1])
    at_once, columns = block(size)
    constant = 0.5 * math.log(2.0 * math.pi) * size
    _forward[(triton.cdiv(rows, at_once),)](
        loc.contiguous(), log_std.contiguous(), noise.contiguous(), action, density, rows, size, each, constant,
        at_once, columns,
    )  # fmt: skip
    return action, density


def backward(
    of_action: Tensor, of_density: Tensor, action: Tensor, log_std: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of loc and log_std, all (..., A) but that of the log-densities (...)."""
    size, rows = noise.shape[-1], noise[..., 0].numel()
    by_loc, by_log_std = (torch.empty_like(action) for _ in range(2))
    at_once, columns = block(size)
    given = (of_action.contiguous(), of_density.contiguous(), action, log_std.contiguous(), noise.contiguous())
    _backward[(triton.cdiv(rows, at_once),)](*given, by_loc, by_log_std, rows, size, at_once, columns)
    return by_loc, by_log_std


def block(size: int) -> tuple[int, int]:
    """Rows and columns that a program holds."""
    columns = triton.next_power_of_2(size)
    return max(1, HELD // columns), columns


def probe(device: torch.device) -> None:
    """Compile and start both kernels on a GPU."""
    one = torch.ones(2, 3, device=device)
    action, density = forward(one, one, one)
    backward(action, density, action, one, one)
