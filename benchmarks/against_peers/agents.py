"""Our agents, and what the peers' have in common with them: data, sizes and rates."""

import dataclasses
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from benchmarks.against_peers.contest import Runner
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.fit import AgentFit
from latent_combo.agent.replay import EncodedDataset
from latent_combo.agent.settings import AgentConfig, AgentFitConfig, NetworkConfig
from latent_combo.world_model.base import ModelStep, WorldModel

STATES, ACTIONS = 17, 6
"""Of halfcheetah."""
ROWS = 100_000
"""Of the dataset; an episode has 1,000."""
BATCH, HIDDEN, LAYERS, SAMPLED = 256, 256, 3, 10
DISCOUNT, TARGET_RATE = 0.99, 5e-3
ACTOR_RATE, CRITIC_RATE, ALPHA_RATE = 1e-4, 3e-4, 1e-4
THEIR_WEIGHT = 2.0
"""Of the conservative term, per unit of our beta: d3rlpy's and OfflineRL-Kit's squared errors have no 1/2."""
READY = 32
"""Batches of a peer that are prepared, and taken in turn."""
IMAGINED = 10_000
"""Transitions in the model buffer."""
FOREVER = 10**9
"""Updates of a schedule that a benchmark does not reach the end of."""


class StandStill:
    """All of a world model that rollouts ask for: states stay as they are, for no reward."""

    def imagine_step(self, feature: Tensor, action: Tensor, generator: torch.Generator) -> ModelStep:
        """See `WorldModel.imagine_step`."""
        nothing = feature.new_zeros(len(feature))
        return ModelStep(feature.clone(), nothing, nothing)


def columns(states: int) -> dict[str, np.ndarray]:
    """Rows of a dataset: `action` and `reward` are of the step from a row to the next."""
    rng = np.random.default_rng(0)
    return {
        "observation": rng.standard_normal((ROWS, states), dtype=np.float32),
        "action": rng.uniform(-1, 1, (ROWS, ACTIONS)).astype(np.float32),
        "reward": rng.standard_normal(ROWS, dtype=np.float32),
    }


def our_agents(rows: dict[str, np.ndarray], config: AgentConfig) -> Runner:
    """Updates of a stack; its model buffer, where it has one, is filled at the first step and never again."""
    torch.manual_seed(0)
    device = torch.device("cpu")
    states = rows["observation"].shape[1]
    agents = ConservativeActorCritic([config] * config.num_agents, states, ACTIONS, device)
    dataset = EncodedDataset.from_rows(
        feature=torch.from_numpy(rows["observation"])[None],
        action=torch.from_numpy(rows["action"]),
        reward=torch.from_numpy(rows["reward"]),
        terminal=torch.zeros(ROWS),
        is_first=torch.arange(ROWS) % 1000 == 0,
        config=config,
    )
    schedule = AgentFitConfig(
        updates=FOREVER,
        rollout_length=1,
        rollout_batch_size=IMAGINED,
        rollout_every=FOREVER,
        model_retain_rounds=1,
        evaluations=0,
    )
    model = cast(WorldModel, StandStill())
    fit = AgentFit(agents, model, dataset, schedule, torch.Generator().manual_seed(0))
    return Runner(lambda: fit.take_step(report=False), config.num_agents)  # as most of them are


def agent_config(**changes: Any) -> AgentConfig:
    """The sizes and rates that all share."""
    network = NetworkConfig(hidden=HIDDEN, layers=LAYERS)
    shared = AgentConfig(
        network=network, actor_network=network, num_sampled_actions=SAMPLED, batch=BATCH, gamma=DISCOUNT,
        tau=TARGET_RATE, actor_learning_rate=ACTOR_RATE, critic_learning_rate=CRITIC_RATE,
        alpha_learning_rate=ALPHA_RATE, initial_alpha=1.0,
    )  # fmt: skip
    return dataclasses.replace(shared, **changes)
