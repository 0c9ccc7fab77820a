"""The product's phases on the tiny MDP: the ensemble fitted to its data, and an algorithm's agents trained on both."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.tiny_mdp import mdp
from combo_common.seeding import generator, numpy_generator
from envs.task import Task
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.algorithms import ALGORITHMS
from latent_combo.agent.replay import EncodedDataset
from latent_combo.api.settings import make_config
from latent_combo.config.schema import Config
from latent_combo.pipeline.agent_phase import begin
from latent_combo.pipeline.build import build_agent, build_world_model
from latent_combo.world_model.base import Segment, WorldModel
from latent_combo.world_model.fit import Fit
from latent_combo.world_model.normaliser import Normaliser

CPU = torch.device("cpu")
EPISODES, MODEL_STEPS, MODEL_BATCH = 200, 1000, 192
TASK = Task("tiny-mdp", "benchmarks.tiny_mdp.mdp:step", mdp.HORIZON, 1, 1, termination="none")
NETWORK = {"hidden": 32, "layers": 2}
AGENT: dict[str, Any] = {
    "network": NETWORK, "actor_network": NETWORK, "batch": 64, "num_sampled_actions": 4, "gamma": mdp.GAMMA,
    "tau": 0.01, "scale_values": True, "critic_learning_rate": 1e-3, "actor_learning_rate": 1e-3,
    "alpha_learning_rate": 1e-3, "initial_alpha": 0.1, "target_entropy": None, "entropy_in_target": False,
    "beta": 1.0, "real_ratio": 0.5, "penalty_states": "mix", "rollout_actions": "uniform",
}  # fmt: skip
"""What an algorithm leaves open: the paper's for images, at toy sizes."""


def config_of(algorithm: str, seeds: int, updates: int, beta: float = 1.0) -> Config:
    """Settings through the layers of a command line. Raises UserError for an algorithm that does not suit states."""
    known = ALGORITHMS.get(algorithm)
    own = {**known.settings, **known.defaults} if known else {}
    agent = {name: value for name, value in {**AGENT, "beta": beta, "num_agents": seeds}.items() if name not in own}
    fit = {"updates": updates, "rollout_length": 5, "rollout_batch_size": 200, "rollout_every": 100}
    ensemble = {"members": 3, "elites": 2, "hidden": 32, "weight_decay": [1e-5, 1e-5, 1e-5]}
    model_fit = {"steps": MODEL_STEPS, "batch": MODEL_BATCH, "length": 2, "learning_rate": 2e-3}
    return make_config(
        obs="state", preset="paper", algorithm=algorithm, agent=agent, agent_fit=fit, ensemble=ensemble,
        world_model_fit={**model_fit, "final_learning_rate": 0.1},
    )  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """The data as columns (E, HORIZON + 1) float32, in Dreamer indexing."""

    place: Tensor
    action: Tensor
    reward: Tensor

    @classmethod
    def collect(cls, seed: int) -> "Rows":
        """What the behaviour did in EPISODES episodes."""
        columns = mdp.collect(numpy_generator(seed, "tiny data"), EPISODES)
        return cls(*(torch.from_numpy(column).float() for column in columns))

    def normaliser(self) -> Normaliser:
        """Their units."""
        before, after, reward = self.place[:, :-1], self.place[:, 1:], self.reward[:, 1:]
        return Normaliser.of(before.reshape(-1, 1), after.reshape(-1, 1), reward.flatten())

    def segments(self, count: int, draws: torch.Generator) -> Segment:
        """`count` transitions, drawn uniformly."""
        episode = torch.randint(len(self.place), (count,), generator=draws)
        row = torch.randint(mdp.HORIZON, (count,), generator=draws)
        place, action, reward = (
            torch.stack([column[episode, row], column[episode, row + 1]], 1)
            for column in (self.place, self.action, self.reward)
        )
        neither = torch.zeros(count, 2, dtype=torch.bool)
        return Segment(place[..., None], action[..., None], reward, neither, neither)


def fit_model(rows: Rows, config: Config) -> WorldModel:
    """The ensemble, fitted and frozen."""
    model, draws = build_world_model(config, TASK, CPU), generator(config.seed, CPU, "world model")
    model.set_normaliser(rows.normaliser)
    for _ in Fit(model, config.world_model_fit, lambda: rows.segments(MODEL_BATCH, draws), draws):
        pass
    return model.requires_grad_(False)


def features(model: WorldModel, place: Tensor) -> Tensor:
    """Places (N,) as the model's features (N, 1)."""
    return model.encode(place[None, :, None], torch.zeros(1, len(place), 1), None)[0]


def train(config: Config, rows: Rows, model: WorldModel) -> ConservativeActorCritic:
    """Algorithm 1's second phase, for a stack of agents."""
    first = torch.zeros(rows.place.shape, dtype=torch.bool)
    first[:, 0] = True
    dataset = EncodedDataset.from_rows(
        features(model, rows.place.flatten())[None], rows.action.reshape(-1, 1), rows.reward.flatten(),
        torch.zeros(rows.place.numel()), first.flatten(), config.agent,
    )  # fmt: skip
    agent = build_agent(config, TASK, model, CPU)
    for _ in begin(config, agent, model, dataset, CPU):
        pass
    return agent


@dataclass(frozen=True)
class Outcome:
    """One agent, from the start places: discounted, in units of the reward."""

    algorithm: str
    seed: int
    value: float
    """Mean of min_i Q_i(s, a) at the policy's own actions."""
    achieved: float
    """Mean of the policy's true return."""
    reach: float
    """Largest size of an action that the policy takes within an episode; more than LIMIT slips."""

    @property
    def overestimation(self) -> float:
        """The value less the true return."""
        return self.value - self.achieved


@torch.no_grad()
def outcomes(algorithm: str, agent: ConservativeActorCritic, model: WorldModel) -> list[Outcome]:
    """What each agent of a stack thinks of its policy, and what the policy is worth."""

    def stacked(place: mdp.Array) -> Tensor:
        return features(model, torch.from_numpy(place).float()).expand(agent.num_agents, -1, -1)

    action = agent.acting(stacked(mdp.STARTS)).mode
    value = agent.critic(stacked(mdp.STARTS), action[:, :, None]).squeeze(-1).amin(0)  # (S, N)
    found = []
    for seed in range(agent.num_agents):

        def policy(place: mdp.Array, seed: int = seed) -> mdp.Array:
            mode: Tensor = agent.acting(stacked(place)).mode
            return np.asarray(mode[seed, :, 0].double())

        place, reach = mdp.STARTS, 0.0
        for _ in range(mdp.HORIZON):
            reach = max(reach, float(np.abs(policy(place)).max()))
            place, _ = mdp.step(place, policy(place))
        achieved = float(mdp.true_return(policy).mean())
        found.append(Outcome(algorithm, seed, float(value[seed].mean()), achieved, reach))
    return found
