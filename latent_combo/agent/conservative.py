"""The conservative term of COMBO and CQL (eq. 2, 28 and 29)."""

import math

import torch
from torch import Tensor


def log_sum_exp(q_uniform: Tensor, q_policy: Tensor, log_policy: Tensor, action_dim: int) -> Tensor:
    """Estimate log of the integral of exp Q(s, a) over actions in [-1, 1]^A, by importance sampling (eq. 29).

    Takes the values of N uniform actions (..., B, N), of N actions of the policy (..., B, N), and the log-densities of
    the latter (..., B, N). Each sample counts by its own density, so the mean of the 2N weights is unbiased for the
    integral. Returns (..., B). Gradients flow into the values only.
    """
    weights = _log_weights(q_uniform, q_policy, log_policy, action_dim)
    return weights.logsumexp(-1) - math.log(weights.shape[-1])


def softmax_shares(q_uniform: Tensor, q_policy: Tensor, log_policy: Tensor, action_dim: int) -> Tensor:
    """Share (..., B, 2N) that each sample's gradient has in that of `log_sum_exp`: its derivatives by the values."""
    return _log_weights(q_uniform, q_policy, log_policy, action_dim).softmax(-1)


def _log_weights(q_uniform: Tensor, q_policy: Tensor, log_policy: Tensor, action_dim: int) -> Tensor:
    """Value less log-density of each of the 2N samples, (..., B, 2N)."""
    log_uniform = -action_dim * math.log(2.0)
    return torch.cat([q_uniform - log_uniform, q_policy - log_policy.detach()], -1)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over the last axis under weights that may be zero; 0 where all of them are. Shapes (..., B) to (...)."""
    return (values * weights).sum(-1) / weights.sum(-1).clamp(min=1e-8)


def conservative_gap(soft_maximum: Tensor, rho: Tensor, q_data: Tensor, real: Tensor) -> Tensor:
    """`E_{s ~ rho}[log-sum-exp Q(s, .)] - E_{(s,a) ~ D}[Q(s, a)]`, the bracket of eq. 29, per agent and critic.

    Takes soft maxima (..., M) and the weights `rho` (..., M) of their states, which are pushed down; and the values of
    a batch's own actions (..., B) and `real` (..., B), 1 for rows of the dataset: only those are pushed up. Returns
    (...).
    """
    return weighted_mean(soft_maximum, rho) - weighted_mean(q_data, real)
