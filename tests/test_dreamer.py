"""Lambda-returns in imagination: by hand, through a model whose steps are known, and what the critics are given."""

import dataclasses

import pytest
import torch
from small_agents import CPU, draws
from test_penalties import some_data
from test_world_model import TINY, make_model
from toy_models import Drift

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.extractions.dreamer import Dreamer
from latent_combo.agent.fit import AgentFit
from latent_combo.agent.imagination import Imagination, Trajectory, disagreement
from latent_combo.agent.measures import update_flops
from latent_combo.agent.settings import AgentConfig, AgentFitConfig, NetworkConfig
from latent_combo.numerics.flops import count_flops
from latent_combo.world_model.base import ModelStep, WorldModel
from latent_combo.world_model.ensemble import EnsembleWorldModel
from latent_combo.world_model.settings import EnsembleConfig, RSSMConfig
from latent_combo.world_model.termination_fns import LEARNED

SMALL = AgentConfig(
    network=NetworkConfig(hidden=16, layers=2),
    actor_network=NetworkConfig(hidden=16, layers=2),
    batch=8,
    beta=0.0,
    gamma=0.9,
    rollout_actions="policy",
    extraction="dreamer",
    penalty_weight=2.0,
)


def an_agent(*configs: AgentConfig) -> ConservativeActorCritic:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        agent = ConservativeActorCritic(list(configs), 2, 2, CPU)
    agent.imagination = Imagination(Drift(), draws(), 3, 0.9, agent.settings.penalty_weight)
    return agent


def a_batch() -> Batch:
    g = draws(1)
    real = (torch.arange(8) < 4).float()[None]
    feature, action = torch.randn(1, 8, 2, generator=g), torch.rand(1, 8, 2, generator=g) * 2 - 1
    return Batch(feature, action, torch.rand(1, 8, generator=g), feature + 1.0, torch.full((1, 8), 0.9), real)


def test_lambda_returns_are_those_of_the_recursion() -> None:
    reward, value = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1), torch.tensor([10.0, 20.0, 40.0]).view(3, 1, 1)
    discount = torch.tensor([0.5, 0.5, 0.0]).view(3, 1, 1)
    path = Trajectory(reward, discount, value, torch.zeros(3, 1, 1))
    last = 4.0  # the episode ended: nothing follows
    second = 2.0 + 0.5 * (0.25 * 20.0 + 0.75 * last)
    first = 1.0 + 0.5 * (0.25 * 10.0 + 0.75 * second)
    assert path.lambda_returns(0.75).flatten().tolist() == pytest.approx([first, second, last])
    assert path.lambda_returns(0.0).flatten().tolist() == pytest.approx([6.0, 12.0, 4.0])  # single steps
    assert path.reached().flatten().tolist() == [1.0, 0.5, 0.25]


def test_the_disagreement_is_the_mean_standard_deviation_of_the_members_means() -> None:
    """Members push by 1, 1.1 and 1.2 times the action."""
    action = torch.tensor([[1.0, -2.0]])
    of_push = float(torch.tensor([1.0, 1.1, 1.2]).std(unbiased=False))
    assert float(disagreement(Drift(), torch.zeros(1, 2), action)) == pytest.approx(of_push * 1.5)


def test_a_trajectory_is_the_models_steps_by_the_policys_actions() -> None:
    agent, batch = an_agent(SMALL), a_batch()
    assert agent.imagination is not None
    path = agent.imagination.follow(agent, batch.feature, batch.action)
    arrived = batch.feature + batch.action
    away = disagreement(Drift(), batch.feature[0], batch.action[0])
    torch.testing.assert_close(path.reward[0, 0], arrived[0, :, 0] - 2.0 * away)
    assert torch.equal(path.discount, torch.full((3, 1, 8), 0.9)) and torch.equal(path.log_policy[0], torch.zeros(1, 8))
    # the second step's action is what the first state was valued at
    again = dataclasses.replace(agent.imagination, generator=draws())
    again._act(agent, batch.feature)
    action, log_policy = again._act(agent, arrived)
    torch.testing.assert_close(path.log_policy[1], log_policy)
    torch.testing.assert_close(path.value[0], agent.target(arrived, action[:, :, None]).squeeze(-1).amin(0))


def test_the_critics_are_given_lambda_returns_in_rows_of_the_model_alone() -> None:
    agent, batch = an_agent(SMALL), a_batch()
    assert agent.imagination is not None
    changed = agent.extraction.critic_batch(agent, batch)
    path = dataclasses.replace(agent.imagination, generator=draws()).follow(agent, batch.feature, batch.action)
    torch.testing.assert_close(changed.reward[:, 4:], path.lambda_returns(0.95)[0][:, 4:])
    assert torch.equal(changed.reward[:, :4], batch.reward[:, :4])
    assert torch.equal(changed.discount, torch.tensor([[0.9] * 4 + [0.0] * 4]))
    target = agent.backup(changed, torch.zeros(1, 8, 2))
    torch.testing.assert_close(target[:, 4:], changed.reward[:, 4:])


def test_gradients_flow_through_the_models_steps() -> None:
    """The reward is where a push leads: three steps' worth of it moves the policy, critics that say nothing aside."""
    agent, batch = an_agent(dataclasses.replace(SMALL, penalty_weight=0.0, initial_alpha=1e-6)), a_batch()
    with torch.no_grad():
        for parameter in agent.target.parameters():
            parameter.zero_()
    loss, metrics = agent.extraction.loss(agent, batch, Noise.draw(1, SMALL, 2, draws()))
    gradients = torch.autograd.grad(loss, agent.actor_parameters)
    assert all(bool(gradient.abs().sum() > 0.0) for gradient in gradients)
    assert {"lambda_return", "entropy", "squared_distance"} <= metrics.keys()
    for step in range(60):
        agent.update(a_batch(), Noise.draw(1, SMALL, 2, draws(step)))
        with torch.no_grad():
            agent.target_weights.zero_()
    assert float(agent.actor(batch.feature).mode[..., 0].detach().mean()) > 0.1  # upwards, which pays


def test_counting_operations_draws_none_of_the_fits_numbers() -> None:
    schedule = AgentFitConfig(updates=4, rollout_length=2, rollout_batch_size=4)
    fit = AgentFit(an_agent(SMALL), Drift(), some_data([1.0, 2.0]), schedule, draws())
    before = fit.generator.get_state()
    assert update_flops(fit.agent, fit.dataset) > 0.0
    assert torch.equal(before, fit.generator.get_state())
    assert fit.agent.imagination is not None and fit.agent.imagination.generator is fit.generator
    assert fit.agent.imagination.steps == 2


def test_a_step_that_ends_an_episode_is_followed_by_nothing() -> None:
    class Ending(Drift):
        def imagine_step(self, feature: torch.Tensor, action: torch.Tensor, generator: torch.Generator) -> ModelStep:
            step = super().imagine_step(feature, action, generator)
            return dataclasses.replace(step, terminal=torch.ones_like(step.terminal))

    agent, batch = an_agent(dataclasses.replace(SMALL, penalty_weight=0.0)), a_batch()
    agent.imagination = Imagination(Ending(), draws(), 3, 0.9, agent.settings.penalty_weight)
    changed = agent.extraction.critic_batch(agent, batch)
    torch.testing.assert_close(changed.reward[:, 4:], (batch.feature + batch.action)[:, 4:, 0])


def test_what_the_critics_targets_imagine_counts_among_an_updates_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = AgentFitConfig(updates=4, rollout_length=2, rollout_batch_size=4)
    fit = AgentFit(an_agent(SMALL), Drift(), some_data([1.0, 2.0]), schedule, draws())
    whole = update_flops(fit.agent, fit.dataset)
    agent, batch = fit.agent, a_batch()
    of_targets = count_flops(lambda: agent.extraction.critic_batch(agent, batch))
    monkeypatch.setattr(Dreamer, "critic_batch", lambda self, agent, batch: batch)
    assert whole - update_flops(agent, fit.dataset) == of_targets > 0


def test_an_agent_that_imagines_needs_a_model() -> None:
    config = dataclasses.replace(SMALL, real_ratio=1.0)
    with pytest.raises(ValueError, match="no world model"):
        AgentFit(an_agent(config), None, some_data([1.0, 2.0]), AgentFitConfig(updates=4), draws())


@pytest.mark.parametrize("ending", ["none", "learned"])
def test_gradients_of_an_ensembles_steps_are_those_of_finite_differences(ending: str) -> None:
    """Seven states for two elites: they are dealt out unevenly, and put back in their order."""
    torch.manual_seed(0)
    config = EnsembleConfig(members=3, elites=2, hidden=8, weight_decay=(0.0, 0.0))
    check_gradients(EnsembleWorldModel(config, 3, 2, LEARNED if ending == "learned" else ending), 3)


def test_gradients_of_a_recurrent_models_steps_are_those_of_finite_differences() -> None:
    model = make_model(
        dataclasses.replace(TINY, dynamics=RSSMConfig(deterministic=3, stochastic=2, hidden=4, members=3))
    )
    check_gradients(model, model.feature_dim)


def check_gradients(model: WorldModel, feature_dim: int) -> None:
    """Of states, rewards, chances of an end and disagreement, by features and actions of 7 rows."""
    model = model.double().requires_grad_(False)
    g = draws(1)
    feature, action = (torch.randn(7, size, generator=g).double().requires_grad_() for size in (feature_dim, 2))

    def stepped(feature: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, ...]:
        step = model.imagine_step(feature, action, draws(2))
        return step.feature, step.reward, step.terminal.double(), disagreement(model, feature, action)

    assert torch.autograd.gradcheck(stepped, (feature, action))
