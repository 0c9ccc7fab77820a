"""The recurrence for a GPU: four kernels a step forwards and four backwards, each a product and all that follows it.

One kernel after the other is what bounds the recurrence there: a step's products have as many rows as a batch has
sequences, and take a few microseconds each, of which most is starting. torch needs ten kernels a step forwards and
eleven backwards (docs/speed.md has what these are worth).

Symbols are `recurrence`'s: L rows, B sequences, H units of the GRU, Z latent dimensions, U hidden units. A program
computes ROWS sequences and COLUMNS units, and none shares what it writes with another, so results do not depend on the
order in which programs run.
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from latent_combo.world_model.recurrence_weights import RecurrenceWeights

ROWS, COLUMNS, INNER = 16, 16, 256
"""Of a program, and the most terms of a product's sums that it takes at once."""
WARPS = 2


class Kept(NamedTuple):
    """What the backward needs of the forward, each (L, B, ...) and contiguous."""

    x: Tensor
    """(L, B, U): the GRU's input."""
    p: Tensor
    """(L, B, U): the posterior's hidden layer."""
    raw: Tensor
    """(L, B, Z): the standard deviation before it is bounded."""
    gates: Tensor
    """(L, B, 4H): reset, update, the hidden state's part of the candidate, and the candidate."""
    h_before: Tensor
    """(L, B, H): the state before each row."""


class Gradients(NamedTuple):
    """Of the loss, by what the steps were given."""

    x: Tensor
    """(L, B, U): by the GRU's input before its ELU."""
    p: Tensor
    """(L, B, U): by the posterior's hidden layer before its ELU."""
    out: Tensor
    """(L, B, 2Z): by the posterior's mean and its unbounded standard deviation."""
    gates: Tensor
    """(L, B, 4H): by the candidate, the reset and the update before their nonlinearities, and by the candidate's
    hidden part."""
    h0: Tensor
    """(B, H)."""
    z0: Tensor
    """(B, Z)."""


@triton.jit
def _product(
    a,
    a_step,
    weight,
    inner_step,
    column_step,
    inner,
    row,
    column,
    rows,
    columns,
    at_once: tl.constexpr,
    precision: tl.constexpr,
):
    """Rows of `a` (rows, inner) times columns of `weight`, whose entry (i, j) is at i inner_step + j column_step."""
    total = tl.zeros((row.shape[0], column.shape[0]), tl.float32)
    for start in range(0, inner, at_once):
        term = start + tl.arange(0, at_once)
        left = tl.load(
            a + row[:, None] * a_step + term[None, :],
            mask=(row < rows)[:, None] & (term < inner)[None, :],
            other=0.0,
        )
        right = tl.load(
            weight + term[:, None] * inner_step + column[None, :] * column_step,
            mask=(term < inner)[:, None] & (column < columns)[None, :],
            other=0.0,
        )
        total = tl.dot(left, right, total, input_precision=precision)
    return total


@triton.jit
def _elu(value):
    return tl.where(value > 0.0, value, tl.exp(value) - 1.0)


@triton.jit
def _elu_slope(activation):
    """The derivative of the ELU, from its output."""
    return tl.where(activation > 0.0, 1.0, activation + 1.0)


@triton.jit
def _tanh(value):
    return 2.0 * tl.sigmoid(2.0 * value) - 1.0


@triton.jit
def _places(rows, columns, number, at_once_rows: tl.constexpr, at_once_columns: tl.constexpr):
    row = tl.program_id(0) * at_once_rows + tl.arange(0, at_once_rows)
    column = number * at_once_columns + tl.arange(0, at_once_columns)
    return row, column, (row < rows)[:, None] & (column < columns)[None, :]


@triton.jit
def _enter(
    z, x, weight, rows, units, latent, m: tl.constexpr, n: tl.constexpr, k: tl.constexpr, precision: tl.constexpr
):
    """Form x = ELU(x + W z)."""
    row, column, inside = _places(rows, units, tl.program_id(1), m, n)
    value = _product(z, latent, weight, 1, latent, latent, row, column, rows, units, k, precision)
    place = x + row[:, None] * units + column[None, :]
    tl.store(place, _elu(value + tl.load(place, mask=inside, other=0.0)), mask=inside)


@triton.jit
def _gru(
    x,
    h,
    gates,
    weight,
    bias,
    following,
    rows,
    units,
    size,
    m: tl.constexpr,
    n: tl.constexpr,
    k: tl.constexpr,
    precision: tl.constexpr,
):
    """The next h; `gates` hold the hidden state's parts, and then what the backward needs."""
    row, column, inside = _places(rows, size, tl.program_id(1), m, n)
    place = row[:, None] * (4 * size) + column[None, :]
    by_x = _product(x, units, weight, 1, units, units, row, column, rows, size, k, precision)
    by_x += tl.load(bias + column, mask=column < size, other=0.0)[None, :]
    reset = tl.sigmoid(by_x + tl.load(gates + place, mask=inside, other=0.0))
    weight += size * units
    by_x = _product(x, units, weight, 1, units, units, row, column, rows, size, k, precision)
    by_x += tl.load(bias + size + column, mask=column < size, other=0.0)[None, :]
    update = tl.sigmoid(by_x + tl.load(gates + size + place, mask=inside, other=0.0))
    weight += size * units
    by_x = _product(x, units, weight, 1, units, units, row, column, rows, size, k, precision)
    by_x += tl.load(bias + 2 * size + column, mask=column < size, other=0.0)[None, :]
    new = _tanh(by_x + reset * tl.load(gates + 2 * size + place, mask=inside, other=0.0))
    where = row[:, None] * size + column[None, :]
    before = tl.load(h + where, mask=inside, other=0.0)
    tl.store(following + where, (before - new) * update + new, mask=inside)
    tl.store(gates + place, reset, mask=inside)
    tl.store(gates + size + place, update, mask=inside)
    tl.store(gates + 3 * size + place, new, mask=inside)


@triton.jit
def _from_h(
    h,
    p,
    deterministic,
    gates,
    hidden,
    bias,
    rows,
    units,
    size,
    blocks,
    m: tl.constexpr,
    n: tl.constexpr,
    k: tl.constexpr,
    precision: tl.constexpr,
):
    """Form p = ELU(p + W h) in the first blocks of columns; the next gates' parts of h in the others."""
    if tl.program_id(1) < blocks:
        row, column, inside = _places(rows, units, tl.program_id(1), m, n)
        value = _product(h, size, deterministic, 1, size, size, row, column, rows, units, k, precision)
        place = p + row[:, None] * units + column[None, :]
        tl.store(place, _elu(value + tl.load(place, mask=inside, other=0.0)), mask=inside)
    else:
        row, column, inside = _places(rows, 3 * size, tl.program_id(1) - blocks, m, n)
        value = _product(h, size, hidden, 1, size, size, row, column, rows, 3 * size, k, precision)
        value += tl.load(bias + column, mask=column < 3 * size, other=0.0)[None, :]
        tl.store(gates + row[:, None] * (4 * size) + column[None, :], value, mask=inside)


@triton.jit
def _sample(
    p,
    weight,
    bias,
    noise,
    z,
    mean,
    raw,
    std,
    least,
    rows,
    units,
    latent,
    m: tl.constexpr,
    n: tl.constexpr,
    k: tl.constexpr,
    precision: tl.constexpr,
):
    """The posterior's parameters, and a sample of it."""
    row, column, inside = _places(rows, latent, tl.program_id(1), m, n)
    centre = _product(p, units, weight, 1, units, units, row, column, rows, latent, k, precision)
    centre += tl.load(bias + column, mask=column < latent, other=0.0)[None, :]
    weight += latent * units
    free = _product(p, units, weight, 1, units, units, row, column, rows, latent, k, precision)
    free += tl.load(bias + latent + column, mask=column < latent, other=0.0)[None, :]
    spread = tl.where(free > 20.0, free, tl.log(1.0 + tl.exp(free))) + least
    place = row[:, None] * latent + column[None, :]
    tl.store(z + place, centre + spread * tl.load(noise + place, mask=inside, other=0.0), mask=inside)
    tl.store(mean + place, centre, mask=inside)
    tl.store(raw + place, free, mask=inside)
    tl.store(std + place, spread, mask=inside)


@triton.jit
def _sample_backward(
    of_z,
    of_mean,
    of_std,
    noise,
    raw,
    p,
    weight,
    of_out,
    of_p,
    rows,
    units,
    latent,
    m: tl.constexpr,
    n: tl.constexpr,
    k: tl.constexpr,
    precision: tl.constexpr,
):
    """The gradients by the posterior's parameters, and by its hidden layer before the ELU."""
    row, column, inside = _places(rows, units, tl.program_id(1), m, n)
    total = tl.zeros((m, n), tl.float32)
    for start in range(0, latent, k):
        term = start + tl.arange(0, k)
        known = (row < rows)[:, None] & (term < latent)[None, :]
        place = row[:, None] * latent + term[None, :]
        by_z = tl.load(of_z + place, mask=known, other=0.0)
        by_mean = by_z + tl.load(of_mean + place, mask=known, other=0.0)
        by_std = tl.load(of_std + place, mask=known, other=0.0) + by_z * tl.load(noise + place, mask=known, other=0.0)
        by_raw = by_std * tl.sigmoid(tl.load(raw + place, mask=known, other=0.0))
        if tl.program_id(1) == 0:
            where = of_out + row[:, None] * (2 * latent) + term[None, :]
            tl.store(where, by_mean, mask=known)
            tl.store(where + latent, by_raw, mask=known)
        of_weight = (term < latent)[:, None] & (column < units)[None, :]
        at = weight + term[:, None] * units + column[None, :]
        total = tl.dot(by_mean, tl.load(at, mask=of_weight, other=0.0), total, input_precision=precision)
        at += latent * units
        total = tl.dot(by_raw, tl.load(at, mask=of_weight, other=0.0), total, input_precision=precision)
    place = row[:, None] * units + column[None, :]
    tl.store(of_p + place, total * _elu_slope(tl.load(p + place, mask=inside, other=0.0)), mask=inside)


@triton.jit
def _gru_backward(
    of_p,
    deterministic,
    of_h,
    of_h_before,
    gates,
    h_before,
    of_gates,
    rows,
    units,
    size,
    m: tl.constexpr,
    n: tl.constexpr,
    k: tl.constexpr,
    precision: tl.constexpr,
):
    """All of the gradient by h arrives here; those by the gates leave, and h's way past them to the state before."""
    row, column, inside = _places(rows, size, tl.program_id(1), m, n)
    by_h = _product(of_p, units, deterministic, size, 1, units, row, column, rows, size, k, precision)
    where = row[:, None] * size + column[None, :]
    by_h += tl.load(of_h + where, mask=inside, other=0.0)
    place = row[:, None] * (4 * size) + column[None, :]
    reset = tl.load(gates + place, mask=inside, other=0.0)
    update = tl.load(gates + size + place, mask=inside, other=0.0)
    hidden = tl.load(gates + 2 * size + place, mask=inside, other=0.0)
    new = tl.load(gates + 3 * size + place, mask=inside, other=0.0)
    before = tl.load(h_before + where, mask=inside, other=0.0)
    by_new = by_h * (1.0 - update) * (1.0 - new * new)
    tl.store(of_gates + place, by_new, mask=inside)
    tl.store(of_gates + size + place, by_new * hidden * reset * (1.0 - reset), mask=inside)
    tl.store(of_gates + 2 * size + place, by_h * (before - new) * update * (1.0 - update), mask=inside)
    tl.store(of_gates + 3 * size + place, by_new * reset, mask=inside)
    past = tl.load(of_h_before + where, mask=inside, other=0.0) + by_h * update
    tl.store(of_h_before + where, past, mask=inside)


@triton.jit
def _enter_backward(
    of_gates,
    gru_input,
    x,
    of_x,
    gru_hidden,
    of_h_before,
    rows,
    units,
    size,
    blocks,
    m: tl.constexpr,
    n: tl.constexpr,
    k: tl.constexpr,
    precision: tl.constexpr,
):
    """The gradient by x before its ELU, in the first blocks of columns; in the others that by the h before."""
    if tl.program_id(1) < blocks:
        row, column, inside = _places(rows, units, tl.program_id(1), m, n)
        # the candidate's part lies first among the gradients and last among the weights
        value = _product(
            of_gates + size, 4 * size, gru_input, units, 1, 2 * size, row, column, rows, units, k, precision
        )
        weight = gru_input + 2 * size * units
        value += _product(of_gates, 4 * size, weight, units, 1, size, row, column, rows, units, k, precision)
        place = row[:, None] * units + column[None, :]
        tl.store(of_x + place, value * _elu_slope(tl.load(x + place, mask=inside, other=0.0)), mask=inside)
    else:
        row, column, inside = _places(rows, size, tl.program_id(1) - blocks, m, n)
        value = _product(
            of_gates + size, 4 * size, gru_hidden, size, 1, 3 * size, row, column, rows, size, k, precision
        )
        place = row[:, None] * size + column[None, :]
        value += tl.load(of_h_before + place, mask=inside, other=0.0)
        tl.store(of_h_before + place, value, mask=inside)


@triton.jit
def _add_product(
    a,
    weight,
    to,
    rows,
    columns,
    inner,
    m: tl.constexpr,
    n: tl.constexpr,
    k: tl.constexpr,
    precision: tl.constexpr,
):
    """`to` (rows, columns) += a (rows, inner) W (inner, columns)."""
    row, column, inside = _places(rows, columns, tl.program_id(1), m, n)
    value = _product(a, inner, weight, columns, 1, inner, row, column, rows, columns, k, precision)
    place = to + row[:, None] * columns + column[None, :]
    tl.store(place, value + tl.load(place, mask=inside, other=0.0), mask=inside)


class _Grid:
    """How the kernels are started, for a batch of so many sequences."""

    def __init__(self, batch: int) -> None:
        self.programs = triton.cdiv(batch, ROWS)
        self.precision = "tf32" if torch.get_float32_matmul_precision() != "highest" else "ieee"

    def start(self, kernel: Any, columns: int, inner: int, *given: object) -> None:
        """Start a kernel for so many blocks of columns, whose sums have at most `inner` terms."""
        at_once = min(INNER, max(16, triton.next_power_of_2(inner)))
        kernel[self.programs, columns](*given, ROWS, COLUMNS, at_once, self.precision, num_warps=WARPS)


def forward(
    embedding_input: Tensor,
    action_input: Tensor,
    noise: Tensor,
    h: Tensor,
    z: Tensor,
    w: RecurrenceWeights,
    least: float,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Kept]:
    """`recurrence.observe` with a least standard deviation, and what `backward` needs."""
    length, batch, latent = noise.shape
    units, size = w.gru_input.shape[1], w.gru_hidden.shape[1]
    x, p = (part.clone(memory_format=torch.contiguous_format) for part in (action_input, embedding_input))
    noise, w = noise.contiguous(), RecurrenceWeights(*(weight.contiguous() for weight in w))
    states, gates = noise.new_empty(length + 1, batch, size), noise.new_empty(length, batch, 4 * size)
    all_z, mean, raw, std = (torch.empty_like(noise) for _ in range(4))
    states[0] = h
    z = z.contiguous()
    grid = _Grid(batch)
    of_units, of_size, of_gates, of_latent = (triton.cdiv(width, COLUMNS) for width in (units, size, 3 * size, latent))

    def from_h(t: int, blocks: int, more: int) -> None:
        """The posterior's hidden layer of row t, in the first `blocks`, and the gates' parts of the row after."""
        row, following = max(t, 0), min(t + 1, length - 1)
        given = (states[t + 1], p[row], w.deterministic, gates[following], w.gru_hidden, w.gru_hidden_bias)
        grid.start(_from_h, blocks + more, size, *given, batch, units, size, blocks)

    given: tuple[object, ...]
    from_h(-1, 0, of_gates)
    for t in range(length):
        grid.start(_enter, of_units, latent, z, x[t], w.latent, batch, units, latent)
        given = (x[t], states[t], gates[t], w.gru_input, w.gru_input_bias, states[t + 1])
        grid.start(_gru, of_size, units, *given, batch, units, size)
        from_h(t, of_units, of_gates if t + 1 < length else 0)
        z = all_z[t]
        given = (p[t], w.out, w.out_bias, noise[t], z, mean[t], raw[t], std[t], least)
        grid.start(_sample, of_latent, units, *given, batch, units, latent)
    return (states[1:], all_z, mean, std), Kept(x, p, raw, gates, states[:-1])


def backward(
    gradients: tuple[Tensor, Tensor, Tensor, Tensor], noise: Tensor, kept: Kept, w: RecurrenceWeights
) -> Gradients:
    """Back through all steps, from the gradients by h, z, means and standard deviations."""
    length, batch, latent = noise.shape
    units, size = w.gru_input.shape[1], w.gru_hidden.shape[1]
    noise, w = noise.contiguous(), RecurrenceWeights(*(weight.contiguous() for weight in w))
    by_h, by_z = (
        torch.cat([torch.zeros_like(part[:1], memory_format=torch.contiguous_format), part]) for part in gradients[:2]
    )
    by_mean, by_std = (part.contiguous() for part in gradients[2:])
    of_x, of_p = torch.empty_like(kept.x), torch.empty_like(kept.p)
    of_out, of_gates = noise.new_empty(length, batch, 2 * latent), torch.empty_like(kept.gates)
    grid = _Grid(batch)
    of_units, of_size, of_latent = (triton.cdiv(width, COLUMNS) for width in (units, size, latent))
    given: tuple[object, ...]
    for t in reversed(range(length)):
        given = (by_z[t + 1], by_mean[t], by_std[t], noise[t], kept.raw[t], kept.p[t], w.out, of_out[t], of_p[t])
        grid.start(_sample_backward, of_units, latent, *given, batch, units, latent)
        given = (of_p[t], w.deterministic, by_h[t + 1], by_h[t], kept.gates[t], kept.h_before[t], of_gates[t])
        grid.start(_gru_backward, of_size, units, *given, batch, units, size)
        given = (of_gates[t], w.gru_input, kept.x[t], of_x[t], w.gru_hidden, by_h[t])
        grid.start(_enter_backward, of_units + of_size, size, *given, batch, units, size, of_units)
        grid.start(_add_product, of_latent, units, of_x[t], w.latent, by_z[t], batch, latent, units)
    return Gradients(of_x, of_p, of_out, of_gates, by_h[0], by_z[0])


def probe(device: torch.device) -> None:
    """Compile and start all kernels on a GPU, on two steps of two sequences."""
    sizes = ((32, 16), (96, 32), (96, 32), (96,), (96,), (32, 32), (32, 32), (32,))
    w = RecurrenceWeights(*(torch.ones(size, device=device) for size in sizes))
    x, noise, h = (torch.ones(2, 2, size, device=device) for size in (32, 16, 32))
    found, kept = forward(x, x, noise, h[0], noise[0], w, 0.1)
    backward(found, noise, kept, w)
