"""Agents and datasets of a few numbers, for the tests of agents and of what they are fed."""

import dataclasses

import torch

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Batch
from latent_combo.agent.replay import EncodedDataset
from latent_combo.agent.settings import AgentConfig, NetworkConfig

F, A = 5, 2
CPU = torch.device("cpu")
SMALL = AgentConfig(
    network=NetworkConfig(hidden=16, layers=2),
    actor_network=NetworkConfig(hidden=16, layers=2),
    batch=12,
    num_sampled_actions=3,
)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dataset(episodes: int = 4, rows: int = 7, steps: int = 1, terminal: bool = False) -> EncodedDataset:
    """Features say their row; row t's action and reward are what led to it."""
    number = torch.arange(episodes * rows)
    return EncodedDataset.from_rows(
        feature=number.float()[None, :, None].expand(1, -1, F).contiguous(),
        action=number.float()[:, None].expand(-1, A) / 100.0,
        reward=number.float(),
        terminal=(number % rows == rows - 1).float() * terminal,
        is_first=number % rows == 0,
        config=dataclasses.replace(SMALL, target_steps=steps, gamma=0.5),
    )


def make_agent(*configs: AgentConfig) -> ConservativeActorCritic:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ConservativeActorCritic(list(configs), F, A, CPU)


def random_batch(stack: int, seed: int = 0) -> Batch:
    g = draws(seed)
    feature, following = (torch.randn(stack, 12, F, generator=g) for _ in range(2))
    real = (torch.arange(12) < 6).float().expand(stack, -1)
    action = torch.rand(stack, 12, A, generator=g) * 2 - 1
    return Batch(feature, action, torch.rand(stack, 12, generator=g), following, torch.full((stack, 12), 0.99), real)
