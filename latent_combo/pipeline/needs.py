"""What a run is going to need of memory and of the disk, estimated before it starts, beside what is free."""

import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from combo_common.errors import UserError
from combo_common.files import in_units
from combo_common.memory import free_memory, whole_memory
from data.dataset import TrajectoryDataset
from envs.task import Task
from latent_combo.agent.settings import AgentConfig, NetworkConfig, one
from latent_combo.config.schema import Config
from latent_combo.latents.feed import fits_on_device
from latent_combo.pipeline.build import build_world_model
from latent_combo.world_model.conv_shapes import decoded_size, encoded_size

FLOAT = 4
"""Bytes."""
WITH_OPTIMISER = 4
"""Copies of weights that are trained: themselves, gradients and Adam's two means."""
SAVED = 3
"""Of these, in a checkpoint."""
CRITICS, TARGETS = 2, 2
PER_MAP = 2.0
"""Times the size of all convolutions' outputs that a step takes at its peak; measured: 1.3 to 1.8."""
WORKER = 150e6
"""Bytes of a process that plays episodes, with its first environment; measured: 70 MB without pictures."""
COPY = {"dm_control": 15e6}
"""Bytes of one more environment, by simulator; measured."""
OTHER_COPY = 1e6
"""Of others: Gymnasium's robots take 0.4 MB."""
RENDERER = 140e6
"""Bytes of the first that draws."""
PRODUCTS = 50e6
"""Bytes of a run's clips, pictures, events and report, about."""


@dataclass(frozen=True)
class Part:
    """Something that takes room."""

    name: str
    size: float
    """Bytes."""
    setting: str
    """What makes it smaller."""
    certain: bool = False
    """Whether it is known to the byte, and not estimated."""


@dataclass(frozen=True)
class Place:
    """Where parts take room."""

    name: str
    free: float
    """Bytes that can be had now."""
    whole: float
    """Bytes that can be had if nothing else takes any."""
    parts: Sequence[Part]
    where: str = ""
    """For people, beside the name."""

    @property
    def needed(self) -> float:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)

    def line(self) -> str:
        """What is needed, of what, and what is free, for people."""
        large = sorted(self.parts, key=lambda part: -part.size)[:4]
        said = ", ".join(f"{part.name} {in_units(part.size)}" for part in large if part.size >= 0.05 * self.needed)
        return f"{in_units(self.needed)} of {self.name} ({said}), {in_units(self.free)} free"

    def check(self) -> None:
        """Print a warning where it may not fit. Raises UserError where it certainly can't."""
        certain = [part for part in self.parts if part.certain]
        largest = max(self.parts, key=lambda part: part.size)
        if sum(part.size for part in certain) > self.whole:
            largest = max(certain, key=lambda part: part.size)
            raise UserError(
                f"{in_units(largest.size)} are needed for {largest.name}, and there are {in_units(self.whole)} of "
                f"{self.name}{self.where}; {largest.setting}"
            )
        if self.needed > self.free:
            print(
                f"warning: this run may need more {self.name} than is free ({in_units(self.needed)} of "
                f"{in_units(self.free)}); most is for {largest.name}: {largest.setting}",
                file=sys.stderr,
                flush=True,
            )


def check_needs(config: Config, task: Task, data: TrajectoryDataset, device: torch.device, out: Path) -> None:
    """Say what a run needs, and check it; the data are loaded. Raises UserError where it certainly can't fit."""
    places = [*memories(config, task, data, device), disk(config, task, out)]
    print(f"needs         {'; '.join(place.line() for place in places if place.parts)}", flush=True)
    for place in places:
        if place.parts:
            place.check()


def memories(config: Config, task: Task, data: TrajectoryDataset, device: torch.device) -> list[Place]:
    """What is needed of the machine's memory and, where there is one, of the GPU's."""
    trained, played = _trained(config, task, data), _played(config, task)
    host = Place("memory", free_memory(), whole_memory(), [*played] if device.type == "cuda" else [*trained, *played])
    if device.type != "cuda":
        return [host]
    free, whole = torch.cuda.mem_get_info(device)
    if fits_on_device(data, device):
        images = Part("images on the GPU", data.observation.nbytes, "lower --rssm.conv.image_size")
        trained = [*trained, images]
    return [host, Place("GPU memory", free, whole, trained)]


def disk(config: Config, task: Task, out: Path) -> Place:
    """What the run's folder needs; the next checkpoint is written before the one before is removed."""
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    free = float("inf")
    with suppress(OSError):
        free = float(shutil.disk_usage(there).free)
    model, _ = _model(config, task)
    agents: float = SAVED * _agents(config.agent, *_dims(config, task))
    agents += sum(part.size for part in _imagined(config, task))
    kept = config.keep_checkpoints + 1
    sized = "lower the sizes of the world model (--rssm, --ensemble)"
    parts = [
        Part("checkpoints of the world model", kept * SAVED * model, sized, certain=True),
        Part("checkpoints of agents", kept * agents, "lower --keep-checkpoints or --agent.num_agents"),
        Part("clips, pictures and events", PRODUCTS, "set --views.every 0"),
    ]
    return Place("disk", free, free, [part for part in parts if part.size], f" free at {there}")


def _trained(config: Config, task: Task, data: TrajectoryDataset) -> list[Part]:
    """What is trained takes, on whichever device, beside the data."""
    model, feature_dim = _model(config, task)
    agent = config.agent
    parts = [
        Part("the world model", WITH_OPTIMISER * model, "lower the sizes of the world model (--rssm, --ensemble)"),
        Part(
            "agents",
            WITH_OPTIMISER * _agents(agent, *_dims(config, task)),
            "lower --agent.num_agents or --agent.network.hidden",
        ),
    ]
    if config.has_world_model and config.observation_spec.pixels and config.world_model is None:
        images = config.world_model_fit.batch * config.world_model_fit.length
        size = images * _maps(config) * FLOAT * PER_MAP
        lower = "lower --world_model_fit.batch or --world_model_fit.length"
        parts.append(Part("a step of the world model", size, lower))
    if config.has_world_model:
        encoded = config.encode.num_encodings * len(data.action) * feature_dim * FLOAT
        parts.append(Part("the encoded data", encoded, "lower --encode.num_encodings", certain=True))
        parts += _imagined(config, task)
    elif config.observation_spec.pixels:
        parts.append(Part("frames", data.observation.nbytes, "lower --rssm.conv.image_size", certain=True))
    copied = SAVED * max(model, _agents(agent, *_dims(config, task))) + sum(
        part.size for part in _imagined(config, task)
    )
    parts.append(Part("a checkpoint that is being written", copied, "lower --agent.num_agents"))
    return [part for part in parts if part.size]


def _imagined(config: Config, task: Task) -> list[Part]:
    """The model's transitions that agents keep."""
    agent = config.agent
    if not config.has_world_model or all(one(member.real_ratio) >= 1.0 for member in agent.members()):
        return []
    row = 2 * _model(config, task)[1] + task.action_dim + 2
    size = agent.num_agents * config.agent_fit.buffer_capacity * row * FLOAT
    lower = "lower --agent_fit.rollout_batch_size, --agent_fit.model_retain_rounds or --agent.num_agents"
    return [Part("what agents imagine", size, lower, certain=True)]


def _played(config: Config, task: Task) -> list[Part]:
    """What the environments take that score the agents."""
    score, pixels = config.score, config.observation_spec.pixels
    if not score.episodes:
        return []
    copies, processes = config.agent.num_agents * score.most_episodes, score.processes
    each = COPY.get(task.simulator, OTHER_COPY)
    size = copies * each + processes * (WORKER * (processes > 1) + RENDERER * pixels)
    return [Part("environments", size, "lower --score.episodes, --score.processes or --agent.num_agents")]


def _model(config: Config, task: Task) -> tuple[int, int]:
    """Bytes of a world model's weights, and the width of its features; 0 where there is none."""
    if not config.has_world_model:
        return 0, 0
    with torch.device("meta"):  # which takes no memory
        model = build_world_model(config, task, torch.device("meta"))
    return FLOAT * sum(tensor.numel() for tensor in model.state_dict().values()), model.feature_dim


def _dims(config: Config, task: Task) -> tuple[int, int]:
    """What agents are given: numbers of a feature and of an action."""
    width = _model(config, task)[1] if config.has_world_model else config.agent.encoder.projection
    return width, task.action_dim


def _agents(agent: AgentConfig, width: int, action_dim: int) -> int:
    """Bytes of the weights of a stack of agents, about: critics, their targets, and policies."""

    def network(sizes: NetworkConfig, given: int, out: int) -> int:
        widths = [given, *[sizes.hidden] * sizes.layers, out]
        return sum((before + 1) * after for before, after in pairwise(widths))

    critics = (CRITICS + TARGETS) * network(agent.network, width + action_dim, 1)
    return FLOAT * agent.num_agents * (critics + network(agent.actor_network, width, 2 * action_dim))


def _maps(config: Config) -> int:
    """Numbers in the maps of all convolutions, of one image."""
    conv = config.rssm.conv
    sides = [encoded_size(conv.image_size, layer + 1) for layer in range(len(conv.encoder_channels))]
    drawn = [decoded_size(conv.decoder_kernels[: layer + 1]) for layer in range(len(conv.decoder_kernels))]
    channels = [*conv.encoder_channels, *conv.decoder_channels, 3]
    return int(np.dot(np.square([*sides, *drawn]), channels))
