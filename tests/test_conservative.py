"""The conservative critic against closed forms and an MDP that is solved exactly."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.conservative import conservative_gap, log_sum_exp, softmax_shares
from latent_combo.agent.networks import TwinCritic
from latent_combo.agent.settings import AgentConfig, NetworkConfig
from latent_combo.agent.tanh_gaussian import TanhGaussian

CPU = torch.device("cpu")


def stratified_uniform(count: int) -> Tensor:
    """Midpoints of `count` equal pieces of [-1, 1]."""
    return (torch.arange(count) + 0.5) / count * 2.0 - 1.0


def stratified_normal(count: int) -> Tensor:
    return torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(count) + 0.5) / count)


def test_log_sum_exp_of_a_constant_is_the_constant_plus_the_log_volume() -> None:
    policy = TanhGaussian(torch.tensor([0.2]), torch.tensor([0.0]))
    _, log_policy = policy.sample(stratified_normal(4000)[:, None])
    log_policy = torch.stack([log_policy, log_policy])  # two states
    values = torch.tensor([[1.5], [-2.0]]).expand(2, 4000)
    estimate = log_sum_exp(values, values, log_policy, action_dim=1)
    torch.testing.assert_close(estimate, torch.tensor([1.5, -2.0]) + math.log(2.0), atol=5e-3, rtol=0)


def test_log_sum_exp_of_a_slope_is_its_integral() -> None:
    slope = 2.0
    policy = TanhGaussian(torch.tensor([0.0]), torch.tensor([0.0]))
    actions, log_policy = policy.sample(stratified_normal(4000)[:, None])
    estimate = log_sum_exp(slope * stratified_uniform(4000), slope * actions[:, 0], log_policy, action_dim=1)
    exact = math.log(2.0 * math.sinh(slope) / slope)
    assert float(estimate) == pytest.approx(exact, abs=2e-3)


def test_log_sum_exp_of_a_plane_is_its_integral() -> None:
    slopes = torch.tensor([2.0, -1.0])
    policy = TanhGaussian(torch.tensor([0.3, -0.2]), torch.tensor([0.0, 0.2]))
    actions, log_policy = policy.sample(torch.cartesian_prod(stratified_normal(100), stratified_normal(100)))
    uniform = torch.cartesian_prod(stratified_uniform(100), stratified_uniform(100))
    estimate = log_sum_exp(uniform @ slopes, actions @ slopes, log_policy, action_dim=2)
    exact = sum(math.log(2.0 * math.sinh(slope) / slope) for slope in slopes.tolist())
    assert float(estimate) == pytest.approx(exact, abs=1e-2)


def test_log_sum_exp_weighs_all_2n_values_of_a_state() -> None:
    q = torch.zeros(3, 5, 10, requires_grad=True)  # (S, B, N)
    other = torch.zeros(3, 5, 10, requires_grad=True)
    log_policy = torch.zeros(3, 5, 10, requires_grad=True)
    estimate = log_sum_exp(q, other, log_policy, action_dim=0)
    assert estimate.shape == (3, 5)
    estimate.sum().backward()
    assert q.grad is not None and other.grad is not None
    torch.testing.assert_close(q.grad, torch.full_like(q, 1 / 20))
    torch.testing.assert_close(other.grad, torch.full_like(q, 1 / 20))
    assert log_policy.grad is None  # the policy is not trained by the critics' loss


def test_the_gap_pushes_up_on_dataset_rows_only_and_down_where_rho_says() -> None:
    soft = torch.zeros(4, requires_grad=True)
    data = torch.zeros(4, requires_grad=True)
    real = torch.tensor([1.0, 1.0, 0.0, 0.0])
    conservative_gap(soft, 1.0 - real, data, real).backward()
    torch.testing.assert_close(soft.grad, torch.tensor([0.0, 0.0, 0.5, 0.5]))
    torch.testing.assert_close(data.grad, torch.tensor([-0.5, -0.5, 0.0, 0.0]))


class Table(nn.Module):
    """Twin critics over 3 one-hot states and the actions a < 0 and a >= 0."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Parameter(torch.zeros(3, 2, dtype=torch.float64))

    def forward(self, feature: Tensor, action: Tensor, low: bool = False) -> Tensor:
        state = feature.argmax(-1)[..., None].expand(action.shape[:-1])
        return self.q[state, (action[..., 0] >= 0).long()].expand(2, *action.shape[:-1])


REWARD = torch.tensor([[0.0, 1.0], [0.5, -0.2], [1.0, 0.3]], dtype=torch.float64)
FOLLOWING = torch.tensor([[1, 2], [2, 0], [0, 1]])
DATA = torch.tensor([[3, 1], [2, 2], [1, 3]])
"""How often the dataset has each state and action."""
MODEL = torch.tensor([[1, 5], [4, 1], [3, 4]])


def tabular_batch() -> tuple[Batch, int, int]:
    rows = [(s, a, 1.0) for s in range(3) for a in range(2) for _ in range(int(DATA[s, a]))]
    rows += [(s, a, 0.0) for s in range(3) for a in range(2) for _ in range(int(MODEL[s, a]))]
    state = torch.tensor([s for s, _, _ in rows])
    action = torch.tensor([a for _, a, _ in rows])
    one_hot = torch.eye(3)
    batch = Batch(
        feature=one_hot[state][None],
        action=(action.float() - 0.5)[None, :, None],
        reward=REWARD[state, action].float()[None],
        next_feature=one_hot[FOLLOWING[state, action]][None],
        discount=torch.full((1, len(rows)), 0.8),
        real=torch.tensor([r for _, _, r in rows])[None],
    )
    return batch, int(DATA.sum()), int(MODEL.sum())


def minimise(loss: Callable[[], Tensor], parameter: nn.Parameter) -> None:
    optimiser = torch.optim.LBFGS([parameter], max_iter=50, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)


@pytest.mark.parametrize("rho", ["model", "mix", "dataset"])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_the_fixed_point_moves_by_minus_beta_times_rho_minus_d_over_d_f(rho: str, beta: float) -> None:
    batch, n_data, n_model = tabular_batch()
    samples = 400
    network, rows = NetworkConfig(hidden=8, layers=1), n_data + n_model
    config = AgentConfig(
        network=network, beta=beta, real_ratio=n_data / rows, penalty_states=rho, num_sampled_actions=samples,
        batch=rows,
    )  # fmt: skip
    torch.manual_seed(0)
    agent = ConservativeActorCritic([config], 3, 1, CPU)
    agent.critic, agent.target = Table(), Table()  # type: ignore[assignment]
    noise = Noise(
        uniform=stratified_uniform(samples)[None, None, :, None].expand(1, rows, samples, 1),
        policy=stratified_normal(samples)[None, None, :, None].expand(1, rows, samples, 1),
        next_action=torch.zeros(1, rows, 1),  # the policy's mode: a' is known exactly
        actor=torch.zeros(1, rows, 1),
        softmax=torch.zeros(1, rows, 0),
    )
    table, target = agent.critic.q, agent.target.q
    for _ in range(120):  # eq. 29, with its inner minimisation solved each time
        minimise(lambda: agent.critic_loss(batch, noise)[0], table)
        with torch.no_grad():
            target.copy_(table)

    q = table.detach()
    with torch.no_grad():
        mode = (agent.actor(torch.eye(3)[None]).mode[0, :, 0] >= 0).long()
        backup = REWARD + 0.8 * q[FOLLOWING, mode[FOLLOWING]]
        # psi is the softmax that the 2N weighted samples stand for: both halves of [-1, 1] count alike
        psi = q.softmax(-1)
    d, m = DATA / n_data, MODEL / n_model
    d_f = (DATA + MODEL) / (n_data + n_model)
    rho_state = {"model": m.sum(1), "mix": d_f.sum(1), "dataset": d.sum(1)}[rho]
    expected = backup - beta * (rho_state[:, None] * psi - d) / d_f
    torch.testing.assert_close(q, expected, atol=3e-2, rtol=0)
    if beta:
        assert float((q - backup).abs().max()) > 0.1  # the test could not pass without the term


def test_the_shares_of_the_soft_maximum_are_its_derivatives() -> None:
    draws = torch.Generator().manual_seed(0)
    values = [torch.randn(3, 5, 4, generator=draws, requires_grad=True) for _ in range(2)]
    log_policy = torch.randn(3, 5, 4, generator=draws)
    wanted = torch.autograd.grad(log_sum_exp(*values, log_policy, 2).sum(), values)
    torch.testing.assert_close(softmax_shares(*values, log_policy, 2), torch.cat(wanted, -1))


@pytest.mark.parametrize("rho", ["mix", "model"])
def test_drawn_samples_carry_the_gradient_of_the_soft_maximum(rho: str) -> None:
    exact = AgentConfig(
        network=NetworkConfig(hidden=16, layers=2),
        beta=3.0,
        real_ratio=0.5,
        penalty_states=rho,
        num_sampled_actions=3,
        batch=6,
        softmax_draws=0,
    )
    many = dataclasses.replace(exact, softmax_draws=4000)
    draws = torch.Generator().manual_seed(0)
    real = (torch.arange(6) < 3).float().expand(2, -1)
    batch = Batch(
        torch.randn(2, 6, 3, generator=draws), torch.rand(2, 6, 2, generator=draws) * 2 - 1,
        torch.rand(2, 6, generator=draws), torch.randn(2, 6, 3, generator=draws), torch.full((2, 6), 0.9), real,
    )  # fmt: skip
    noise = Noise.draw(2, exact, 2, draws)
    drawn = dataclasses.replace(noise, softmax=((torch.arange(4000) + 0.5) / 4000).repeat(2).expand(2, 6, -1))
    found = []
    for config, numbers in ((exact, noise), (many, drawn)):
        torch.manual_seed(0)
        agent = ConservativeActorCritic([config] * 2, 3, 2, CPU)
        with torch.no_grad():  # values that differ by more than the softmax's temperature, and from twin to twin
            agent.critic.rest.out.weight.mul_(torch.tensor([30.0, 30.0, 90.0, 90.0])[:, None, None])
        loss, metrics = agent.critic_loss(batch, numbers)
        found.append((loss.detach(), metrics["conservative_gap"], torch.autograd.grad(loss, agent.critic_parameters)))
    torch.testing.assert_close(found[0][:2], found[1][:2])  # the values are those of all samples
    for wanted, got in zip(found[0][2], found[1][2], strict=True):
        assert float((wanted - got).norm()) < 0.01 * float(wanted.norm())
    one = dataclasses.replace(many, softmax_draws=1)
    assert Noise.draw(2, one, 2, draws).softmax.shape == (2, 6, 2)


def test_each_critic_may_value_actions_of_its_own() -> None:
    torch.manual_seed(0)
    critic = TwinCritic(3, NetworkConfig(hidden=8, layers=2), 4, 2)
    feature, action = torch.randn(3, 5, 4), torch.randn(2, 3, 5, 6, 2)
    together = critic(feature, action)
    for twin in range(2):
        torch.testing.assert_close(together[twin], critic(feature, action[twin])[twin])
