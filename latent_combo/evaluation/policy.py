"""A policy that can act: the world model's filter, and the actors on top of it."""

import torch
from einops import rearrange
from torch import Tensor

from latent_combo.agent.networks import Actor
from latent_combo.world_model.base import WorldModel


class Policy:
    """S agents, each playing E episodes side by side: filters what it sees, and acts by the policy's mode."""

    def __init__(self, model: WorldModel, actor: Actor, stack: int, generator: torch.Generator, sample: bool) -> None:
        """Act on samples of the latent, or on its mean: as the actor was trained (`EncodeConfig.sample`)."""
        self.model, self.actor, self.stack, self.generator, self.sample = model, actor, stack, generator, sample
        self._feature = torch.empty(0)
        self._action = torch.empty(0)

    def reset(self, episodes: int) -> None:
        """Begin E episodes for each agent."""
        device, count = self.generator.device, self.stack * episodes
        self._feature = torch.zeros(count, self.model.feature_dim, device=device)
        self._action = torch.zeros(count, self.model.action_dim, device=device)

    @torch.no_grad()
    def act(self, observation: Tensor) -> Tensor:
        """Observations (S, E, ...) to actions (S, E, A) in (-1, 1)."""
        flat = rearrange(observation, "s e ... -> (s e) ...").to(self.generator.device)
        draws = self.generator if self.sample else None
        self._feature = self.model.filter_step(self._feature, flat, self._action, draws)
        action: Tensor = self.actor(rearrange(self._feature, "(s e) f -> s e f", s=self.stack)).mode
        self._action = rearrange(action, "s e a -> (s e) a")
        return action.cpu()

    def restart(self, ended: Tensor) -> None:
        """Begin anew those of the E episodes where `ended` (E,) is true, for every agent; the others go on."""
        kept = (~ended).float().repeat(self.stack)[:, None].to(self.generator.device)
        self._feature, self._action = self._feature * kept, self._action * kept
