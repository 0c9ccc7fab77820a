"""Policies near the behaviour: divergences and discrepancies in closed form, and what they do to policy and targets."""

import dataclasses
import math

import pytest
import torch
from small_agents import SMALL, A, dataset, draws, make_agent, random_batch
from torch import Tensor
from toy_models import Drift

from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.extraction import IMITATION
from latent_combo.agent.extractions.bear import mean_discrepancy
from latent_combo.agent.extractions.brac import divergence
from latent_combo.agent.fit import AgentFit
from latent_combo.agent.measures import update_flops
from latent_combo.agent.replay import mixed_batch
from latent_combo.agent.settings import AgentConfig, AgentFitConfig
from latent_combo.agent.tanh_gaussian import TanhGaussian
from latent_combo.numerics.flops import count_flops

FREE = dataclasses.replace(SMALL, beta=0.0, real_ratio=1.0, penalty_states="dataset")


def of(extraction: str, **more: object) -> AgentConfig:
    samples = 10 if extraction == "bear" else SMALL.num_sampled_actions
    return dataclasses.replace(FREE, extraction=extraction, num_sampled_actions=samples, **more)  # type: ignore[arg-type]


def settings(extraction: str, **more: object) -> AgentConfig:
    return of(extraction, anchor=2.5 if extraction in ("deterministic", "rebrac") else 0.0, **more)


def real_batch(stack: int = 1, seed: int = 0) -> Batch:
    batch = random_batch(stack, seed)
    return dataclasses.replace(
        batch, real=torch.ones(stack, 12), next_action=batch.action.roll(1, 1), has_next_action=torch.ones(stack, 12)
    )


def noise_of(config: AgentConfig, seed: int = 0) -> Noise:
    return Noise.draw(1, config, A, draws(seed))


def test_the_divergence_is_that_of_the_actions() -> None:
    """Against the mean over many actions of log pi - log b, densities after the tanh."""
    policy = TanhGaussian(torch.tensor([0.2, -0.5]), torch.tensor([-0.7, 0.1]))
    behaviour = TanhGaussian(torch.tensor([-0.3, 0.1]), torch.tensor([-0.2, -0.1]))
    action, log_policy = policy.sample(torch.randn(400_000, 2, generator=draws()))
    estimate = float((log_policy - behaviour.log_prob(action)).mean())
    assert float(divergence(policy, behaviour)) == pytest.approx(estimate, rel=0.01)
    assert float(divergence(policy, policy)) == 0.0


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
def test_the_discrepancy_of_single_samples_is_known(kernel: str) -> None:
    x, y = torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[1.0, 2.0]]])
    far = 3.0 if kernel == "laplacian" else 5.0
    expected = math.sqrt(2.0 - 2.0 * math.exp(-far / 8.0) + 1e-6)
    assert float(mean_discrepancy(x, y, kernel, 4.0)) == pytest.approx(expected, rel=1e-5)  # type: ignore[arg-type]
    many = torch.randn(1, 5, 2, generator=draws())
    assert float(mean_discrepancy(many, many, kernel, 4.0)) == pytest.approx(1e-3, abs=1e-4)  # type: ignore[arg-type]


def test_brac_p_regularises_the_policy_and_not_the_target() -> None:
    light, heavy = make_agent(of("brac-p")), make_agent(of("brac-p", behaviour_weight=5.0))
    batch, noise = real_batch(), noise_of(FREE)
    losses = [agent.extraction.loss(agent, batch, noise)[0] for agent in (light, heavy)]
    assert light.behaviour is not None
    away = divergence(light.actor(batch.feature), light.behaviour(batch.feature)).mean()
    torch.testing.assert_close(losses[1] - losses[0], 4.0 * away)
    action = light.actor(batch.feature).sample(noise.actor)[0]
    value = light.critic(batch.feature, action[:, :, None]).squeeze(-1).amin(0).mean()
    torch.testing.assert_close(losses[0], away - value)
    torch.testing.assert_close(
        light.backup(batch, noise.next_action), make_agent(FREE).backup(batch, noise.next_action)
    )


def test_brac_v_penalises_the_target_as_well() -> None:
    agent = make_agent(of("brac-v", behaviour_weight=2.0))
    batch, noise = real_batch(), noise_of(FREE)
    assert agent.behaviour is not None
    away = divergence(agent.actor(batch.next_feature), agent.behaviour(batch.next_feature))
    expected = make_agent(FREE).backup(batch, noise.next_action) - batch.discount * 2.0 * away
    torch.testing.assert_close(agent.backup(batch, noise.next_action), expected)
    assert float(away.detach().min()) > 0.0


@pytest.mark.parametrize("extraction", ["brac-p", "brac-v", "bear"])
def test_the_behaviour_is_the_likelihoods_alone(extraction: str) -> None:
    """No gradient of the policy's loss reaches it, and it learns what the data do, in a warm-up as well."""
    config = of(extraction, critic_learning_rate=3e-3)
    agent = make_agent(config)
    assert agent.behaviour is not None
    batch = real_batch()
    loss, _ = agent.extraction.loss(agent, batch, noise_of(config))
    gradients = torch.autograd.grad(loss, list(agent.behaviour.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in gradients)
    fixed = dataclasses.replace(batch, action=torch.full_like(batch.action, 0.4))

    before = float(agent.behaviour(batch.feature).log_prob(fixed.action).mean())
    for step in range(150):
        agent.update(fixed, noise_of(config, step), extraction=IMITATION if step < 75 else None)
    assert float((agent.behaviour(batch.feature).mode - 0.4).abs().mean()) < 0.1
    assert float(agent.behaviour(batch.feature).log_prob(fixed.action).mean()) > before + 1.0


def test_the_behaviours_rate_falls_with_the_others() -> None:
    config = of("bear")
    agent = make_agent(config)
    assert agent.behaviour is not None
    before = [parameter.clone() for parameter in agent.behaviour.parameters()]
    agent.update(real_batch(), noise_of(config), torch.zeros(()))
    assert all(map(torch.equal, before, agent.behaviour.parameters()))
    agent.update(real_batch(), noise_of(config), torch.ones(()))
    assert not any(map(torch.equal, before, agent.behaviour.parameters()))


def test_the_work_of_cloning_counts_among_an_updates() -> None:
    agent, batch = make_agent(of("brac-p")), real_batch()
    assert agent.behaviour is not None
    clone = agent.behaviour
    work = count_flops(
        lambda: torch.autograd.grad(clone(batch.feature).log_prob(batch.action).sum(), list(clone.parameters()))
    )
    seen = count_flops(lambda: clone(batch.feature))  # in the policy's loss
    assert update_flops(agent, dataset()) == update_flops(make_agent(FREE), dataset()) + work + seen


def test_bears_multiplier_grows_while_the_policy_is_too_far_away_and_shrinks_otherwise() -> None:
    for threshold, grows in ((1e-4, True), (10.0, False)):
        config = of("bear", critic_learning_rate=1e-2)
        config = dataclasses.replace(config, bear=dataclasses.replace(config.bear, threshold=threshold))
        agent = make_agent(config)
        metrics = {}
        for step in range(5):
            metrics = agent.update(real_batch(seed=step), noise_of(config, step))
        assert agent.log_multiplier is not None
        assert (float(agent.log_multiplier) > 0.04) if grows else (float(agent.log_multiplier) < -0.04)
        assert (float(metrics["excess"]) > 0.0) == grows
        torch.testing.assert_close(metrics["multiplier"], agent.log_multiplier.detach().exp())
    with torch.no_grad():
        agent.log_multiplier.fill_(-5.0)
    agent.update(real_batch(), noise_of(config))
    assert float(agent.log_multiplier) == -5.0


def test_bears_loss_is_the_values_less_its_constraint() -> None:
    config = of("bear")
    agent, batch, noise = make_agent(config), real_batch(), noise_of(config)
    assert agent.behaviour is not None and agent.log_multiplier is not None
    with torch.no_grad():
        agent.log_multiplier.fill_(math.log(3.0))
    policy, behaviour = agent.actor(batch.feature), agent.behaviour(batch.feature)
    raw = policy.loc[:, :, None] + policy.log_std.exp()[:, :, None] * noise.policy[:, :, :5]
    other = behaviour.loc[:, :, None] + behaviour.log_std.exp()[:, :, None] * noise.policy[:, :, 5:]
    away = mean_discrepancy(raw, other, "laplacian", 10.0).mean()
    value = agent.critic(batch.feature, raw.tanh()).amin(0).mean()
    torch.testing.assert_close(agent.extraction.loss(agent, batch, noise)[0], 3.0 * (away - 0.05) - value)


@pytest.mark.parametrize(("extraction", "shares"), [("deterministic", A), ("rebrac", 1)])
def test_a_deterministic_policy_climbs_by_its_mode(extraction: str, shares: int) -> None:
    """TD3+BC's code takes the mean of an action's squares, ReBRAC's their sum: their weights mean what they have."""
    agent, batch = make_agent(of(extraction, anchor=2.5)), real_batch()
    noise = noise_of(FREE)
    mode = agent.actor(batch.feature).mode
    value = agent.critic(batch.feature, mode[:, :, None]).squeeze(-1).amin(0)
    away = (mode - batch.action).square().sum(-1).mean()
    expected = -2.5 * value.mean() / value.detach().abs().mean().clamp(min=1e-2) + away / shares
    loss, metrics = agent.extraction.loss(agent, batch, noise)
    torch.testing.assert_close(loss, expected)
    assert "alpha" not in agent.update(batch, noise) and float(metrics["entropy"]) == 0.0


def test_a_smoothed_target_is_of_an_action_near_the_mode() -> None:
    agent, batch = make_agent(of("deterministic", anchor=2.5, backup="smoothed")), real_batch()
    noise = torch.full((1, 12, A), 9.0)
    noise[:, :6] = -1.0
    mode = agent.actor(batch.next_feature).mode
    near = torch.cat([mode[:, :6] - 0.2, mode[:, 6:] + 0.5], 1).clamp(-1.0, 1.0)
    value = agent.target(batch.next_feature, near[:, :, None]).squeeze(-1).amin(0)
    torch.testing.assert_close(agent.backup(batch, noise, "smoothed"), batch.reward + batch.discount * value)


def test_rebracs_target_pays_for_the_distance_to_the_datasets_next_action() -> None:
    agent, batch = make_agent(of("rebrac", anchor=2.5, behaviour_weight=0.5)), real_batch()
    known = torch.arange(12) < 8
    batch = dataclasses.replace(batch, has_next_action=known.float()[None])
    noise = torch.zeros(1, 12, A)
    assert batch.next_action is not None
    away = (agent.actor(batch.next_feature).mode - batch.next_action).square().sum(-1) * known
    plain = make_agent(of("deterministic", anchor=2.5)).backup(batch, noise, "mode")
    torch.testing.assert_close(agent.backup(batch, noise, "mode"), plain - batch.discount * 0.5 * away)
    # of the smoothed action, where the target is of it
    noise = torch.full((1, 12, A), 1.0)
    action = (agent.actor(batch.next_feature).mode + 0.2).clamp(-1.0, 1.0)
    away = (action - batch.next_action).square().sum(-1) * known
    plain = make_agent(of("deterministic", anchor=2.5)).backup(batch, noise, "smoothed")
    torch.testing.assert_close(agent.backup(batch, noise, "smoothed"), plain - batch.discount * 0.5 * away)


@pytest.mark.parametrize("extraction", ["brac-v", "rebrac"])
def test_a_warm_ups_targets_have_no_penalty(extraction: str) -> None:
    """They are what the behaviour got."""
    heavy = make_agent(settings(extraction, behaviour_weight=1e3))
    light = make_agent(settings(extraction, behaviour_weight=0.0))
    batch, noise = real_batch(), noise_of(FREE)
    targets = [agent.critic_loss(batch, noise, extraction=IMITATION)[1]["target"] for agent in (heavy, light)]
    assert torch.equal(*targets)
    assert not torch.equal(*(agent.critic_loss(batch, noise)[1]["target"] for agent in (heavy, light)))


@pytest.mark.parametrize("extraction", ["brac-p", "brac-v", "bear", "deterministic", "rebrac"])
def test_the_policy_climbs_the_critics(extraction: str) -> None:
    """The loss has a gradient through the value: without what else it has, other critics lead it elsewhere."""
    config, batch = settings(extraction), real_batch()
    agent, other = make_agent(config), make_agent(config)
    with torch.no_grad():
        for parameter in other.critic.parameters():
            parameter.neg_()
    noise = noise_of(config)
    one, two = (
        torch.cat([g.flatten() for g in torch.autograd.grad(each.extraction.loss(each, batch, noise)[0], given)])
        for each, given in ((agent, agent.actor_parameters), (other, other.actor_parameters))
    )
    assert float((one - two).norm()) > 1e-3 * float(one.norm())


@pytest.mark.parametrize("steps", [1, 2])
def test_next_actions_are_those_that_followed_the_state_of_the_target(steps: int) -> None:
    """Four episodes of seven rows; row t's action is t / 100, and none follows an episode's last row."""
    data = dataset(steps=steps)
    batch = mixed_batch(data, None, torch.ones(1, 500), draws(), next_actions=True)
    assert batch.next_action is not None and batch.has_next_action is not None
    row = batch.next_feature[..., 0]
    last = row % 7 == 6
    assert torch.equal(batch.has_next_action, (~last).float())
    torch.testing.assert_close(batch.next_action[~last], ((row + 1.0) / 100.0)[~last][:, None].expand(-1, A))
    assert mixed_batch(data, None, torch.ones(1, 5), draws()).next_action is None
    mixed = mixed_batch(data, None, (torch.arange(500) < 200).float()[None], draws(), next_actions=True)
    assert mixed.has_next_action is not None and float(mixed.has_next_action[:, 200:].sum()) == 0.0


@pytest.mark.parametrize("extraction", ["brac-p", "brac-v", "bear", "deterministic", "rebrac"])
def test_a_fit_goes_on_from_what_it_saved(extraction: str) -> None:
    schedule = AgentFitConfig(updates=8, warm_up=2)

    def fit() -> AgentFit:
        return AgentFit(make_agent(settings(extraction)), Drift(), dataset(), schedule, draws())

    whole, first = fit(), fit()
    list(whole)
    for _ in range(4):
        first.take_step()
    second = fit()
    second.load_state_dict(first.state_dict())
    list(second)
    weights: list[dict[str, Tensor]] = [each.agent.state_dict() for each in (whole, second)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert {"behaviour.first.weight", "log_multiplier"} & weights[0].keys() == {
        *(["behaviour.first.weight"] if extraction in ("brac-p", "brac-v", "bear") else []),
        *(["log_multiplier"] if extraction == "bear" else []),
    }


def test_settings_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="bear.samples is 5, more than half of num_sampled_actions 4"):
        dataclasses.replace(FREE, extraction="bear", num_sampled_actions=4)
    with pytest.raises(ValueError, match="anchor is a part of"):
        of("brac-p", anchor=1.0)
    with pytest.raises(ValueError, match="entropy_in_target needs"):
        of("brac-v", entropy_in_target=True)
    with pytest.raises(ValueError, match="entropy_in_target is of samples"):
        dataclasses.replace(FREE, backup="smoothed", entropy_in_target=True)
    with pytest.raises(ValueError, match="behaviour_weight"):
        of("brac-p", behaviour_weight=-1.0)
