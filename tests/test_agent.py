import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_agents import SMALL, A, F, draws, make_agent, random_batch
from torch import Tensor

from latent_combo.agent.actor_critic import MAX_ADVANTAGE_WEIGHT, advantage_weights
from latent_combo.agent.batch import Batch, Noise, Pool, draw_by_weight
from latent_combo.agent.networks import TanhGaussian
from latent_combo.agent.settings import pushed_rows
from latent_combo.run.adam import StackedAdam
from latent_combo.run.finite import NonFiniteError


def random_pool(stack: int, seed: int = 0) -> Pool:
    g = draws(100 + seed)
    feature, following = (torch.randn(stack, 20, F, generator=g) for _ in range(2))
    action, reward = torch.rand(stack, 20, A, generator=g) * 2 - 1, torch.rand(stack, 20, generator=g)
    ended = torch.rand(stack, 20, generator=g) < 0.3
    return Pool(feature, action, reward, following, torch.rand(stack, 20, generator=g).masked_fill(ended, 0.0))


def part(value: object, index: int) -> dict[str, Tensor]:
    return {f.name: getattr(value, f.name)[index : index + 1] for f in dataclasses.fields(value)}  # type: ignore[arg-type]


@pytest.mark.parametrize("extraction", ["value", "advantage"])
def test_an_agent_in_a_stack_equals_the_same_agent_alone(extraction: str) -> None:
    base = dataclasses.replace(SMALL, extraction=extraction)
    configs = [
        base,
        dataclasses.replace(base, beta=5.0, rho="model", critic_learning_rate=1e-3),
        dataclasses.replace(base, beta=0.0, f=0.8, actor_learning_rate=1e-4),
    ]
    together = make_agent(*configs)
    for index, config in enumerate(configs):
        alone = make_agent(config)
        rows = torch.tensor([index])
        twin = torch.tensor([index, index + 3])  # the twin critics are a stack of 2S
        state = {
            name: value[rows] if "actor" in name or name == "log_alpha" else value[twin]
            for name, value in make_agent(*configs).state_dict().items()
        }
        alone.load_state_dict(state)
        stacked = make_agent(*configs)
        for step in range(4):
            batch, noise = random_batch(3, step), Noise.draw(3, base, A, draws(step))
            pool = random_pool(3, step)
            stacked.update(batch, noise, pool=pool)
            alone.update(Batch(**part(batch, index)), Noise(**part(noise, index)), pool=Pool(**part(pool, index)))
        for name, value in stacked.state_dict().items():
            chosen = value[rows] if "actor" in name or name == "log_alpha" else value[twin]
            torch.testing.assert_close(chosen, alone.state_dict()[name], atol=2e-6, rtol=1e-4)
    assert together.stack == 3


def test_the_targets_start_as_the_critics_and_follow_slowly() -> None:
    agent = make_agent(SMALL)
    for own, target in zip(agent.critic_parameters, agent.target_parameters, strict=True):
        torch.testing.assert_close(own, target)
    before = [p.clone() for p in agent.target_parameters]
    agent.update(random_batch(1), Noise.draw(1, SMALL, A, draws()))
    for old, own, target in zip(before, agent.critic_parameters, agent.target_parameters, strict=True):
        torch.testing.assert_close(target, old + SMALL.target_rate * (own - old))


def test_a_terminal_stops_the_bootstrap_and_the_smaller_twin_is_taken() -> None:
    agent = make_agent(SMALL)
    batch, noise = random_batch(1), Noise.draw(1, SMALL, A, draws())
    action, _ = agent.actor(batch.next_feature).sample(noise.following)
    values = agent.target(batch.next_feature, action[:, :, None]).squeeze(-1)
    expected = batch.reward + 0.99 * torch.minimum(values[0], values[1])
    torch.testing.assert_close(agent.backup(batch, noise.following), expected)
    ended = dataclasses.replace(batch, discount=torch.zeros(1, 12))
    torch.testing.assert_close(agent.backup(ended, noise.following), batch.reward)


def test_the_backup_asks_the_targets_not_the_critics() -> None:
    agent = make_agent(SMALL)
    batch, noise = random_batch(1), Noise.draw(1, SMALL, A, draws())
    before = agent.backup(batch, noise.following)
    with torch.no_grad():
        for parameter in agent.critic_parameters:
            parameter += 1.0
    torch.testing.assert_close(agent.backup(batch, noise.following), before)


def test_the_entropy_in_the_target_is_alpha_times_log_pi() -> None:
    agent, soft = make_agent(SMALL), make_agent(dataclasses.replace(SMALL, entropy_in_target=True))
    batch, noise = random_batch(1), Noise.draw(1, SMALL, A, draws())
    log_policy = agent.actor(batch.next_feature).sample(noise.following)[1]
    difference = agent.backup(batch, noise.following) - soft.backup(batch, noise.following)
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
        loss, _, _ = agent.actor_loss(batch, Noise.draw(1, config, A, g))
        agent.actor_optimiser.step(torch.autograd.grad(loss, agent.actor_parameters))
    torch.testing.assert_close(agent.actor(batch.feature).mode[0, :, 0], torch.full((12,), expected), atol=0.15, rtol=0)


@pytest.mark.parametrize(("target", "rises"), [(5.0, True), (-20.0, False)])
def test_the_temperature_rises_while_the_entropy_is_below_its_target(target: float, rises: bool) -> None:
    agent = make_agent(dataclasses.replace(SMALL, target_entropy_per_action=target))
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
    with pytest.raises(ValueError, match="differ in beta, f"):
        make_agent(SMALL, dataclasses.replace(SMALL, discount=0.9))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"initial_alpha": 0.0}, "initial_alpha is 0"),
        ({"actions": 0}, "actions is 0"),
        ({"target_steps": 0}, "target_steps is 0"),
        ({"extraction": "advantage", "entropy_in_target": True}, "entropy_in_target needs"),
        ({"extraction": "advantage", "advantage_pool": 1}, "advantage_pool is 1"),
        ({"trajectory_temperature": 0.0}, "trajectory_temperature is 0"),
        ({"advantage_steps": 0}, "advantage_steps is 0"),
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

    def watched(feature: Tensor, action: Tensor) -> Tensor:
        values = whole(feature, action)
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
        bellman = (both[..., 0] - agent.backup(batch, noise.following)) / 12
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
    config = dataclasses.replace(SMALL, beta=1.0, f=0.25, rho=rho)
    agent = make_agent(config)
    assert agent.pushed == rows
    batch, noise = random_batch(1), Noise.draw(1, config, A, draws())
    batch = dataclasses.replace(batch, real=(torch.arange(12) < 3).float()[None])
    agent.pushed = slice(0, 12)  # all of them, most with no weight
    whole, metrics = agent.critic_loss(batch, noise)
    expected = torch.autograd.grad(whole, agent.critic_parameters)
    agent.pushed = rows
    part, found = agent.critic_loss(batch, noise)
    torch.testing.assert_close(part, whole)
    torch.testing.assert_close(found["conservative_gap"], metrics["conservative_gap"])
    for ours, theirs in zip(torch.autograd.grad(part, agent.critic_parameters), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)


def test_agents_of_a_stack_share_the_rows_that_any_of_them_needs() -> None:
    model, dataset_only = (dataclasses.replace(SMALL, f=f, rho=rho) for f, rho in ((0.25, "model"), (0.75, "dataset")))
    assert pushed_rows([model, dataset_only]) == slice(0, 12)
    assert pushed_rows([model, dataclasses.replace(model, f=0.5)]) == slice(3, 12)
    assert pushed_rows([dataset_only, dataclasses.replace(dataset_only, beta=0.0)]) == slice(0, 9)
    assert pushed_rows([dataclasses.replace(model, beta=0.0)]) == slice(0, 0)


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


def test_the_advantage_is_the_return_of_the_dataset_less_the_value_of_the_policy() -> None:
    config = dataclasses.replace(SMALL, extraction="advantage")
    agent, pool = make_agent(config), random_pool(1)
    _, metrics = agent.advantage_loss(pool, Noise.draw(1, config, A, draws()))

    def value(state: Tensor) -> Tensor:
        return agent.critic(state, agent.actor(state).mode[:, :, None]).squeeze(-1).amin(0)

    with torch.no_grad():
        advantage = pool.reward + pool.discount * value(pool.next_feature) - value(pool.feature)
        weight = advantage_weights(advantage, config.advantage_temperature)
    torch.testing.assert_close(metrics["advantage"], advantage.mean(-1))
    torch.testing.assert_close(metrics["effective_share"], weight.mean(-1).square() / weight.square().mean(-1))


def test_the_advantage_extraction_prefers_the_better_action() -> None:
    config = dataclasses.replace(SMALL, extraction="advantage", actor_learning_rate=1e-2, beta=0.0)
    agent, pool = make_agent(config), random_pool(1)
    pool = dataclasses.replace(pool, reward=10.0 * pool.action[..., 0])  # the first dimension is what pays
    g = draws()
    for _ in range(200):
        loss, metrics = agent.advantage_loss(pool, Noise.draw(1, config, A, g))
        agent.actor_optimiser.step(torch.autograd.grad(loss, agent.actor_parameters))
    chosen = agent.actor(pool.feature).mode[..., 0].mean().detach()
    assert float(chosen) > float(pool.action[0, :, 0].mean()) + 0.2
    assert 0.0 < float(metrics["effective_share"]) < 1.0


def test_the_weights_of_advantages_by_hand() -> None:
    advantage = torch.tensor([[0.0, 1.0, 2.0], [-300.0, -300.0, -297.0]])
    weight = advantage_weights(advantage, 0.5)
    expected = (advantage[0] / 0.5).exp()  # the standard deviation is 1
    torch.testing.assert_close(weight[0], expected / expected.mean(), atol=1e-4, rtol=1e-4)
    assert weight[1, 0] == weight[1, 1] > 0.0  # far below zero there is still a choice
    many = torch.cat([torch.zeros(999), torch.full((1,), 100.0)])[None]
    assert float(advantage_weights(many, 0.5).max()) == MAX_ADVANTAGE_WEIGHT


def test_pairs_are_drawn_in_proportion_to_their_weights() -> None:
    weight = torch.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 0.0]])
    uniform = ((torch.arange(4000) + 0.5) / 4000).expand(2, -1).contiguous()
    drawn = draw_by_weight(weight.cumsum(-1), uniform)
    assert torch.bincount(drawn[0], minlength=3).tolist() == [1000, 0, 3000]
    assert drawn[1].unique().tolist() == [1]
    assert draw_by_weight(weight.cumsum(-1), torch.tensor([[0.0], [0.0]])).tolist() == [[0], [1]]


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
