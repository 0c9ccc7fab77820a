"""A finished or half-trained run, read back from its folder."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from combo_common.commands import command
from combo_common.errors import UserError
from envs.registry import get_task
from envs.task import Task
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.config.saved import load_config
from latent_combo.config.schema import Config
from latent_combo.evaluation.policy import Policy
from latent_combo.pipeline.build import build_agent, build_world_model, choose_device, use
from latent_combo.runtime import checkpoint
from latent_combo.runtime.run_folder import AGENT, WORLD_MODEL
from latent_combo.world_model.base import WorldModel


@dataclass(frozen=True)
class Run:
    """A run's parts, with their trained weights."""

    config: Config
    task: Task
    world_model: WorldModel
    agent: ConservativeActorCritic | None
    """None before the agent's first checkpoint."""
    model_step: int
    """Steps that the world model was fitted for."""
    agent_step: int
    """Updates of the agent; 0 where there is none."""

    def policy(self, seed: int) -> Policy:
        """The policy of all agents. Raises UserError if none was trained yet."""
        if self.agent is None:
            raise UserError(
                f"{self.config.out} has no agent yet; finish it with: {command('train', '--resume', self.config.out)}"
            )
        return Policy(self.world_model, self.agent.acting, self.agent.num_agents, seed, self.config.encode.sample)


def load_run(folder: Path) -> Run:
    """Read a run's config and last checkpoints. Raises UserError if it has none."""
    config = load_config(folder)
    task = get_task(config.task)
    device = choose_device(config.device)
    use(config, device)
    world_model = build_world_model(config, task, device)
    if not (folder / WORLD_MODEL).exists():
        raise UserError(f"{folder} has no world model yet; go on with: {command('train', '--resume', folder)}")
    model_step = _load(world_model, folder / WORLD_MODEL, "model", device)
    world_model.requires_grad_(False)
    agent, agent_step = None, 0
    if (folder / AGENT).exists():
        agent = build_agent(config, task, world_model.feature_dim, device)
        agent_step = _load(agent, folder / AGENT, "agent", device)
    return Run(config, task, world_model, agent, model_step, agent_step)


def _load(network: nn.Module, path: Path, part: str, device: torch.device) -> int:
    """Put a checkpoint's weights into a network, and return the step that they are of."""
    state = checkpoint.load(path, device)
    try:
        network.load_state_dict(state["fit"][part])
        return int(state["fit"]["step"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise UserError(
            f"{path} is not of this version of the program, or not of this run's config.yaml; train it anew"
        ) from error
