import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_agents import SMALL, A, F, draws, make_agent, random_batch
from torch import Tensor

from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.extraction import IMITATION, VALUE
from latent_combo.agent.replay import real_share
from latent_combo.agent.settings import AgentConfig, NetworkConfig, one, real_rows
from latent_combo.agent.stack import penalised_rows
from latent_combo.agent.tanh_gaussian import TanhGaussian
from latent_combo.numerics.adam import StackedAdam
from latent_combo.numerics.finite import NonFiniteError


def part(value: object, index: int) -> dict[str, Tensor]:
    """One agent's part of a batch or of noise."""
    return {name: whole[index : index + 1] for name, whole in vars(value).items() if whole is not None}


EXTRACTIONS_AND_ANCHORS = [
    ("value", 0.0), ("value", 2.5), ("imitation", 0.0), ("brac-p", 0.0), ("brac-v", 0.0), ("bear", 0.0),
    ("deterministic", 2.5), ("rebrac", 2.5),
]  # fmt: skip


@pytest.mark.parametrize(("extraction", "anchor"), EXTRACTIONS_AND_ANCHORS)
def test_an_agent_in_a_stack_equals_the_same_agent_alone(extraction: str, anchor: float) -> None:
    base = dataclasses.replace(SMALL, extraction=extraction, num_sampled_actions=10 if extraction == "bear" else 3)
    configs = [
        dataclasses.replace(base, anchor=anchor),
        dataclasses.replace(base, beta=5.0, penalty_states="model", critic_learning_rate=1e-3),
        dataclasses.replace(base, beta=0.0, real_ratio=0.8, actor_learning_rate=1e-4, behaviour_weight=3.0),
    ]
    real = real_share([real_rows(one(config.real_ratio), config.batch) for config in configs], 12, torch.device("cpu"))
    together = make_agent(*configs)
    for index, config in enumerate(configs):
        alone = make_agent(config)
        rows = torch.tensor([index])
        twin = torch.tensor([index, index + 3])  # the twin critics are a stack of 2S
        state = {
            name: value[rows] if len(value) == len(configs) else value[twin]
            for name, value in make_agent(*configs).state_dict().items()
        }
        alone.load_state_dict(state)
        stacked = make_agent(*configs)
        for step in range(4):
            batch, noise = dataclasses.replace(random_batch(3, step), real=real), Noise.draw(3, base, A, draws(step))
            if extraction == "rebrac":
                batch = dataclasses.replace(batch, next_action=batch.action.roll(1, 1), has_next_action=real)
            of_stack = stacked.update(batch, noise)
            metrics = alone.update(Batch(**part(batch, index)), Noise(**part(noise, index)))
            for name, value in metrics.items():
                torch.testing.assert_close(of_stack[name][rows], value, atol=2e-5, rtol=1e-3, msg=name)
        for name, value in stacked.state_dict().items():
            chosen = value[rows] if len(value) == len(configs) else value[twin]
            torch.testing.assert_close(chosen, alone.state_dict()[name], atol=2e-6, rtol=1e-4)
    assert together.num_agents == 3


def test_the_targets_start_as_the_critics_and_follow_slowly() -> None:
    agent = make_agent(SMALL)
    for own, target in zip(agent.critic_parameters, agent.target_parameters, strict=True):
        torch.testing.assert_close(own, target)
    before = [p.clone() for p in agent.target_parameters]
    agent.update(random_batch(1), Noise.draw(1, SMALL, A, draws()))
    for old, own, target in zip(before, agent.critic_parameters, agent.target_parameters, strict=True):
        torch.testing.assert_close(target, old + SMALL.tau * (own - old))


def test_a_terminal_stops_the_bootstrap_and_the_smaller_twin_is_taken() -> None:
    agent = make_agent(SMALL)
    batch, noise = random_batch(1), Noise.draw(1, SMALL, A, draws())
    action, _ = agent.actor(batch.next_feature).sample(noise.next_action)
    values = agent.target(batch.next_feature, action[:, :, None]).squeeze(-1)
    expected = batch.reward + 0.99 * torch.minimum(values[0], values[1])
    torch.testing.assert_close(agent.backup(batch, noise.next_action), expected)
    ended = dataclasses.replace(batch, discount=torch.zeros(1, 12))
    torch.testing.assert_close(agent.backup(ended, noise.next_action), batch.reward)


def test_the_backup_asks_the_targets_not_the_critics() -> None:
    agent = make_agent(SMALL)
    batch, noise = random_batch(1), Noise.draw(1, SMALL, A, draws())
    before = agent.backup(batch, noise.next_action)
    with torch.no_grad():
        for parameter in agent.critic_parameters:
            parameter += 1.0
    torch.testing.assert_close(agent.backup(batch, noise.next_action), before)


def test_the_entropy_in_the_target_is_alpha_times_log_pi() -> None:
    agent, soft = make_agent(SMALL), make_agent(dataclasses.replace(SMALL, entropy_in_target=True))
    batch, noise = random_batch(1), Noise.draw(1, SMALL, A, draws())
    log_policy = agent.actor(batch.next_feature).sample(noise.next_action)[1]
    difference = agent.backup(batch, noise.next_action) - soft.backup(batch, noise.next_action)
    torch.testing.assert_close(difference, 0.99 * SMALL.initial_alpha * log_policy)


def first_action(slopes: tuple[float, float]) -> Callable[[Tensor, Tensor], Tensor]:
    """Twin critics that are linear in the first action."""

    def values(feature: Tensor, action: Tensor) -> Tensor:
        return torch.stack([slope * action[..., 0] for slope in slopes])

    return values


@pytest.mark.parametrize(
    ("slopes", "expected"),
    [((10.0, 10.0), 1.0), ((-10.0, -10.0), -1.0), ((10.0, -10.0), 0.0)],  # the smaller twin is highest at 0
)
def test_eq_3_climbs_the_smaller_twin(slopes: tuple[float, float], expected: float) -> None:
    config = dataclasses.replace(SMALL, actor_learning_rate=1e-2, initial_alpha=1e-6)
    agent = make_agent(config)
    agent.critic.forward = first_action(slopes)  # type: ignore[method-assign]
    batch, g = random_batch(1), draws()
    for _ in range(200):
        loss, _ = VALUE.loss(agent, batch, Noise.draw(1, config, A, g))
        agent.actor_optimiser.step(torch.autograd.grad(loss, agent.actor_parameters))
    torch.testing.assert_close(agent.actor(batch.feature).mode[0, :, 0], torch.full((12,), expected), atol=0.15, rtol=0)


@pytest.mark.parametrize(("target", "rises"), [(5.0, True), (-20.0, False)])
def test_the_temperature_rises_while_the_entropy_is_below_its_target(target: float, rises: bool) -> None:
    agent = make_agent(dataclasses.replace(SMALL, target_entropy=2.0 * target))
    before = float(agent.log_alpha.detach())
    agent.update(random_batch(1), Noise.draw(1, SMALL, A, draws()))
    assert (float(agent.log_alpha.detach()) > before) == rises


def test_the_share_scales_the_learning_rates() -> None:
    moved = {}
    for share in (1.0, 0.25):
        agent = make_agent(SMALL)
        before = [p.detach().clone() for p in (*agent.critic_parameters, *agent.actor_parameters)]
        agent.update(random_batch(1), Noise.draw(1, SMALL, A, draws()), torch.tensor(share))
        after = (*agent.critic_parameters, *agent.actor_parameters)
        moved[share] = [float((b - a).detach().norm()) for a, b in zip(before, after, strict=True)]
    assert moved[0.25] == pytest.approx([0.25 * distance for distance in moved[1.0]], rel=0.02)


def test_agents_of_a_stack_may_not_differ_in_what_they_share() -> None:
    with pytest.raises(ValueError, match="differ in beta, real_ratio"):
        make_agent(SMALL, dataclasses.replace(SMALL, gamma=0.9))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"initial_alpha": 0.0}, "initial_alpha is 0"),
        ({"num_sampled_actions": 0}, "num_sampled_actions is 0"),
        ({"target_steps": 0}, "target_steps is 0"),
        ({"extraction": "advantage"}, "extraction is 'advantage'; it is one of value, imitation"),
        ({"extraction": "imitation", "entropy_in_target": True}, "entropy_in_target needs"),
        ({"extraction": "imitation", "anchor": 1.0}, "anchor is a part of eq. 3"),
        ({"anchor": -1.0}, "anchor is -1"),
        ({"policy_average": 1.0}, "policy_average is 1"),
        ({"beta": [0.5, 1.0], "rollout_actions": ["policy"]}, "beta lists 2 agents, but rollout_actions lists 1"),
        ({"beta": [0.5, 1.0, 2.0], "num_agents": 2}, "num_agents is 2, but beta lists 3"),
        ({"beta": [0.5, -1.0]}, "beta is -1"),
        ({"real_ratio": [0.5, 1.0], "penalty_states": "model"}, 'penalty_states is "model", but real_ratio = 1.0'),
        ({"trajectory_temperature": 0.0}, "trajectory_temperature is 0"),
        ({"episode_start_fraction": 1.1}, "episode_start_fraction is 1.1"),
        ({"backup": "mean"}, "backup is 'mean'"),
        ({"backup": "mode", "entropy_in_target": True}, "entropy_in_target is of samples"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(SMALL, **settings)


def test_the_conservative_term_has_a_gradient_at_both_ends() -> None:
    batch, noise = random_batch(1), Noise.draw(1, SMALL, A, draws())
    agent = make_agent(dataclasses.replace(SMALL, beta=1.0))
    seen: list[Tensor] = []
    whole = agent.critic.forward

    def watched(feature: Tensor, action: Tensor, low: bool = False) -> Tensor:
        values = whole(feature, action, low)
        values.retain_grad()
        seen.append(values)
        return values

    agent.critic.forward = watched  # type: ignore[method-assign]
    loss, _ = agent.critic_loss(batch, noise)
    loss.backward()
    (both,) = seen  # a state's own action, and the sampled ones
    assert both.grad is not None and both.shape == (2, 1, 12, 1 + 6)
    pushed_down, data = both.grad[..., 1:], both.grad[..., 0]
    torch.testing.assert_close(pushed_down.sum((2, 3)), torch.ones(2, 1))  # beta, spread over the sampled actions
    with torch.no_grad():
        bellman = (both[..., 0] - agent.backup(batch, noise.next_action)) / 12
    torch.testing.assert_close((data - bellman)[..., :6], torch.full((2, 1, 6), -1 / 6))  # dataset rows are pushed up
    torch.testing.assert_close((data - bellman)[..., 6:], torch.zeros(2, 1, 6))  # model rows are not


def test_the_conservative_weight_counts() -> None:
    batch, noise = random_batch(1), Noise.draw(1, SMALL, A, draws())
    losses = {}
    for beta in (0.0, 1.0, 2.0):
        agent = make_agent(dataclasses.replace(SMALL, beta=beta))
        loss, metrics = agent.critic_loss(batch, noise)
        assert ("conservative_gap" in metrics) == (beta > 0.0)  # without a weight it is not even computed
        losses[beta] = loss.item(), float(metrics.get("conservative_gap", 0.0)), float(metrics["bellman"])
    for beta, (loss, gap, bellman) in losses.items():  # metrics are means over the twins, the loss their sum
        assert loss == pytest.approx(2.0 * (beta * gap + bellman), rel=1e-4)


@pytest.mark.parametrize(("rho", "rows"), [("model", slice(3, 12)), ("dataset", slice(0, 3)), ("mix", slice(0, 12))])
def test_actions_are_sampled_for_the_states_of_rho_only(rho: str, rows: slice) -> None:
    config = dataclasses.replace(SMALL, beta=1.0, real_ratio=0.25, penalty_states=rho)
    agent = make_agent(config)
    assert agent.penalised == rows
    batch, noise = random_batch(1), Noise.draw(1, config, A, draws())
    batch = dataclasses.replace(batch, real=(torch.arange(12) < 3).float()[None])
    agent.penalised = slice(0, 12)  # all of them, most with no weight
    whole, metrics = agent.critic_loss(batch, noise)
    expected = torch.autograd.grad(whole, agent.critic_parameters)
    agent.penalised = rows
    part, found = agent.critic_loss(batch, noise)
    torch.testing.assert_close(part, whole)
    torch.testing.assert_close(found["conservative_gap"], metrics["conservative_gap"])
    for ours, theirs in zip(torch.autograd.grad(part, agent.critic_parameters), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_agents_of_a_stack_share_the_rows_that_any_of_them_needs() -> None:
    model, dataset_only = (
        dataclasses.replace(SMALL, real_ratio=f, penalty_states=rho) for f, rho in ((0.25, "model"), (0.75, "dataset"))
    )
    assert penalised_rows([model, dataset_only]) == slice(0, 12)
    assert penalised_rows([model, dataclasses.replace(model, real_ratio=0.5)]) == slice(3, 12)
    assert penalised_rows([dataset_only, dataclasses.replace(dataset_only, beta=0.0)]) == slice(0, 9)
    assert penalised_rows([dataclasses.replace(model, beta=0.0)]) == slice(0, 0)


@pytest.mark.parametrize("name", ["reward", "discount", "real"])
def test_a_column_of_another_shape_is_not_broadcast(name: str) -> None:
    batch, noise = random_batch(1), Noise.draw(1, SMALL, A, draws())
    wrong = dataclasses.replace(batch, **{name: getattr(batch, name)[..., None]})
    with pytest.raises(AssertionError):
        make_agent(SMALL).critic_loss(wrong, noise)


def test_stacked_adam_is_adam() -> None:
    g = draws()
    mine, theirs = (torch.randn(2, 3, 4, generator=draws(1)) for _ in range(2))
    theirs = theirs.requires_grad_()
    adam = StackedAdam([mine], torch.tensor([1e-2, 1e-2]))
    reference = torch.optim.Adam([theirs], lr=1e-2)
    for _ in range(5):
        gradient = torch.randn(2, 3, 4, generator=g)
        adam.step((gradient,))
        theirs.grad = gradient
        reference.step()
    torch.testing.assert_close(mine, theirs.detach())


def test_eq_3_counts_model_rows_like_real_ones() -> None:
    agent, batch = make_agent(SMALL), random_batch(1)
    feature = batch.feature.clone().requires_grad_()
    noise = Noise.draw(1, SMALL, A, draws())
    loss, metrics = VALUE.loss(agent, dataclasses.replace(batch, feature=feature), noise)
    rows = torch.autograd.grad(loss, feature)[0][0].norm(dim=-1)
    assert bool((rows[:6] > 1e-6).all()) and bool((rows[6:] > 1e-6).all())
    flipped = dataclasses.replace(batch, real=1.0 - batch.real)
    torch.testing.assert_close(VALUE.loss(agent, flipped, noise)[0], loss)
    action, expected = agent.actor(batch.feature).sample(noise.actor)
    value = agent.critic(batch.feature, action[:, :, None]).squeeze(-1).amin(0)
    torch.testing.assert_close(metrics["entropy"], -expected.detach().mean(-1))
    torch.testing.assert_close(loss, (SMALL.initial_alpha * expected - value).mean())


def test_without_values_eq_3_widens_the_policy() -> None:
    config = dataclasses.replace(SMALL, initial_alpha=1.0, actor_learning_rate=1e-2)
    agent, g = make_agent(config), draws()
    with torch.no_grad():
        agent.critic_weights.zero_()
    batch, entropies = random_batch(1), []
    for _ in range(60):
        loss, metrics = VALUE.loss(agent, batch, Noise.draw(1, config, A, g))
        entropies.append(float(metrics["entropy"]))
        agent.actor_optimiser.step(torch.autograd.grad(loss, agent.actor_parameters))
    assert sum(entropies[-20:]) / 20 > sum(entropies[:20]) / 20 + 0.1
    assert max(entropies) < 2 * math.log(2.0) + 0.5  # the uniform policy has the most


@pytest.mark.parametrize("extraction", ["value", "imitation"])
def test_the_backup_is_by_the_policy_that_acts(extraction: str) -> None:
    config = dataclasses.replace(SMALL, extraction=extraction, beta=0.0)
    agent, batch, noise = make_agent(config), random_batch(1), Noise.draw(1, config, A, draws())
    policy = agent.actor(batch.next_feature)
    action = policy.mode if extraction == "imitation" else policy.act(noise.next_action)
    value = agent.target(batch.next_feature, action[:, :, None]).squeeze(-1).amin(0)
    expected = (batch.reward + batch.discount * value).mean().detach()
    metrics = agent.update(batch, noise)
    torch.testing.assert_close(metrics["target"][0], expected)
    assert ("alpha" in metrics) == (extraction == "value")  # not tuned where it has no part


def test_values_of_an_imitating_policy_do_not_pay_for_conservatism_at_every_backup() -> None:
    """Reward 1 and gamma 0.9: any policy is worth 10. Samples in the backup end at 0.9, modes at 6.5 and rising."""
    config = dataclasses.replace(
        SMALL, beta=1.0, real_ratio=1.0, penalty_states="mix", gamma=0.9, tau=0.05, num_sampled_actions=2, batch=64,
        critic_learning_rate=1e-3, actor_learning_rate=1e-3,
        network=NetworkConfig(hidden=32, layers=3, layer_norm=True),
    )  # fmt: skip
    agent, g = make_agent(config), draws()
    agent.scale_values(10.0, 1.0)
    for _ in range(600):
        feature, following = (torch.randn(1, 64, F, generator=g) for _ in range(2))
        action = (feature[..., :A].tanh() * 0.6 + 0.2 * torch.randn(1, 64, A, generator=g)).clamp(-1, 1)
        ones = torch.ones(1, 64)
        batch = Batch(feature, action, ones, following, 0.9 * ones, ones)
        metrics = agent.update(batch, Noise.draw(1, config, A, g), extraction=IMITATION)
    assert 5.0 < float(metrics["q_data"]) < 13.0


def test_metrics_of_conservatism_by_hand() -> None:
    config = dataclasses.replace(SMALL, penalty_states="model")
    agent, batch, noise = make_agent(config), random_batch(1), Noise.draw(1, config, A, draws())
    _, metrics = agent.critic_loss(batch, noise)
    action, log_policy = agent.actor(batch.feature).many(slice(None)).sample(noise.policy)
    with torch.no_grad():
        of_policy, uniform = (agent.critic(batch.feature, some)[:, 0, 6:] for some in (action, noise.uniform))
        of_data = agent.critic(batch.feature, batch.action[:, :, None])[:, 0, :6]
    torch.testing.assert_close(metrics["regulariser"][0], of_policy.mean() - of_data.mean())
    policy_mass = (of_policy - log_policy[0, 6:]).exp().sum(-1)
    share = policy_mass / (policy_mass + (uniform + A * math.log(2.0)).exp().sum(-1))
    torch.testing.assert_close(metrics["logsumexp_policy_share"][0], share.mean())


def test_the_policy_that_acts_is_an_average_of_those_that_were_trained() -> None:
    config = dataclasses.replace(SMALL, policy_average=0.9, actor_learning_rate=1e-2)
    agent, expected = make_agent(config), make_agent(config).actor_weights.clone()
    plain = make_agent(dataclasses.replace(config, policy_average=0.0))
    assert plain.acting is plain.actor
    for step in range(3):
        batch, noise = random_batch(1, step), Noise.draw(1, config, A, draws(step))
        agent.update(batch, noise)
        plain.update(batch, noise)
        share = max(0.1, 1.0 / (step + 1))  # the mean of all, until those are ten
        expected = (1.0 - share) * expected + share * agent.actor_weights
    torch.testing.assert_close(agent.averaged_weights, expected)
    torch.testing.assert_close(agent.actor_weights, plain.actor_weights)  # it changes nothing of the training
    assert agent.acting is agent.averaged
    batch.reward[:] = float("nan")
    agent.update(batch, Noise.draw(1, config, A, draws()))
    torch.testing.assert_close(agent.averaged_weights, expected)


def test_targets_are_backed_up_by_a_sample_of_the_policy_or_by_its_mode() -> None:
    batch, noise = random_batch(1), Noise.draw(1, SMALL, A, draws())
    for backup in ("sample", "mode"):
        agent = make_agent(dataclasses.replace(SMALL, backup=backup))
        policy = agent.actor(batch.next_feature)
        action = policy.mode if backup == "mode" else policy.act(noise.next_action)
        value = agent.target(batch.next_feature, action[:, :, None]).squeeze(-1).amin(0)
        expected = (batch.reward + batch.discount * value).mean(-1)
        _, metrics = agent.critic_loss(batch, noise)
        torch.testing.assert_close(metrics["target"], expected)


@pytest.mark.parametrize(
    ("changes", "of_data"), [({}, True), ({"penalty_states": "dataset"}, False), ({"softmax_draws": 2}, False)]
)
def test_in_bfloat16_are_the_log_sum_exp_and_what_is_valued_with_it(changes: dict[str, Any], of_data: bool) -> None:
    config = dataclasses.replace(SMALL, **changes)
    batch, noise = random_batch(1), Noise.draw(1, config, A, draws())
    found = []
    for low in (False, True):
        agent = make_agent(dataclasses.replace(config, bfloat16=low))
        q_data, logsumexp_q, _ = agent.values_and_logsumexp(batch, noise)
        found.append((agent.backup(batch, noise.next_action), q_data, logsumexp_q, VALUE.loss(agent, batch, noise)[0]))
        agent.update(batch, noise)
        assert all(p.dtype == torch.float32 and bool(p.isfinite().all()) for p in agent.parameters())
    exact, rounded = found
    assert torch.equal(exact[0], rounded[0]) and torch.equal(exact[3], rounded[3])
    assert torch.equal(exact[1], rounded[1]) is not of_data
    assert not torch.equal(exact[2], rounded[2])
    torch.testing.assert_close(exact, rounded, atol=5e-3, rtol=5e-3)


def test_the_papers_defaults() -> None:
    """B.1 and B.2 for images; the entropy is soft actor-critic's rule."""
    config = AgentConfig()
    assert (config.network.hidden, config.network.layers, config.network.layer_norm) == (256, 3, False)
    assert (
        config.batch,
        config.real_ratio,
        config.num_sampled_actions,
        config.rollout_actions,
        config.penalty_states,
    ) == (256, 0.5, 10, "uniform", "mix")
    assert (config.critic_learning_rate, config.actor_learning_rate) == (3e-4, 3e-4)
    assert (config.gamma, config.tau, config.target_steps) == (0.99, 5e-3, 1)
    assert (config.extraction, config.anchor, config.trajectory_temperature) == ("value", 0.0, None)
    assert make_agent(config).target_entropy == -A
    assert make_agent(dataclasses.replace(config, target_entropy=-3.0)).target_entropy == -3.0


def test_lists_are_settings_of_an_agent_each() -> None:
    config = dataclasses.replace(SMALL, beta=[0.5, 1.0, 5.0], rollout_actions=["policy", "uniform", "policy"])
    assert config.num_agents == 3
    members = config.members()
    assert [(m.num_agents, m.beta, m.rollout_actions, m.real_ratio) for m in members] == [
        (1, 0.5, "policy", 0.5), (1, 1.0, "uniform", 0.5), (1, 5.0, "policy", 0.5)
    ]  # fmt: skip
    assert config.differences()[1] == {"beta": 1.0, "rollout_actions": "uniform"}
    assert make_agent(*members).settings.beta.tolist() == [0.5, 1.0, 5.0]
    assert dataclasses.replace(SMALL, num_agents=2).differences() == [{}, {}]


def test_log_densities_integrate_to_one_and_agree() -> None:
    policy = TanhGaussian(torch.tensor([0.4]), torch.tensor([-0.7]))
    grid = (torch.arange(20_000) + 0.5) / 10_000 - 1.0
    density = policy.log_prob(grid[:, None]).exp()
    assert float(density.mean() * 2.0) == pytest.approx(1.0, abs=1e-3)
    action, log_density = policy.sample(torch.linspace(-2, 2, 9)[:, None])
    torch.testing.assert_close(policy.log_prob(action), log_density, atol=1e-4, rtol=1e-4)
    plane = TanhGaussian(torch.tensor([0.4, -0.2]), torch.tensor([-0.7, -0.3]))
    axis = (torch.arange(500) + 0.5) / 250 - 1.0
    density = plane.log_prob(torch.cartesian_prod(axis, axis)).exp()
    assert float(density.mean() * 4.0) == pytest.approx(1.0, abs=1e-2)
    action, log_density = plane.sample(torch.randn(9, 2, generator=draws()))
    torch.testing.assert_close(plane.log_prob(action), log_density, atol=1e-4, rtol=1e-4)


def test_a_bad_reward_stops_before_any_weight_changes() -> None:
    agent = make_agent(SMALL)
    before = {name: value.clone() for name, value in agent.state_dict().items()}
    batch = random_batch(1)
    batch.reward[0, 3] = float("nan")
    for step, given in enumerate((batch, random_batch(1))):  # a good batch afterwards changes nothing either
        agent.update(given, Noise.draw(1, SMALL, A, draws(step)))
    with pytest.raises(NonFiniteError, match="agent, critic update, step 0: the loss is nan"):
        agent.finite.raise_if_bad()
    for name, value in agent.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize(("sizes", "drawn"), [((4, 3), (4, 3)), ((2, 5, 1, 3), (2, 5, 4, 3))])
def test_a_samples_gradients_are_those_of_its_formulas(sizes: tuple[int, ...], drawn: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(0)
    loc, log_std = (torch.randn(sizes, generator=g, dtype=torch.float64, requires_grad=True) for _ in range(2))
    noise = torch.randn(drawn, generator=g, dtype=torch.float64)
    action, log_density = TanhGaussian(loc, log_std).sample(noise)
    raw = loc + log_std.exp() * noise
    normal = torch.distributions.Normal(loc, log_std.exp()).log_prob(raw)
    density = (normal + 2.0 * raw.cosh().log()).sum(-1)  # 1 - tanh^2 is 1 / cosh^2
    torch.testing.assert_close((action, log_density), (raw.tanh(), density))
    gradients = [torch.randn(part.shape, generator=g, dtype=torch.float64) for part in (action, density)]
    ours = torch.autograd.grad((action, log_density), (loc, log_std), gradients)
    torch.testing.assert_close(ours, torch.autograd.grad((raw.tanh(), density), (loc, log_std), gradients))
