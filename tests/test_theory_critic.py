"""The product's conservative term against the theory's fixed point, on MDPs that are solved exactly."""

import math

import numpy as np
import pytest
import torch
from exact_mdps import MDP, Array, Data, infinite_data, random_mdp, random_policy, sample_data, wrong_model
from torch import Tensor

from latent_combo.agent.conservative import conservative_gap, log_sum_exp


def rows_of(data: Data) -> tuple[Array, Array, Array, Array]:
    """A dataset's transitions as rows: state, action, reward, next state."""
    counts = np.rint(data.counts[..., None] * data.empirical.transition).astype(int)
    state, action, successor = (np.repeat(index.ravel(), counts.ravel()) for index in np.indices(counts.shape))
    return state, action, data.empirical.reward[state, action], successor


def descend(rows: list[Tensor], real: Tensor, policy: Tensor, beta: float, gamma: float, rho: Tensor) -> Tensor:
    """The table that gradient steps on eq. 29 end at, each pair's step in units of its share d_f of the batch."""
    state, action, reward, successor = rows
    table = torch.zeros(policy.shape, dtype=torch.float64)
    d_f = torch.zeros_like(table).index_put_((state, action), torch.ones_like(reward), accumulate=True) / len(reward)
    for _ in range(4000):
        table.requires_grad_(True)
        of_states = table[state]  # (B, N): a sample for each action
        # one policy sample and one uniform sample of density 1/2 in each third of [-1, 1]
        log_density = torch.full_like(of_states, -math.log(2.0))
        soft = log_sum_exp(of_states, of_states, log_density, action_dim=1)
        value = table[state, action]
        with torch.no_grad():
            target = reward + gamma * (policy * table).sum(1)[successor]
        loss = 0.5 * (value - target).square().mean() + beta * conservative_gap(soft, rho, value, real)
        (gradient,) = torch.autograd.grad(loss, table)
        table = table.detach() - 0.3 * torch.where(d_f > 0, gradient / d_f.clamp(min=1e-12), 0.0)
        if float(gradient.abs().max()) < 1e-11:
            break
    return table.detach()


@pytest.mark.parametrize("states", ["model", "mix", "dataset"])
@pytest.mark.parametrize("seed", range(3))
def test_the_products_term_moves_a_table_to_the_fixed_point_of_the_theory(states: str, seed: int) -> None:
    """`log_sum_exp` and `conservative_gap` on 60 rows of data and 120 of the model: the table ends at the linear
    system's Q = B Q - beta (rho - d) / d_f, rho(s, a) = rho(s) softmax Q(s, .), whose B takes the empirical backup by
    the share f d / d_f of each pair (and none where there are no data). Its value at the start is that of Prop. 4.1's
    identity, J(M_f, pi) - beta nu_f / (1 - gamma)."""
    rng = np.random.default_rng(seed)
    mdp, behaviour, policy = random_mdp(rng, gamma=0.8), random_policy(rng), random_policy(rng)
    data = sample_data(rng, mdp, behaviour, 60)
    imagined = sample_data(rng, wrong_model(rng, mdp, 0.3, optimism=0.2), policy, 120, noise=0.0, least=1)
    beta = 0.3

    columns = [np.concatenate(parts) for parts in zip(rows_of(data), rows_of(imagined), strict=True)]
    size, total = int(data.counts.sum()), len(columns[0])
    f = size / total
    real = (torch.arange(total) < size).double()
    rho_rows = {"model": 1.0 - real, "mix": torch.ones_like(real), "dataset": real}[states]
    rows = [torch.from_numpy(column) for column in columns]
    q = descend(rows, real, torch.from_numpy(policy), beta, mdp.gamma, rho_rows).numpy()

    d_f = f * data.d + (1.0 - f) * imagined.d
    of_state = {"model": imagined.d.sum(1), "mix": d_f.sum(1), "dataset": data.d.sum(1)}[states]
    soft = np.exp(q) / np.exp(q).sum(1, keepdims=True)
    penalty = (of_state[:, None] * soft - data.d) / d_f
    of_f: MDP = data.empirical.mixed(imagined.empirical, f * data.d / d_f)
    np.testing.assert_allclose(q, of_f.summed(policy, of_f.reward - beta * penalty), atol=1e-7)
    nu_f = float((of_f.occupancy(policy) * penalty).sum())
    identity = of_f.objective(policy) - beta * nu_f / (1.0 - mdp.gamma)
    assert mdp.at_start(policy, q) == pytest.approx(identity, abs=1e-7)
    assert np.abs(q - of_f.q(policy)).max() > 0.1  # the term moves it


def test_a_dataset_without_sampling_error_leaves_the_empirical_mdp_as_it_is() -> None:
    rng = np.random.default_rng(0)
    mdp, behaviour = random_mdp(rng), random_policy(rng)
    data = infinite_data(mdp, behaviour)
    assert data.d.sum() == pytest.approx(1.0) and data.empirical is mdp
    np.testing.assert_allclose(data.behaviour, behaviour)
    large = sample_data(rng, mdp, behaviour, 10**7)
    np.testing.assert_allclose(large.d, data.d, atol=1e-3)
    np.testing.assert_allclose(large.empirical.q(behaviour), mdp.q(behaviour), atol=3e-2)
