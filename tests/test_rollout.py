"""Rollouts draw: actions from the policy, and endings by their probability."""

import dataclasses

import pytest
import torch
from small_agents import CPU, SMALL, A, F, dataset, draws, make_agent, random_batch
from torch import Tensor
from toy_models import PartialWorldModel

from latent_combo.agent.replay import ModelBuffer
from latent_combo.agent.rollout import rollout
from latent_combo.world_model.base import ModelStep

POLICY = dataclasses.replace(SMALL, rollout_actions="policy")


class Mortal(PartialWorldModel):
    """Each step leads to -1, which no state of the dataset is, and ends the episode with one probability."""

    feature_dim, action_dim = F, A

    def __init__(self, chance: float) -> None:
        super().__init__()
        self.chance = chance

    def imagine_step(self, feature: Tensor, action: Tensor, generator: torch.Generator) -> ModelStep:
        count = len(feature)
        return ModelStep(torch.full_like(feature, -1.0), torch.zeros(count), torch.full((count,), self.chance))


def test_the_policys_actions_are_samples() -> None:
    agent = make_agent(POLICY, POLICY)
    loc = torch.tensor([[0.3, -0.2], [-0.5, 0.0]])
    with torch.no_grad():  # one Gaussian for all states, of standard deviation exp(-1.5)
        agent.actor.rest.out.weight.zero_()
        agent.actor.rest.out.bias[:, 0, :A] = loc
        agent.actor.rest.out.bias[..., A:] = 0.0
    buffer = ModelBuffer(2, 8000, F, A, CPU)
    rollout(Mortal(0.0), agent, dataset(), buffer, rollout_batch_size=4000, rollout_length=2, generator=draws())
    raw = buffer.action.atanh()
    torch.testing.assert_close(raw.mean(1), loc, rtol=0.0, atol=0.01)
    torch.testing.assert_close(raw.std(1), torch.full((2, A), -1.5).exp(), rtol=0.05, atol=0.0)
    alike = torch.corrcoef(raw.permute(0, 2, 1).flatten(0, 1)) - torch.eye(2 * A)
    assert float(alike.abs().max()) < 0.05  # every agent and every number of an action has noise of its own
    assert float((raw[:, :4000] - raw[:, 4000:]).abs().mean()) > 0.1  # and every step


def test_rollouts_and_backups_are_of_the_policy_that_is_trained_and_not_of_its_average() -> None:
    agent = make_agent(dataclasses.replace(POLICY, policy_average=0.9))
    with torch.no_grad():
        for policy, raw in ((agent.actor, 1.0), (agent.averaged, -1.0)):
            assert policy is not None
            policy.rest.out.weight.zero_()
            policy.rest.out.bias[:, 0, :A] = raw
            policy.rest.out.bias[..., A:] = -10.0  # next to no spread
    buffer = ModelBuffer(1, 20, F, A, CPU)
    rollout(Mortal(0.0), agent, dataset(), buffer, rollout_batch_size=20, rollout_length=1, generator=draws())
    assert bool((buffer.action > 0.0).all())
    batch = random_batch(1)
    value = agent.target(batch.next_feature, torch.full((1, 12, 1, A), 1.0).tanh()).squeeze(-1).amin(0)
    torch.testing.assert_close(
        agent.backup(batch, torch.zeros(1, 12, A)), batch.reward + batch.discount * value, atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("chance", [0.0, 0.3, 0.7, 1.0])
def test_endings_are_drawn_by_their_probability(chance: float) -> None:
    agent = make_agent(POLICY, POLICY)
    buffer = ModelBuffer(2, 8000, F, A, CPU)
    rollout(Mortal(chance), agent, dataset(), buffer, rollout_batch_size=4000, rollout_length=2, generator=draws())
    ended = buffer.discount == 0.0
    assert bool((buffer.discount[~ended] == SMALL.gamma).all())
    torch.testing.assert_close(ended.float().mean(1), torch.full((2,), chance), rtol=0.0, atol=0.02)
    # what ended began anew, and nothing else did
    assert torch.equal(ended[:, :4000], buffer.feature[:, 4000:, 0] >= 0.0)
    if 0.0 < chance < 1.0:
        assert not torch.equal(ended[0], ended[1]) and not torch.equal(ended[:, :4000], ended[:, 4000:])
