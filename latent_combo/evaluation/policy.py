"""A policy that can act: a filter, which is a world model's or a stack of frames, and the actors on top of it."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from combo_common.seeding import stream_seed
from latent_combo.world_model.base import Filter

BLOCK = 10
"""Episodes that are computed together, filled up with empty ones.

Products differ in their last bits with the number of rows, and elementwise functions with a row's place. An episode has
its place in a block of this size by its number alone, so that it is the same to the last bit whatever is played beside
it. The presets score 10 or 20 episodes, which are whole blocks.
"""


class Policy:
    """S agents, each playing E episodes side by side: filters what it sees, and acts by the policy's mode.

    An episode depends on the weights, the seed, its agent and its number alone, and not on how many are played at once.
    """

    def __init__(
        self, model: Filter, actor: nn.Module, stack: int, seed: int, sample: bool, first_agent: int = 0
    ) -> None:
        """Act by an actor of the filter's features, on samples of the latent, or on its mean: as it was trained.

        Each episode draws its samples from a stream of its own, which `seed`, agent and number decide. The actor's
        agents are numbered from `first_agent` on, where they are some of a larger stack.
        """
        self.model, self.actor, self.num_agents, self.seed, self.sample = model, actor, stack, seed, sample
        self.agents = range(first_agent, first_agent + stack)
        self.device = next(actor.parameters()).device
        self._blocks: list[_Block] = []

    def reset(self, episodes: int, first: int = 0) -> None:
        """Begin E episodes for each agent, which are numbered from `first` on."""
        numbers = range(first, first + episodes)
        self._blocks = [
            self._begin([number for number in numbers if number // BLOCK == block])
            for block in range(first // BLOCK, numbers[-1] // BLOCK + 1)
        ]

    def _begin(self, numbers: list[int]) -> "_Block":
        rows, model = self.num_agents * BLOCK, self.model
        streams = [
            [torch.Generator().manual_seed(stream_seed(self.seed, f"policy {agent}, {number}")) for number in numbers]
            for agent in self.agents
        ]
        place = numbers[0] % BLOCK
        return _Block(
            slice(place, place + len(numbers)),
            streams if self.sample else [],
            model.initial(rows, self.device),
            torch.zeros(rows, model.action_dim, device=self.device),
        )

    @torch.no_grad()
    def act(self, observation: Tensor, vector: Tensor | None = None) -> Tensor:
        """Observations (S, E, ...), and the vectors (S, E, V) beside images, to actions (S, E, A), on the CPU.

        Actions are in (-1, 1).
        """
        sizes = [block.places.stop - block.places.start for block in self._blocks]
        parts = observation.split(sizes, dim=1)
        vectors = [None] * len(sizes) if vector is None else vector.split(sizes, dim=1)
        acted = [self._act(*each) for each in zip(self._blocks, parts, vectors, strict=True)]
        return torch.cat(acted, 1)

    def restart(self, ended: Tensor) -> None:
        """Begin anew those of the E episodes where `ended` (E,) is true, for every agent; the others go on.

        Its stream of random numbers goes on, too.
        """
        parts = ended.split([block.places.stop - block.places.start for block in self._blocks])
        for block, part in zip(self._blocks, parts, strict=True):
            begun = torch.zeros(self.num_agents, BLOCK, dtype=torch.bool)
            begun[:, block.places] = part
            rows = begun.flatten().to(self.device)
            fresh = self.model.initial(len(rows), self.device)
            block.feature = torch.where(rows.view(-1, *[1] * (fresh.dim() - 1)), fresh, block.feature)
            block.action = torch.where(rows[:, None], 0.0, block.action)

    def _act(self, block: "_Block", observation: Tensor, vector: Tensor | None) -> Tensor:
        """The same for the episodes of one block."""
        flat = self._filled_up(block, observation)
        beside = None if vector is None else self._filled_up(block, vector)
        noise = block.draw(self.model.noise_dim).to(self.device) if self.sample else None
        block.feature = self.model.filter_step(block.feature, flat, block.action, noise, beside)
        action: Tensor = self.actor(rearrange(block.feature, "(s e) ... -> s e ...", s=self.num_agents)).mode
        block.action = rearrange(action, "s e a -> (s e) a")
        return action[:, block.places].cpu()

    def _filled_up(self, block: "_Block", seen: Tensor) -> Tensor:
        """What a block's episodes see (S, E', ...), with zeros in its empty places, (S * BLOCK, ...) on the device."""
        rows = seen.new_zeros(self.num_agents, BLOCK, *seen.shape[2:])
        rows[:, block.places] = seen
        return rearrange(rows, "s e ... -> (s e) ...").to(self.device)


@dataclass
class _Block:
    """What is known of the episodes of one block, (S * BLOCK, ...)."""

    places: slice
    """Those of the BLOCK places that are played; the others are empty."""
    streams: list[list[torch.Generator]]
    """Random numbers of each agent's episodes; on the CPU, so that they are the same on every device."""
    feature: Tensor
    action: Tensor
    """The last one taken."""

    def draw(self, size: int) -> Tensor:
        """Standard normal numbers (S * BLOCK, size), zeros in empty places."""
        noise = torch.zeros(len(self.streams), BLOCK, size)
        for agent, streams in enumerate(self.streams):
            for place, stream in enumerate(streams, self.places.start):
                noise[agent, place] = torch.randn(size, generator=stream)
        return noise.flatten(0, 1)
