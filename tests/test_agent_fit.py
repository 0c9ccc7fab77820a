"""Rollouts, and fits in progress: warm-ups, resumed ones, and what is measured of them."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from small_agents import CPU, SMALL, A, F, dataset, draws, make_agent, random_batch
from torch import Tensor
from toy_models import PartialWorldModel

from combo_common.seeding import generator
from latent_combo.agent.batch import Noise
from latent_combo.agent.conservative import conservative_gap
from latent_combo.agent.extraction import IMITATION
from latent_combo.agent.fit import AgentFit
from latent_combo.agent.measures import regularisers, validation_metrics
from latent_combo.agent.replay import ModelBuffer
from latent_combo.agent.rollout import rollout
from latent_combo.agent.settings import AgentFitConfig, NetworkConfig
from latent_combo.world_model.base import ModelStep


class Walk(PartialWorldModel):
    """The next state is the old one plus the first action; the reward is the action's sum; 100 and more is terminal."""

    feature_dim, action_dim = F, A

    def imagine_step(self, feature: Tensor, action: Tensor, generator: torch.Generator) -> ModelStep:
        following = feature + action[:, :1]
        return ModelStep(following, action.sum(-1), (following[:, 0] >= 20.0).float())


def test_rollouts_act_by_each_agents_own_mu() -> None:
    agent = make_agent(
        dataclasses.replace(SMALL, rollout_actions="uniform"), dataclasses.replace(SMALL, rollout_actions="policy")
    )
    with torch.no_grad():  # policies that hardly vary: log std about -5
        agent.actor.rest.out.weight[..., A:] = 0.0
        agent.actor.rest.out.bias[..., A:] = -10.0
    buffer = ModelBuffer(2, 200, F, A, CPU)
    rollout(Walk(), agent, dataset(), buffer, rollout_batch_size=200, rollout_length=1, generator=draws())
    mode = agent.actor(buffer.feature).mode
    assert 0.45 < float(buffer.action[0].abs().mean()) < 0.55
    assert float(buffer.action[0].min()) < -0.95 and float(buffer.action[0].max()) > 0.95
    torch.testing.assert_close(buffer.action[1], mode[1], atol=0.05, rtol=0.0)


@pytest.mark.parametrize("mu", ["uniform", "policy"])
def test_rollouts_store_the_models_own_next_states(mu: str) -> None:
    agent = make_agent(dataclasses.replace(SMALL, rollout_actions=mu), dataclasses.replace(SMALL, rollout_actions=mu))
    buffer = ModelBuffer(2, 60, F, A, CPU)
    rollout(Walk(), agent, dataset(), buffer, rollout_batch_size=20, rollout_length=3, generator=draws())
    feature, action, reward, following, discount = buffer.tensors
    assert buffer.size == 60
    torch.testing.assert_close(following, feature + action[..., :1])
    torch.testing.assert_close(reward, action.sum(-1))
    terminal = (following[..., 0] >= 20.0).float()
    torch.testing.assert_close(discount, 0.99 * (1.0 - terminal))
    # a branch goes on from where it was, or after its end from a state of the dataset
    first, second = feature[:, :20], feature[:, 20:40]
    alive = terminal[:, :20] == 0.0
    torch.testing.assert_close(second[alive], following[:, :20][alive])
    assert bool(terminal.any())
    restarted = second[~alive]
    torch.testing.assert_close(restarted, restarted.round())
    assert float(first.min()) >= 0.0


def test_rounds_of_rollouts_come_when_they_are_due_and_act_by_the_policy_of_that_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, agent = Walk(), make_agent(dataclasses.replace(SMALL, rollout_actions="policy"))
    calls, imagine = [], model.imagine_step

    def counted(feature: Tensor, action: Tensor, generator: torch.Generator) -> ModelStep:
        calls.append(action)
        return imagine(feature, action, generator)

    monkeypatch.setattr(model, "imagine_step", counted)
    schedule = AgentFitConfig(updates=4, rollout_every=2, rollout_length=3, rollout_batch_size=8, model_retain_rounds=2)
    fit = AgentFit(agent, model, dataset(), schedule, draws())
    assert fit.buffer is not None
    out, taken = agent.actor.rest.out, []
    for mode in (-0.6, 0.6):
        with torch.no_grad():  # the policy hardly varies, whatever the state
            out.weight.zero_()
            out.bias[..., :A] = math.atanh(mode)
            out.bias[..., A:] = -10.0
        fit.take_step()
        taken.append(len(calls))
        fit.take_step()
        taken.append(len(calls))
    assert taken == [3, 3, 6, 6]
    assert fit.buffer.action.shape == (1, 48, A) and int(fit.buffer.size) == 48
    # two rounds are kept, each by the policy that there was
    expected = torch.tensor([-0.6, 0.6]).repeat_interleave(24)[None, :, None].expand(1, 48, A)
    torch.testing.assert_close(fit.buffer.action, expected, rtol=0.0, atol=0.05)


def test_sac_falls_out_of_the_same_class() -> None:
    sac = dataclasses.replace(SMALL, beta=0.0, real_ratio=1.0, penalty_states="dataset")
    agent = make_agent(sac)
    fit = AgentFit(agent, Walk(), dataset(), AgentFitConfig(updates=2), draws())
    assert fit.buffer is None
    batch, noise = random_batch(1), Noise.draw(1, sac, A, draws())
    shouted = dataclasses.replace(noise, uniform=noise.uniform * 0.1)
    first, _ = agent.critic_loss(batch, noise)
    second, _ = agent.critic_loss(batch, shouted)
    assert float(first.detach()) == float(second.detach())  # sampled actions do not count


def test_a_fit_goes_on_exactly_where_it_was() -> None:
    config = dataclasses.replace(SMALL, real_ratio=1.0, penalty_states="dataset")
    schedule = AgentFitConfig(updates=6)
    whole = AgentFit(make_agent(config), Walk(), dataset(), schedule, draws())
    list(whole)
    half = AgentFit(make_agent(config), Walk(), dataset(), schedule, draws())
    for _ in range(3):
        half.take_step()
    rest = AgentFit(make_agent(config), Walk(), dataset(), schedule, draws(9))
    rest.load_state_dict(half.state_dict())
    list(rest)
    for name, value in whole.agent.state_dict().items():
        assert bool((rest.agent.state_dict()[name] == value).all())


def test_held_out_values_are_held_against_returns_that_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, data = make_agent(SMALL, SMALL), dataset(rows=7)  # gamma 0.5: the last three rows of seven do not tell
    value = torch.tensor([2.0, 8.0])[None, :, None, None]
    # features say their row: values are the agent's, and more at the last rows, of which nothing is told
    monkeypatch.setattr(
        agent.critic, "forward", lambda f, a: value + 1000.0 * (f[None, :, :, :1] % 7 > 2).expand(2, 2, -1, 1)
    )
    index, _ = data.draw((2, 1024), generator(0, CPU, "held out"))
    row = data.source[index]
    tells = row % 7 <= 2
    expected = torch.zeros(2, 1024)
    for step in range(1, 7):
        inside = row % 7 + step <= 6
        expected += torch.where(inside, 0.5 ** (step - 1) * (row + step).float(), 0.0)
    mean = (expected * tells).sum(1) / tells.sum(1)
    found = validation_metrics(agent, data, 0)
    torch.testing.assert_close(found["validation_return_complete"], mean)
    torch.testing.assert_close(found["validation_q_bias"], torch.tensor([2.0, 8.0]) - mean)
    torch.testing.assert_close(found["validation_q_complete"], torch.tensor([2.0, 8.0]))
    assert (found["validation_q"] > 300.0).all()
    assert "validation_return_complete" not in validation_metrics(agent, dataset(rows=3), 0)


def test_a_policy_whose_spread_is_not_trained_has_no_likelihood() -> None:
    own = {"extraction": "deterministic", "beta": 0.0, "real_ratio": 1.0, "penalty_states": "dataset"}
    deterministic = make_agent(dataclasses.replace(SMALL, **own))  # type: ignore[arg-type]
    assert "validation_log_prob" in validation_metrics(make_agent(SMALL), dataset(), 0)
    found = validation_metrics(deterministic, dataset(), 0)
    assert "validation_log_prob" not in found and "validation_squared_distance" in found


def test_agents_without_conservatism_have_no_regulariser_and_draw_nothing_for_it() -> None:
    config = dataclasses.replace(SMALL, beta=0.0, real_ratio=1.0, penalty_states="dataset")
    fit = AgentFit(make_agent(config), None, dataset(), AgentFitConfig(updates=2), draws())
    before = fit.generator.get_state()
    assert regularisers(fit) == [None]
    assert bool((fit.generator.get_state() == before).all())


def test_held_out_metrics_are_of_the_policy_that_acts() -> None:
    agent, data = make_agent(dataclasses.replace(SMALL, policy_average=0.9)), dataset()
    with torch.no_grad():
        for weights in (agent.actor_weights, agent.averaged_weights):
            weights.copy_(torch.randn(weights.shape, generator=draws(len(weights))) * 0.3)
    agent.actor_weights.zero_()
    feature, action = data.pairs(*data.draw((1, 1024), generator(0, CPU, "held out")))
    with torch.no_grad():
        mode = agent.acting(feature).mode
        of_mode, of_data = (agent.critic(feature, some[:, :, None])[..., 0].amin(0) for some in (mode, action))
    found = validation_metrics(agent, data, 0)
    torch.testing.assert_close(found["validation_gain"], (of_mode - of_data).mean(1))
    torch.testing.assert_close(found["validation_squared_distance"], (mode - action).square().sum(-1).mean(1))
    assert float(mode.abs().mean()) > 0.05


def test_the_regularisers_are_of_the_policys_actions_under_rho_and_of_the_data() -> None:
    settings = (("model", 1.0), ("dataset", 1.0), ("mix", 0.0))
    agent = make_agent(
        *(dataclasses.replace(SMALL, rollout_actions="policy", penalty_states=rho, beta=beta) for rho, beta in settings)
    )
    scale = torch.tensor([1.0, 2.0, 3.0])[:, None, None]

    def value(feature: Tensor, action: Tensor, low: bool = False) -> Tensor:
        imagined = feature[..., :1] != feature[..., :1].round()  # the dataset's are numbers of rows
        return (scale * (action[..., 0] + imagined)).expand(2, *action.shape[:-1])

    agent.critic.forward = value  # type: ignore[method-assign]
    with torch.no_grad():
        agent.actor.rest.out.weight.zero_()
        agent.actor.rest.out.bias[:, 0, :A] = 0.5
        agent.actor.rest.out.bias[..., A:] = -10.0
    data = dataset(episodes=1, rows=3)  # actions of 0.01 and 0.02
    fit = AgentFit(
        agent,
        Walk(),
        data,
        AgentFitConfig(updates=2, rollout_batch_size=40, rollout_length=2, rollout_every=1),
        draws(),
    )
    of_model, of_dataset, none = regularisers(fit)
    mode, taken = math.tanh(0.5), 0.015
    assert none is None
    assert of_model == pytest.approx(mode + 0.5 - taken, abs=0.06)  # each second stored state is an imagined one
    assert of_dataset == pytest.approx(2.0 * (mode - taken), abs=0.02)


def test_a_warm_up_begins_with_the_behaviours_actions_and_the_values_of_its_whole_episodes() -> None:
    config = dataclasses.replace(
        SMALL, beta=0.0, real_ratio=1.0, penalty_states="dataset", critic_learning_rate=1e-2, actor_learning_rate=1e-2,
        tau=1e-9, network=NetworkConfig(hidden=64, layers=3),
    )  # fmt: skip
    data = dataset(
        episodes=1, rows=12, terminal=True
    )  # targets never move, so nothing of what is learnt comes of bootstrapping
    small = dataclasses.replace(data, feature=data.feature / 12.0)
    warm = AgentFit(make_agent(config), Walk(), small, AgentFitConfig(updates=1501, warm_up=1500), draws())
    for _ in range(1500):
        warm.take_step()
    feature, action = small.pairs(torch.arange(len(small.source)), torch.zeros(len(small.source), dtype=torch.long))
    with torch.no_grad():
        value = warm.agent.critic(feature[None], action[None, :, None]).mean((0, 3))[0]
        mode = warm.agent.actor(feature[None]).mode[0]
    assert float((value - small.monte_carlo_returns.reward).abs().mean()) < 0.5
    assert (
        float((small.td_returns.reward - small.monte_carlo_returns.reward).abs().mean()) > 3.0
    )  # which one reward would not teach
    assert float((mode - action).abs().max()) < 0.05
    batch, noise = random_batch(1), Noise.draw(1, config, A, draws())
    loss, _ = IMITATION.loss(warm.agent, batch, noise)
    model_rows = dataclasses.replace(batch, action=torch.where(batch.real[..., None] > 0, batch.action, 0.3))
    torch.testing.assert_close(
        IMITATION.loss(warm.agent, model_rows, noise)[0], loss
    )  # only the dataset's are imitated


def test_after_a_warm_up_the_policy_follows_the_critics() -> None:
    config = dataclasses.replace(SMALL, real_ratio=1.0, penalty_states="dataset", beta=0.0, tau=1e-9)
    data = dataset(episodes=1, rows=12, terminal=True)
    fit = AgentFit(make_agent(config), Walk(), data, AgentFitConfig(updates=40, warm_up=20), draws())
    rows = [(metrics, float(metrics["target"])) for metrics in fit]
    assert ["alpha" in metrics for metrics, _ in rows] == [False] * 20 + [True] * 20
    # the targets hardly move, so that those of one reward are the rewards and a constant, and the others returns
    before, after = (np.mean([target for _, target in some]) for some in (rows[:20], rows[20:]))
    gap = float((data.monte_carlo_returns.reward - data.td_returns.reward).mean())
    assert gap > 4.0 and before - after == pytest.approx(gap, rel=0.3)


def test_a_warm_up_imitates_whatever_the_policy_follows_afterwards() -> None:
    config = dataclasses.replace(SMALL, real_ratio=1.0, penalty_states="dataset", trajectory_temperature=0.1)
    schedule = AgentFitConfig(updates=4, warm_up=2)
    fit = AgentFit(make_agent(config), Walk(), dataset(), schedule, draws())
    assert ["alpha" in metrics for metrics in fit] == [False, False, True, True]
    half = AgentFit(make_agent(config), Walk(), dataset(), schedule, draws())
    half.take_step()
    rest = AgentFit(make_agent(config), Walk(), dataset(), schedule, draws(9))
    rest.load_state_dict(half.state_dict())
    list(rest)  # goes on within the warm-up, and leaves it when it is due
    for name, value in fit.agent.state_dict().items():
        assert bool((rest.agent.state_dict()[name] == value).all())


def test_scaled_values_have_the_mean_and_spread_of_returns_and_the_same_loss() -> None:
    config = dataclasses.replace(SMALL, real_ratio=1.0, penalty_states="dataset", scale_values=True)
    data = dataset()
    fit = AgentFit(make_agent(config), Walk(), data, AgentFitConfig(updates=2), draws())
    agent, plain = fit.agent, make_agent(config)
    feature, action = random_batch(1).feature, random_batch(1).action[:, :, None]
    mean, std = data.value_scale()
    assert mean == pytest.approx(float(data.monte_carlo_returns.reward.mean())) and std > 1.0
    for ours, theirs in ((agent.critic, plain.critic), (agent.target, plain.target)):
        torch.testing.assert_close(ours(feature, action), mean + std * theirs(feature, action))
    batch, noise = random_batch(1), Noise.draw(1, config, A, draws())
    q, logsumexp_q, _ = agent.values_and_logsumexp(batch, noise)
    gap = conservative_gap(logsumexp_q, torch.ones(1, 12) * batch.real, q, batch.real)
    bellman = 0.5 * (q - agent.backup(batch, noise.next_action)).square().mean(-1)
    torch.testing.assert_close(agent.critic_loss(batch, noise)[0], (config.beta * gap + bellman).sum())


def test_beta_may_count_in_the_spread_of_the_returns() -> None:
    config = dataclasses.replace(
        SMALL, real_ratio=1.0, penalty_states="dataset", beta=[0.0, 0.5, 2.0], scale_values=True
    )
    data = dataset()
    _, std = data.value_scale()
    scaled = make_agent(*dataclasses.replace(config, scale_beta=True).members())
    plain = make_agent(*dataclasses.replace(config, beta=[0.0, 0.5 * std, 2.0 * std]).members())
    for agent in (scaled, plain):
        AgentFit(agent, None, data, AgentFitConfig(updates=2), draws())
    torch.testing.assert_close(scaled.settings.beta, torch.tensor([0.0, 0.5 * std, 2.0 * std]))
    batch, noise = random_batch(3), Noise.draw(3, config, A, draws())
    torch.testing.assert_close(scaled.critic_loss(batch, noise)[0], plain.critic_loss(batch, noise)[0])
    AgentFit(scaled, None, data, AgentFitConfig(updates=2), draws())  # counted once, however often a fit is begun
    torch.testing.assert_close(scaled.settings.beta, torch.tensor([0.0, 0.5 * std, 2.0 * std]))


def test_a_beta_in_the_values_units_needs_values_in_units() -> None:
    with pytest.raises(ValueError, match="scale_beta counts in the units of scale_values"):
        dataclasses.replace(SMALL, scale_beta=True)
