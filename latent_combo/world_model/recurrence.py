"""The filter's recurrence over a whole sequence, with a backward of its own.

Autograd would add to each weight's gradient at every step: five small products, five reductions and the additions that
gather them. Here the backward keeps what each step was given, and forms a weight's gradient as one product after the
loop, which nearly halves the kernels of a step of the world model on a GPU (docs/speed.md).

Symbols: L rows, B sequences, H units of the GRU, Z latent dimensions, U hidden units. Time comes first, so that what a
step takes of a buffer is contiguous.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from latent_combo.numerics.kernels import triton_kernels
from latent_combo.numerics.matmul import multiply
from latent_combo.world_model.recurrence_weights import RecurrenceWeights

MIN_STD = 0.1
KERNELS = "latent_combo.world_model.triton_recurrence"
"""Of a step, on a GPU."""


def observe(
    embedding_input: Tensor, action_input: Tensor, noise: Tensor, h: Tensor, z: Tensor, weights: RecurrenceWeights
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Filter a sequence.

    For each row t:

        h_t = GRU(ELU(W_latent z_{t-1} + a_t), h_{t-1})
        m_t, s_t = W_out ELU(W_deterministic h_t + e_t) + b_out
        z_t = m_t + (softplus(s_t) + 0.1) noise_t

    Takes e `embedding_input` and a `action_input` (L, B, U), which hold the other inputs' parts and the biases of the
    two hidden layers, standard normal `noise` (L, B, Z), and the state before, `h` (B, H) and `z` (B, Z). Returns h
    (L, B, H), and z, means and standard deviations of the posterior (L, B, Z). No gradient flows into `noise`.
    """
    given = (embedding_input, action_input, noise, h, z, *weights)
    by_kernels = triton_kernels(KERNELS, noise.device) is not None and all(t.dtype == torch.float32 for t in given)
    way: type[torch.autograd.Function] = _RecurrenceByKernels if by_kernels else _Recurrence
    apply: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]] = way.apply
    return apply(*given)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embedding_input: Tensor, action_input: Tensor, noise: Tensor, *rest: Tensor) -> Any:
        h, z, *given = rest
        w = RecurrenceWeights(*given)
        # Filled in place, one step after the other: the hidden layers' activations, and what they come to, to which the
        # least standard deviation's share of the sample is added at once.
        x, p = (part.clone(memory_format=torch.contiguous_format) for part in (action_input, embedding_input))
        least = MIN_STD * noise
        out = torch.cat([least, torch.zeros_like(noise)], -1).add_(w.out_bias)
        rows: list[tuple[Tensor, ...]] = []
        gates: list[Tensor] = []
        for t in range(len(noise)):
            functional.elu_(x[t].addmm_(z, w.latent.t()))
            h, kept = gru(x[t], h, w)
            functional.elu_(p[t].addmm_(h, w.deterministic.t()))
            shifted, raw = out[t].addmm_(p[t], w.out.t()).chunk(2, -1)
            spread = functional.softplus(raw)
            z = torch.addcmul(shifted, spread, noise[t])
            rows.append((h, z, spread))
            gates += kept
        all_h, all_z, spreads = (torch.stack(parts) for parts in zip(*rows, strict=True))
        shifted, raw = out.chunk(2, -1)
        ctx.save_for_backward(x, p, noise, *rest, all_h, all_z, raw, *gates)
        return all_h, all_z, shifted - least, spreads.add_(MIN_STD)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, p, noise, h0, z0, *saved = ctx.saved_tensors
        w = RecurrenceWeights(*saved[:8])
        all_h, all_z, raw, *kept = saved[8:]
        length, _, latent = noise.shape
        per_step = len(kept) // length
        of_h, of_z, of_mean, of_std = gradients
        grad_h = of_h.clone(memory_format=torch.contiguous_format)
        # A mean has its sample's gradient and what arrives at it alone, in which the spread has no part.
        grad_out = torch.cat([of_z + of_mean, torch.empty_like(of_z)], -1)
        grad_mean = grad_out[..., :latent]
        grad_std = torch.addcmul(of_std, of_mean, noise, value=-1.0)
        grad_x, grad_p = torch.empty_like(x), torch.empty_like(p)
        grad_gates: list[tuple[Tensor, Tensor]] = []  # of the input's and of h's part, the last step first
        h_before, z_before = torch.cat([h0[None], all_h[:-1]]), torch.cat([z0[None], all_z[:-1]])
        grad_h0, grad_z0 = torch.zeros_like(h0), torch.zeros_like(z0)
        for t in reversed(range(length)):
            dh = grad_h[t]
            torch.ops.aten.softplus_backward(
                grad_std[t].addcmul_(grad_mean[t], noise[t]), raw[t], 1.0, 20.0, grad_input=grad_out[t, :, latent:]
            )
            elu_backward(grad_out[t] @ w.out, p[t], grad_p[t])
            dh.addmm_(grad_p[t], w.deterministic)
            by_input, by_hidden, through = gru_backward(dh, h_before[t], kept[t * per_step : (t + 1) * per_step])
            grad_gates.append((by_input, by_hidden))
            elu_backward(by_input @ w.gru_input, x[t], grad_x[t])
            earlier_h, earlier_z = (grad_h[t - 1], grad_mean[t - 1]) if t else (grad_h0, grad_z0)
            earlier_h.add_(through).addmm_(by_hidden, w.gru_hidden)
            earlier_z.addmm_(grad_x[t], w.latent)
        grad_by_input, grad_by_hidden = (torch.stack(part) for part in zip(*reversed(grad_gates), strict=True))
        of_weights = RecurrenceWeights(
            latent=over_time(grad_x, z_before),
            gru_input=over_time(grad_by_input, x),
            gru_hidden=over_time(grad_by_hidden, h_before),
            gru_input_bias=grad_by_input.sum((0, 1)),
            gru_hidden_bias=grad_by_hidden.sum((0, 1)),
            deterministic=over_time(grad_p, all_h),
            out=over_time(grad_out, p),
            out_bias=grad_out.sum((0, 1)),
        )
        return grad_p, grad_x, None, grad_h0, grad_z0, *of_weights


class _RecurrenceByKernels(torch.autograd.Function):
    """The same by the kernels for a GPU."""

    @staticmethod
    def forward(ctx: Any, embedding_input: Tensor, action_input: Tensor, noise: Tensor, *rest: Tensor) -> Any:
        h, z, *given = rest
        kernels = triton_kernels(KERNELS, noise.device)
        assert kernels is not None
        found, kept = kernels.forward(embedding_input, action_input, noise, h, z, RecurrenceWeights(*given), MIN_STD)
        ctx.save_for_backward(noise, z, *given, *found[:2], *kept)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        noise, z0, *saved = ctx.saved_tensors
        w, (all_h, all_z) = RecurrenceWeights(*saved[:8]), saved[8:10]
        kernels = triton_kernels(KERNELS, noise.device)
        assert kernels is not None
        kept = kernels.Kept(*saved[10:])
        found = kernels.backward(gradients, noise, kept, w)
        size = all_h.shape[2]
        by_input, by_hidden = found.gates[..., : 3 * size], found.gates[..., size:]

        def candidate_last(of_gates: Tensor) -> Tensor:
            """Rows of the candidate, the reset and the update, in the order in which the cell has them."""
            return torch.cat([of_gates[size:], of_gates[:size]])

        of_weights = RecurrenceWeights(
            latent=over_time(found.x, torch.cat([z0[None], all_z[:-1]])),
            gru_input=candidate_last(over_time(by_input, kept.x)),
            gru_hidden=over_time(by_hidden, kept.h_before),
            gru_input_bias=candidate_last(by_input.sum((0, 1))),
            gru_hidden_bias=by_hidden.sum((0, 1)),
            deterministic=over_time(found.p, all_h),
            out=over_time(found.out, kept.p),
            out_bias=found.out.sum((0, 1)),
        )
        return found.p, found.x, None, found.h0, found.z0, *of_weights


def over_time(gradient: Tensor, given: Tensor) -> Tensor:
    """A weight's gradient (out, in), from those of its products (L, B, out) and what it multiplied (L, B, in).

    One product over all steps and sequences.
    """
    return multiply(gradient.flatten(0, 1).t(), given.flatten(0, 1))


def gru(x: Tensor, h: Tensor, w: RecurrenceWeights) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One step of `torch.nn.GRUCell`, x (B, U) and h (B, H) to the next h, and what `gru_backward` needs of it."""
    if x.device.type == "cuda":  # one kernel
        following, workspace = torch.ops.aten._thnn_fused_gru_cell(
            x @ w.gru_input.t(), h @ w.gru_hidden.t(), h, w.gru_input_bias, w.gru_hidden_bias
        )
        return following, (workspace,)
    by_input = torch.addmm(w.gru_input_bias, x, w.gru_input.t()).chunk(3, -1)
    by_hidden = torch.addmm(w.gru_hidden_bias, h, w.gru_hidden.t()).chunk(3, -1)
    reset = (by_input[0] + by_hidden[0]).sigmoid_()
    update = (by_input[1] + by_hidden[1]).sigmoid_()
    new = torch.addcmul(by_input[2], by_hidden[2], reset).tanh_()
    return (h - new).mul_(update).add_(new), (reset, update, new, by_hidden[2])


def gru_backward(gradient: Tensor, h: Tensor, kept: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Back through `gru`: from the gradient (B, H) of the next h, and the h before.

    Returns the gradients of the input's and of the hidden state's part of the gates (B, 3H), and that of h (B, H)
    beside the latter.
    """
    if len(kept) == 1:
        of_input, of_hidden, through, _, _ = torch.ops.aten._thnn_fused_gru_cell_backward(gradient, kept[0], False)
        return of_input, of_hidden, through
    reset, update, new, hidden_new = kept
    d_new = (gradient * (1.0 - update)).mul_(1.0 - new.square())
    d_update = (gradient * (h - new)).mul_(update * (1.0 - update))
    d_reset = (d_new * hidden_new).mul_(reset * (1.0 - reset))
    by_input = torch.cat([d_reset, d_update, d_new], -1)
    by_hidden = torch.cat([d_reset, d_update, d_new * reset], -1)
    return by_input, by_hidden, gradient * update


def elu_backward(gradient: Tensor, activation: Tensor, into: Tensor) -> None:
    """Fill `into` (B, U), the gradient of an ELU's input, from that of its output and the output itself."""
    torch.ops.aten.elu_backward(gradient, 1.0, 1.0, 1.0, True, activation, grad_input=into)
