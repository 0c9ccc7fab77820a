"""A finished or half-trained run, read back from its folder."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from combo_common.errors import UserError
from envs.registry import get_task, names_module, require_trusted, told_task, whole_name
from envs.task import Task
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.frames import FrameStack
from latent_combo.config.saved import load_config
from latent_combo.config.schema import Config
from latent_combo.evaluation.policy import Policy
from latent_combo.evaluation.result import Result
from latent_combo.numerics.allocation import BoundedAllocation, TooLargeError
from latent_combo.pipeline.build import build_agent, build_frame_stack, build_world_model, choose_device, use
from latent_combo.runtime import checkpoint
from latent_combo.runtime.run_command import run_command
from latent_combo.runtime.run_folder import AGENT, WORLD_MODEL
from latent_combo.world_model.base import WorldModel

PARTS = {Path(WORLD_MODEL).name: "model", Path(AGENT).name: "agent"}
"""What checkpoints have the weights under."""
BESIDE, SPARE = 20, 1 << 26
"""How many times the bytes of its weights a network takes while it is built: targets, averages, optimisers, what is
drawn for them; and bytes beyond that."""
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Run:
    """A run's parts, with their trained weights."""

    config: Config
    task: Task
    filter: WorldModel | FrameStack
    """What the agents' features are of: the world model, or stacked frames where the algorithm has none."""
    agent: ConservativeActorCritic | None
    """None before the agent's first checkpoint."""
    model_step: int
    """Steps that the world model was fitted for; 0 where there is none."""
    agent_step: int
    """Updates of the agent; 0 where there is none."""
    first_agent: int = 0
    """Number of the first agent; above 0 where others of its stack are left out."""

    @property
    def world_model(self) -> WorldModel:
        """The world model. Raises UserError for a run of an algorithm that has none."""
        if isinstance(self.filter, FrameStack):
            raise UserError(f"{self.config.out} is a run of {self.config.algorithm}, which has no world model")
        return self.filter

    def policy(self, seed: int) -> Policy:
        """The policy of all agents. Raises UserError if none was trained yet."""
        if self.agent is None:
            finish = run_command("train", self.config.out, self.config.task)
            raise UserError(f"{self.config.out} has no agent yet; finish it with: {finish}")
        stack, sample = self.agent.num_agents, self.config.encode.sample
        return Policy(self.filter, self.agent.acting, stack, seed, sample, self.first_agent)

    def with_selected(self, result: Result | None) -> "Run":
        """The same with the agent alone that the offline rule chose, by the run's result; as it is without a choice."""
        if self.agent is None or result is None or result.selected is None:
            return self
        own = self.config.agent.members()[result.selected]
        return replace(self, agent=self.agent.alone(result.selected, own), first_agent=result.selected)


def load_run(folder: Path, named: str | None = None) -> Run:
    """Read a run's config and last checkpoints.

    `named` is the run's task as a user names it, my_module:TASK, where it was registered in another process alone, or
    its module has moved; None: as the run's settings name it. Raises UserError if the folder has no world model, for a
    task that is not known here, and for another task than the run's, by its name or by the sizes of its spaces.
    """
    config = load_config(folder)
    task = _task(folder, config, named)
    if named is not None:
        config = replace(config, task=named)
    device = choose_device(config.device)
    use(config, device)
    filtering, model_step = _filter(folder, config, task, device)
    agent, agent_step = None, 0
    if checkpoint.exists(folder / AGENT):
        agent, agent_step = _loaded(lambda on: build_agent(config, task, filtering, on), folder / AGENT, task, device)
    return Run(config, task, filtering, agent, model_step, agent_step)


def _filter(folder: Path, config: Config, task: Task, device: torch.device) -> tuple[WorldModel | FrameStack, int]:
    """The world model of a run and the step that it is of, or stacked frames in its place."""
    if not config.has_world_model:
        return build_frame_stack(config, task), 0
    path = folder / WORLD_MODEL
    if not checkpoint.exists(path):
        raise UserError(f"{folder} has no world model yet; go on with: {run_command('train', folder, config.task)}")
    world_model, model_step = _loaded(lambda on: build_world_model(config, task, on), path, task, device)
    return world_model.requires_grad_(False), model_step


def _task(folder: Path, config: Config, named: str | None) -> Task:
    """A run's task; a module is imported only as a user names it. Raises UserError for another task."""
    if named is None:
        require_trusted(config.task, str(folder))
        return get_task(config.task) if names_module(config.task) else told_task(config.task, str(folder))
    task = get_task(named)
    own = _name_in_result(folder) if names_module(config.task) else config.task
    if own not in (None, task.name) and config.task != named:
        raise UserError(f"task is {task.name}, but the run {folder} is of {own}; name that task, or another run")
    return task


def _name_in_result(folder: Path) -> str | None:
    """What a run's task calls itself; None where the run is not finished, or its result can't be read."""
    try:
        result = Result.read(folder)
    except UserError:
        return None
    return None if result is None else whole_name(result.task)


def _loaded(
    build: Callable[[torch.device], Network], path: Path, task: Task, device: torch.device
) -> tuple[Network, int]:
    """A network with a checkpoint's weights, and the step that they are of; `build` makes it on a device.

    Raises UserError where it is not the checkpoint's: that is seen before memory is taken for it.
    """
    part = PARTS[path.name]
    state = checkpoint.load(path, device, skip=("fit/optimiser", "fit/optimisers", "fit/buffer"))
    try:
        weights = state["fit"][part]
        size = sum(tensor.numel() for tensor in weights.values())
        with BoundedAllocation(SPARE + BESIDE * 4 * size):  # whatever sizes the settings name
            network = build(device)
        due = {name: tensor.shape for name, tensor in network.state_dict().items()}
        other = next((name for name in due if weights[name].shape != due[name]), None)
        if other is not None and weights.keys() == due.keys():
            raise UserError(
                f"{path} is not of this version of the program, not of this run's config.yaml, or not of the task "
                f"{task.name} as it is here, of {task.action_dim} actions and {task.state_dim} observed numbers: "
                f"{other} is {tuple(weights[other].shape)}, not {tuple(due[other])}; mend them, or name the task that "
                "it was trained on with --task"
            )
        if weights.keys() != due.keys():
            raise KeyError("other weights")
        network.load_state_dict(weights)
        return network, int(state["fit"]["step"])
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError, TooLargeError) as error:
        raise UserError(
            f"{path} is not of this version of the program, or not of this run's config.yaml; train it anew"
        ) from error
