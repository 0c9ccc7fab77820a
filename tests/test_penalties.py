"""Penalties of the model's transitions, against cases computed by hand, for vectors and for an RSSM's latents."""

import dataclasses
import math

import pytest
import torch
from small_agents import CPU, draws
from toy_models import Drift

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Batch
from latent_combo.agent.fit import AgentFit
from latent_combo.agent.measures import update_flops
from latent_combo.agent.penalties.lompo import Lompo
from latent_combo.agent.penalties.mobile import Mobile
from latent_combo.agent.penalties.mopo import Mopo
from latent_combo.agent.penalties.morel import Morel, disagreement
from latent_combo.agent.replay import EncodedDataset, ModelBuffer
from latent_combo.agent.rollout import rollout
from latent_combo.agent.settings import AgentConfig, AgentFitConfig, NetworkConfig
from latent_combo.world_model.base import MemberPredictions, ModelStep
from latent_combo.world_model.ensemble import EnsembleWorldModel
from latent_combo.world_model.gaussian import Gaussian, log_prob
from latent_combo.world_model.recurrent import RecurrentWorldModel
from latent_combo.world_model.settings import EnsembleConfig, RecurrentConfig

SMALL = AgentConfig(
    network=NetworkConfig(hidden=16, layers=2),
    actor_network=NetworkConfig(hidden=16, layers=2),
    batch=8,
    beta=0.0,
    rollout_actions="policy",
)
FEATURE = torch.tensor([[1.0, 2.0], [0.0, -1.0]])
ACTION = torch.tensor([[0.5, -0.5], [1.0, 0.0]])
STEP = ModelStep(FEATURE + ACTION, torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.25]))
WEIGHT = torch.tensor([1.0, 10.0])


class Uncertain(Drift):
    """Drift, whose members have learned standard deviations of the two changes and of the reward."""

    def predict_per_member(self, feature: torch.Tensor, action: torch.Tensor) -> MemberPredictions:
        std = torch.tensor([[3.0, 4.0, 0.0], [1.0, 2.0, 2.0], [0.0, 0.0, 4.9]])  # of norms 5, 3 and 4.9
        every = std[:, None].expand(3, feature.shape[1], 3).clone()
        every[0, 1] = 0.0  # the second state's largest is that of another member
        return dataclasses.replace(super().predict_per_member(feature, action), change_std=every)


def an_agent(*configs: AgentConfig, feature_dim: int = 2, action_dim: int = 2) -> ConservativeActorCritic:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConservativeActorCritic(list(configs), feature_dim, action_dim, CPU)


def some_data(rewards: list[float]) -> EncodedDataset:
    """Episodes of two rows at the origin, whose action is (k + 1, 0) in the k-th."""
    first = torch.tensor([True, False]).repeat(len(rewards))
    action = torch.zeros(len(first), 2)
    action[1::2, 0] = torch.arange(1.0, len(rewards) + 1.0)
    reward = torch.zeros(len(first))
    reward[1::2] = torch.tensor(rewards)
    return EncodedDataset.from_rows(
        torch.zeros(1, len(first), 2), action, reward, torch.zeros(len(first)), first, SMALL
    )


def test_mopo_takes_the_largest_standard_deviation() -> None:
    step = Mopo().of_step(Uncertain(), FEATURE, ACTION, STEP, WEIGHT)
    assert step.reward.tolist() == pytest.approx([1.0 - 5.0, 3.0 - 10.0 * 4.9])
    assert step.feature is STEP.feature and step.terminal is STEP.terminal


def test_an_ensembles_standard_deviations_are_in_the_datasets_units() -> None:
    """Of a network whose log-variance is known, changes in units of 2, 3 (states) and 5 (reward)."""
    torch.manual_seed(0)
    config = EnsembleConfig(members=3, elites=2, hidden=8, weight_decay=(0.0, 0.0))
    model = EnsembleWorldModel(config, 2, 1, "none").requires_grad_(False)
    model.change_std.copy_(torch.tensor([2.0, 3.0, 5.0]))
    model.observation_std.copy_(torch.tensor([7.0, 11.0]))
    with torch.no_grad():  # both bounds at log 4: every variance is 4
        model.networks.highest.fill_(math.log(4.0))
        model.networks.lowest.fill_(math.log(4.0) - 1e-3)
    predicted = model.predict_per_member(torch.zeros(2, 6, 2), torch.zeros(6, 1))
    assert predicted.change_std is not None
    inside = 0.5 * (math.log(4.0))  # softly bounded: within log 2 of the bounds
    scale = predicted.change_std / torch.tensor([2.0, 3.0, 5.0])
    torch.testing.assert_close(scale, scale[..., :1].expand(scale.shape))  # one unit each, the same for all
    assert float((scale.log() - inside).abs().max()) < math.log(2.0)
    torch.testing.assert_close(predicted.prior.std, predicted.change_std[..., :2] / torch.tensor([7.0, 11.0]))


def test_lompo_takes_the_spread_of_the_members_likelihoods() -> None:
    step = Lompo().of_step(Drift(), FEATURE, ACTION, STEP, WEIGHT)
    for state in range(2):
        likelihoods = []
        for member in range(3):
            mean, std = FEATURE[state] + (1.0 + member / 10.0) * ACTION[state], (0.5 + member, 0.25)
            away = [(float(STEP.feature[state, i]) - float(mean[i])) / std[i] for i in range(2)]
            likelihoods.append(
                sum(-0.5 * z * z - math.log(s) - 0.5 * math.log(2 * math.pi) for z, s in zip(away, std, strict=True))
            )
        spread = float(torch.tensor(likelihoods).std(unbiased=False))
        assert float(step.reward[state]) == pytest.approx(float(STEP.reward[state] - WEIGHT[state] * spread), rel=1e-5)
    one_member = Drift()
    one_member.members = 1
    assert torch.equal(Lompo().of_step(one_member, FEATURE, ACTION, STEP, WEIGHT).reward, STEP.reward)


def test_lompo_reads_the_stochastic_part_of_an_rssms_feature() -> None:
    torch.manual_seed(0)
    config = RecurrentConfig()
    config = dataclasses.replace(
        config,
        head_hidden=8,
        dynamics=dataclasses.replace(config.dynamics, deterministic=6, stochastic=4, hidden=8, members=3),
    )
    model = RecurrentWorldModel(config, 2).requires_grad_(False)
    feature = torch.randn(5, model.feature_dim, generator=draws())
    action = torch.rand(5, 2, generator=draws(1)) * 2 - 1
    step = model.imagine_step(feature, action, draws(2))
    penalised = Lompo().of_step(model, feature, action, step, torch.full((5,), 5.0))
    h, prior = step.feature[:, :6], model.predict_per_member(feature.expand(3, -1, -1), action).prior
    torch.testing.assert_close(h, model.predict_per_member(feature.expand(3, -1, -1), action).feature[0, :, :6])
    likelihood = torch.stack([log_prob(Gaussian(prior.mean[k], prior.std[k]), step.feature[:, 6:]) for k in range(3)])
    torch.testing.assert_close(step.reward - penalised.reward, 5.0 * likelihood.std(0, unbiased=False))
    assert float((step.reward - penalised.reward).min()) > 0.0


def test_morel_halts_where_two_members_disagree_by_more_than_on_the_data() -> None:
    """Members push by 1, 1.1 and 1.2 times the action, so that they disagree by a fifth of its length."""
    torch.testing.assert_close(disagreement(Drift(), FEATURE, ACTION), 0.2 * ACTION.norm(dim=-1))
    config = dataclasses.replace(SMALL, morel=dataclasses.replace(SMALL.morel, threshold=0.4, offset=30.0))
    morel = Morel().prepared(Drift(), some_data([2.0, -7.0]), config)
    assert morel.threshold == pytest.approx(0.4 * 0.2 * 2.0) and morel.halted_reward == pytest.approx(-37.0)
    step = morel.of_step(Drift(), FEATURE, ACTION, STEP, WEIGHT)  # actions of length 0.71 and 1: 0.14, 0.2 for 0.16
    assert step.reward.tolist() == pytest.approx([1.0, -37.0]) and step.terminal.tolist() == [0.0, 1.0]
    one_member = Drift()
    one_member.members = 1
    assert torch.equal(disagreement(one_member, FEATURE, ACTION), torch.zeros(2))


def test_the_least_reward_is_of_transitions_and_not_of_first_rows() -> None:
    """An episode's first row has the reward 0 of no step."""
    assert some_data([2.0, 5.0]).least_reward == 2.0


def test_a_halted_step_ends_the_episode_in_the_buffer() -> None:
    class Halt(Morel):
        def of_step(self, *given: object) -> ModelStep:  # type: ignore[override]
            step = given[3]
            assert isinstance(step, ModelStep)
            return dataclasses.replace(
                step, reward=torch.full_like(step.reward, -9.0), terminal=torch.ones_like(step.terminal)
            )

    agent, data = an_agent(SMALL), some_data([0.0])
    buffer = ModelBuffer(1, 8, 2, 2, CPU)
    rollout(Drift(), agent, data, buffer, 4, 2, draws(), Halt())
    assert torch.equal(buffer.discount, torch.zeros(1, 8)) and torch.equal(buffer.reward, torch.full((1, 8), -9.0))
    assert torch.equal(buffer.feature, torch.zeros(1, 8, 2))  # the second step begins at the data again


def test_mobile_takes_the_spread_of_the_members_targets_from_model_rows() -> None:
    """For two agents of a stack: the second has twice the weight, and other shares of the dataset."""
    configs = [
        dataclasses.replace(SMALL, real_ratio=0.5, penalty_weight=2.0, gamma=0.9),
        dataclasses.replace(SMALL, real_ratio=0.25, penalty_weight=4.0, gamma=0.9),
    ]
    agent = an_agent(*configs)
    agent.target.load_state_dict({name: 1.5 * weight for name, weight in agent.critic.state_dict().items()})
    g = draws()
    feature, action = torch.randn(2, 8, 2, generator=g), torch.rand(2, 8, 2, generator=g) * 2 - 1
    real = torch.stack([(torch.arange(8) < 4).float(), (torch.arange(8) < 2).float()])
    batch = Batch(feature, action, torch.rand(2, 8, generator=g), feature, torch.full((2, 8), 0.9), real)
    reward = Mobile().of_batch(Drift(), agent, batch).reward
    for number, weight in enumerate((2.0, 4.0)):
        for row in range(8):
            targets = []
            for member in range(3):
                arrived = feature[number, row] + (1.0 + member / 10.0) * action[number, row]
                both = arrived.expand(2, 1, -1)
                value = agent.target(both, agent.actor(both).mode[:, :, None])[:, number].min()
                targets.append(float(arrived[0] + 0.9 * value))
            spread = float(torch.tensor(targets).std(unbiased=False))
            taken = 0.0 if real[number, row] else weight * spread
            assert float(batch.reward[number, row] - reward[number, row]) == pytest.approx(taken, abs=1e-5)


def test_mobile_knows_that_no_value_follows_a_terminal_step() -> None:
    class Ending(Drift):
        def predict_per_member(self, feature: torch.Tensor, action: torch.Tensor) -> MemberPredictions:
            step = super().predict_per_member(feature, action)
            return dataclasses.replace(step, terminal=torch.ones_like(step.terminal))

    agent = an_agent(SMALL)
    spread = Mobile.spread(Ending(), agent, FEATURE[None], ACTION[None])
    rewards = torch.stack([FEATURE[:, 0] + (1.0 + k / 10.0) * ACTION[:, 0] for k in range(3)])
    torch.testing.assert_close(spread[0], rewards.std(0, unbiased=False))


def test_what_the_ensemble_predicts_for_mobile_counts_among_an_updates_operations() -> None:
    """K members' steps, the policy's modes there and the values of both targets at these, for 2 agents' 6 rows."""

    class Multiplied(Drift):
        def predict_per_member(self, feature: torch.Tensor, action: torch.Tensor) -> MemberPredictions:
            return super().predict_per_member(feature @ torch.eye(2), action)

    config = dataclasses.replace(SMALL, real_ratio=0.25, penalty_weight=1.0)
    fit = AgentFit(
        an_agent(config, config), Multiplied(), some_data([1.0, 2.0]), AgentFitConfig(), draws(), penalty=Mobile()
    )
    rows, hidden = 3 * 2 * 6, 16
    of_policy, of_critic = (2 + hidden + 4) * hidden, (2 + 2 + hidden + 1) * hidden
    by_hand = 2 * rows * (2 * 2 + of_policy + 2 * of_critic)
    assert update_flops(fit.agent, fit.dataset, fit.penalised) - update_flops(fit.agent, fit.dataset) == by_hand


def test_the_weight_of_a_penalty_is_that_of_each_states_agent() -> None:
    """Rollouts of two agents from the same states with the same actions differ by lambda times the penalty."""
    agent = an_agent(dataclasses.replace(SMALL, penalty_weight=0.0), dataclasses.replace(SMALL, penalty_weight=3.0))
    buffer = ModelBuffer(2, 4, 2, 2, CPU)
    rollout(Uncertain(), agent, some_data([0.0]), buffer, 4, 1, draws(), Mopo())
    truth = buffer.feature[..., 0] + buffer.action[..., 0]
    taken = truth - buffer.reward
    torch.testing.assert_close(taken[0], torch.zeros(4))
    # in rows 1 of all (N,) states alone the first member has no spread
    torch.testing.assert_close(taken[1], torch.full((4,), 3.0 * 5.0))
