"""The conservative term of COMBO and CQL (eq. 2, 28 and 29).

Symbols (docs/symbols.md): S, B, M, N, A, k.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from latent_combo.agent.batch import draw_by_weight


def log_sum_exp(q_uniform: Tensor, q_policy: Tensor, log_policy: Tensor, action_dim: int) -> Tensor:
    """Estimate log of the integral of exp Q(s, a) over actions in [-1, 1]^A, by importance sampling (eq. 29).

    Takes the values of N uniform actions (..., B, N), of N actions of the policy (..., B, N), and the log-densities of
    the latter (..., B, N). Each sample counts by its own density, so the mean of the 2N weights is unbiased for the
    integral. Returns (..., B). Gradients flow into the values only.

    B.1: 10 uniform actions and 10 of the policy at every state. CQL's code takes 10 more, of the policy at the *next*
    state, whose density is that of another state. The sum is over all 2N samples of one state: two public
    re-implementations lose N by a reshape, and take it over the 3 or 4 numbers that are left.
    """
    assert q_uniform.shape == q_policy.shape and log_policy.shape == q_policy.shape[q_policy.dim() - log_policy.dim() :]
    weights = _log_weights(q_uniform, q_policy, log_policy, action_dim)
    return weights.logsumexp(-1) - math.log(weights.shape[-1])


def softmax_shares(q_uniform: Tensor, q_policy: Tensor, log_policy: Tensor, action_dim: int) -> Tensor:
    """Share (..., B, 2N) that each sample's gradient has in that of `log_sum_exp`: its derivatives by the values."""
    return _log_weights(q_uniform, q_policy, log_policy, action_dim).softmax(-1)


@torch.no_grad()
def sample_metrics(q_uniform: Tensor, q_policy: Tensor, log_policy: Tensor, action_dim: int) -> dict[str, Tensor]:
    """Mean values of the sampled actions, and the policy's part of the softmax: (S, M) each.

    Takes values (2, S, M, N), and the policy's log-densities (S, M, N).
    """
    metrics = {name: q.mean((0, 3)) for name, q in (("q_uniform", q_uniform), ("q_policy", q_policy))}
    shares = softmax_shares(q_uniform, q_policy, log_policy, action_dim)
    metrics["logsumexp_policy_share"] = shares[..., shares.shape[-1] // 2 :].sum(-1).mean(0)
    return metrics


def carried_by_draws(
    logsumexp_q: Tensor, shares: Tensor, sampled: Tensor, uniform: Tensor, critic: Callable[[Tensor], Tensor]
) -> Tensor:
    """Soft maxima (2, S, M) of the same values, whose gradients k drawn samples of each carry; not in the paper.

    The gradient of a log-sum-exp is the mean of its samples' gradients under its softmax, so that samples drawn by
    their `shares` (2, S, M, 2N) stand for all of them: its mean is the same, and `critic` differentiates k values a
    state for 2N. It takes each critic's own actions (2, S, M, k, A), chosen from `sampled` (S, M, 2N, A) by the numbers
    `uniform` (S, M, 2k) in [0, 1), and returns values (2, S, M, k).
    """
    of_each = torch.stack(uniform.chunk(2, -1))  # (2, S, M, k)
    chosen = draw_by_weight(shares.cumsum(-1), of_each)[..., None].expand(*of_each.shape, sampled.shape[-1])
    drawn = critic(sampled.expand(2, *sampled.shape).gather(3, chosen)).mean(-1)  # (2, S, M)
    assert drawn.shape == logsumexp_q.shape
    return logsumexp_q + drawn - drawn.detach()  # its value, and the drawn samples' gradient


def _log_weights(q_uniform: Tensor, q_policy: Tensor, log_policy: Tensor, action_dim: int) -> Tensor:
    """Value less log-density of each of the 2N samples, (..., B, 2N)."""
    log_uniform = -action_dim * math.log(2.0)
    return torch.cat([q_uniform - log_uniform, q_policy - log_policy.detach()], -1)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over the last axis under weights that may be zero; 0 where all of them are. Shapes (..., B) to (...)."""
    return (values * weights).sum(-1) / weights.sum(-1).clamp(min=1e-8)


def conservative_gap(logsumexp_q: Tensor, rho: Tensor, q_data: Tensor, real: Tensor) -> Tensor:
    """`E_{s ~ rho}[log-sum-exp Q(s, .)] - E_{(s,a) ~ D}[Q(s, a)]`, the bracket of eq. 29, per agent and critic.

    Takes soft maxima (..., M) and the weights `rho` (..., M) of their states, which are pushed down; and the values of
    a batch's own actions (..., B) and `real` (..., B), 1 for rows of the dataset: only those are pushed up. Returns
    (...).

    Public re-implementations stop the gradient of the first term (one), so that nothing is pushed down, push up on the
    model's pairs, too (two), or never multiply by beta (one). Eq. 2 pushes up under d(s, a), the dataset's pairs alone.
    """
    assert logsumexp_q.shape[-1] == rho.shape[-1] and q_data.shape[-1] == real.shape[-1]
    return weighted_mean(logsumexp_q, rho) - weighted_mean(q_data, real)
