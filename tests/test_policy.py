"""From observations to features to actions: the encoded dataset and the policy that acts online."""

import numpy as np
import pytest
import torch
from torch import Tensor
from toy_models import PartialWorldModel

from combo_common.seeding import stream_seed
from data.load import TrajectoryDataset
from latent_combo.agent.networks import Actor
from latent_combo.agent.settings import AgentConfig, NetworkConfig
from latent_combo.evaluation.policy import Policy
from latent_combo.latents.encode import encode_dataset
from latent_combo.latents.settings import EncodeConfig

A = 2
FIRST = 8
"""Number of the first of three episodes: the last is in another block."""
LENGTHS = (5, 3, 7)
"""Rows of three episodes."""


class Adder(PartialWorldModel):
    """A feature is the running sum of pixels, the last action, and a random number."""

    feature_dim, action_dim, noise_dim = 4, A, 1

    def filter_step(
        self, feature: Tensor, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None
    ) -> Tensor:
        seen = observation.float().mean((-3, -2, -1))[:, None]
        drawn = torch.zeros(len(action), 1) if noise is None else noise
        return torch.cat([feature[:, :1] + seen, action, drawn], 1)

    def encode(self, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None) -> Tensor:
        feature, features = torch.zeros(len(action), self.feature_dim), []
        for t in range(action.shape[1]):
            feature = self.filter_step(feature, observation[:, t], action[:, t], None if noise is None else noise[:, t])
            features.append(feature)
        return torch.stack(features, 1)


def decoded() -> TrajectoryDataset:
    """Row n is n everywhere; the second episode terminates, the others run out of time."""
    rows = sum(LENGTHS)
    number = np.arange(rows)
    starts = np.array([0, 5, 8])
    return TrajectoryDataset(
        observation=np.broadcast_to(number[:, None, None, None], (rows, 8, 8, 3)).astype(np.uint8),
        action=np.repeat(number[:, None], A, 1).astype(np.float32) / 100.0,
        reward=number.astype(np.float32),
        is_first=np.isin(number, starts),
        is_terminal=number == 7,
        lengths=np.array(LENGTHS),
    )


def test_episodes_of_unequal_length_are_encoded_each_from_its_own_start() -> None:
    data = encode_dataset(
        Adder(),
        decoded(),
        np.array([0, 1, 2]),
        EncodeConfig(num_encodings=2, episodes_at_once=2),
        AgentConfig(),
        torch.Generator(),
    )
    sums = np.concatenate([np.cumsum(np.arange(15)[a:b]) for a, b in ((0, 5), (5, 8), (8, 15))])
    for view in data.feature:
        np.testing.assert_allclose(view[:, 0].numpy(), sums)
        torch.testing.assert_close(view[:, 1:3], data.action)
    assert not torch.equal(data.feature[0, :, 3], data.feature[1, :, 3])  # each view has samples of its own
    assert data.source.tolist() == [0, 1, 2, 3, 5, 6, 8, 9, 10, 11, 12, 13]
    index = torch.arange(len(data.source))
    _, action, reward, following, discount = data.transitions(index, torch.zeros_like(index), data.td_returns)
    row = data.source + 1
    torch.testing.assert_close(action[:, 0], row / 100.0)
    torch.testing.assert_close(reward, row.float())
    torch.testing.assert_close(following, data.feature[0, row])
    torch.testing.assert_close(discount, torch.where(row == 7, 0.0, 0.99))


def test_some_episodes_are_encoded_as_they_are_among_all() -> None:
    some = encode_dataset(Adder(), decoded(), np.array([0, 2]), EncodeConfig(), AgentConfig(), torch.Generator())
    whole = encode_dataset(Adder(), decoded(), np.array([0, 1, 2]), EncodeConfig(), AgentConfig(), torch.Generator())
    kept = torch.cat([torch.arange(5), torch.arange(8, 15)])
    torch.testing.assert_close(some.feature[:, :, :3], whole.feature[:, kept, :3])
    assert some.td_returns.reward.tolist() == [1, 2, 3, 4, 9, 10, 11, 12, 13, 14]


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_it_does_not_matter_how_many_are_encoded_at_once(at_once: int) -> None:
    """Each episode has noise of its own; of another number of rows a product may round in another way."""
    expected, found = (
        encode_dataset(
            model, decoded(), np.array([0, 1, 2]), config, AgentConfig(), torch.Generator().manual_seed(3)
        ).feature
        for model in (Adder(),)
        for config in (EncodeConfig(num_encodings=2, random_shift=2, episodes_at_once=n) for n in (3, at_once))
    )
    torch.testing.assert_close(found, expected)
    assert len(expected[..., 3].unique()) == expected[..., 3].numel()  # no two rows share a number


def test_an_acting_policy_sees_the_features_that_encoding_gives() -> None:
    stack, episodes, steps = 2, 3, 4
    config = AgentConfig(actor_network=NetworkConfig(hidden=8, layers=2))
    torch.manual_seed(0)
    actor = Actor(stack, config.actor_network, Adder.feature_dim, A)
    policy = Policy(Adder(), actor, stack, seed=0, sample=True)
    observations = torch.randint(
        256, (steps, stack, episodes, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    for _ in range(2):  # a second score begins anew
        policy.reset(episodes, FIRST)
        taken = torch.stack([policy.act(seen) for seen in observations])  # (T, S, E, A)
    led = torch.cat([torch.zeros(1, stack, episodes, A), taken[:-1]])  # Dreamer indexing
    for agent in range(stack):
        for episode in range(episodes):
            feature = Adder().encode(
                observations[:, agent, episode][None], led[:, agent, episode][None], torch.zeros(1, steps, 1)
            )[0]
            own = Actor(1, config.actor_network, Adder.feature_dim, A)
            own.load_state_dict({name: value[agent : agent + 1] for name, value in actor.state_dict().items()})
            expected = own(with_noise_of(feature, agent, episode)[None]).mode[0]
            torch.testing.assert_close(taken[:, agent, episode], expected)


def test_without_samples_encoding_and_acting_take_the_mean() -> None:
    data = encode_dataset(
        Adder(), decoded(), np.array([0, 2]), EncodeConfig(sample=False), AgentConfig(), torch.Generator()
    )
    assert not bool(data.feature[..., 3].any()) and bool(data.feature[..., 0].any())
    policy = Policy(Adder(), Actor(1, NetworkConfig(hidden=8), 4, A), 1, seed=0, sample=False)
    policy.reset(2)
    policy.act(torch.ones(1, 2, 8, 8, 3, dtype=torch.uint8))
    (block,) = policy._blocks
    assert not bool(block.feature[:, 3].any()) and bool(block.feature[block.places, 0].all())


def with_noise_of(feature: Tensor, agent: int, episode: int) -> Tensor:
    """The feature with the random numbers of an episode's own stream."""
    stream = torch.Generator().manual_seed(stream_seed(0, f"policy {agent}, {FIRST + episode}"))
    drawn = torch.stack([torch.randn(1, generator=stream) for _ in feature])
    return torch.cat([feature[:, :3], drawn], 1)
