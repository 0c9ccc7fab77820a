"""A run from Python: its settings, its world model, its agents, and what it came to."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from combo_common.errors import UserError
from combo_common.paths import given_path
from data.dataset import TrajectoryDataset
from data.load import load
from data.split import split_episodes
from envs.task import Task
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.encoder import EncodedActor
from latent_combo.agent.frames import FrameStack
from latent_combo.agent.networks import Actor
from latent_combo.api.policy import NumpyPolicy, SeenVectors
from latent_combo.config.schema import Config
from latent_combo.evaluation.policy import Policy
from latent_combo.evaluation.result import Result
from latent_combo.pipeline import load_run as pipeline
from latent_combo.pipeline.build import choose_device
from latent_combo.pipeline.same_data import require_same_data
from latent_combo.world_model.base import WorldModel


@dataclass(frozen=True)
class Run:
    """A finished run, or one on its way, with its trained weights."""

    folder: Path
    config: Config = field(repr=False)
    task: Task = field(repr=False)
    trained: pipeline.Run = field(repr=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return choose_device(self.config.device)

    @property
    def world_model(self) -> WorldModel:
        """The world model. Raises UserError for a run of an algorithm that has none."""
        return self.trained.world_model

    @property
    def agents(self) -> ConservativeActorCritic:
        """The stack of agents. Raises UserError if none was trained yet."""
        self.trained.policy(self.config.seed)  # which raises, with the remedy
        assert self.trained.agent is not None
        return self.trained.agent

    @property
    def result(self) -> Result | None:
        """What the run came to; None before the run's end. Raises UserError where it can't be read."""
        return Result.read(self.folder)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(H, W, 3) of images, or (S,) of vectors."""
        if self.config.observation_spec.pixels:
            side = self.config.rssm.conv.image_size
            return side, side, 3
        return (self.task.state_dim,)

    @property
    def vectors(self) -> SeenVectors | None:
        """What is seen beside images; None where that is nothing."""
        indices = self.task.vector_indices(self.config.observation_spec.vectors)
        return SeenVectors(self.task.state_names, indices) if indices else None

    @property
    def selected(self) -> int:
        """The agent that the offline rule chose at the run's end (`select`), or else the first, 0."""
        result = self.result if self.config.select else None
        return 0 if result is None or result.selected is None else result.selected

    def policy(self, agent: int | None = None, seed: int | None = None) -> NumpyPolicy:
        """The policy of one agent of the stack, for environments; None: of the `selected` one.

        `seed` is of the latents' noise (None: the run's own, as evaluation has it). Raises UserError for a run without
        agents, and for an agent that is not there.
        """
        agent = self.selected if agent is None else agent
        actor, of = self.actor(agent), self.config.seed if seed is None else seed
        single = Policy(self.trained.filter, actor, 1, of, self.config.encode.sample, first_agent=agent)
        return NumpyPolicy(single, self.observation_shape, self.vectors)

    def actor(self, agent: int | None = None) -> nn.Module:
        """The network of one agent's policy; None: of the `selected` one.

        It is on features (1, B, F), or on stacked frames (1, B, k, H, W, 3) uint8 where there is no world model.

        Raises UserError for one that is not there.
        """
        stack = self.agents
        agent = self.selected if agent is None else agent
        if not 0 <= agent < stack.num_agents:
            raise UserError(f"agent is {agent}, but {self.folder} has agents 0 to {stack.num_agents - 1}")
        weights = {name: tensor[agent : agent + 1] for name, tensor in stack.acting.state_dict().items()}
        sizes, model = stack.config.actor_network, self.trained.filter
        actor: nn.Module
        with torch.device("meta"):
            if isinstance(model, FrameStack):
                side = self.config.rssm.conv.image_size
                actor = EncodedActor.of(1, stack.config.encoder, sizes, side, stack.action_dim)
            else:
                actor = Actor(1, sizes, model.feature_dim, stack.action_dim)
        actor.load_state_dict(weights, assign=True)
        return actor.requires_grad_(False)

    def action(self, feature: Tensor, agent: int | None = None) -> Tensor:
        """The most likely actions (N, A) of an agent, or of the `selected` one, in features (N, F).

        Without a world model they are stacked frames (N, k, H, W, 3) uint8.
        """
        mode: Tensor = self.actor(agent)(feature[None]).mode[0]
        return mode

    def dataset(self) -> TrajectoryDataset:
        """The dataset that the run was trained on. Raises UserError where it is not here any more, or was replaced."""
        config = self.config
        data = load(
            config.dataset,
            self.task,
            config.observation_spec,
            config.data_folder,
            "memmap",
            skip_corrupt=config.skip_corrupt,
        )
        require_same_data(self.folder, config, data)
        return data

    def held_out(self, dataset: TrajectoryDataset) -> NDArray[np.int64]:
        """Which episodes of its dataset the run was not trained on."""
        return split_episodes(len(dataset.lengths), self.config.validation_fraction, self.config.seed_of_split)[1]


def load_run(path: str | Path, task: str | None = None) -> Run:
    """Read a run's folder.

    `task` names its task, such as my_module:TASK, where that is neither registered here nor named so in the run's own
    settings. Raises UserError where it is no run, has no world model yet, or is of another task.
    """
    folder = given_path(path)
    trained = pipeline.load_run(folder, task)
    return Run(folder, trained.config, trained.task, trained)
