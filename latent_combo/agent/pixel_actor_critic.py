"""The conservative actor-critic on frames: its encoder is trained end to end through the critics.

Symbols (docs/symbols.md): S, B, A; k frames of a stack, H, W, F numbers of an encoding.
"""

from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.agent_stack import in_one_vector
from latent_combo.agent.batch import Batch
from latent_combo.agent.encoder import EncodedActor, PixelEncoder, ProjectedActor, ProjectedCritic
from latent_combo.agent.settings import AgentConfig
from latent_combo.numerics.adam import StackedAdam
from latent_combo.numerics.finite import FiniteCheck


class PixelActorCritic(ConservativeActorCritic):
    """S conservative actor-critics with an encoder of their own each, whose batches are stacks of frames.

    As in DrQ-v2 (Yarats et al., 2022): the critics' loss alone trains the encoder, at their learning rate; targets are
    of the encoder as it is, without a gradient; critics and policy project its encodings by layers of their own.
    """

    encoder: PixelEncoder

    def __init__(self, configs: list[AgentConfig], image_size: int, action_dim: int, device: torch.device) -> None:
        encoder = PixelEncoder(len(configs), configs[0].encoder, image_size)
        super().__init__(configs, encoder.feature_dim, action_dim, device)
        self.image_size, self.encoder = image_size, encoder.to(device)
        self.encoder_weights = in_one_vector(self.encoder)
        self.averaged_encoder: PixelEncoder | None = None
        if self.averaged is not None:
            self.averaged_encoder = PixelEncoder(len(configs), configs[0].encoder, image_size).to(device)
            self.averaged_encoder.load_state_dict(self.encoder.state_dict())
            self.averaged_encoder.requires_grad_(False)
            self.averaged_encoder_weights = in_one_vector(self.averaged_encoder)
        rates = self.settings.critic_learning_rate
        self.encoder_optimiser = StackedAdam(list(self.encoder.parameters()), rates, self.encoder_weights)
        self.optimisers["encoder"] = self.encoder_optimiser
        own = [f"encoder.{name}" for name, _ in self.encoder.named_parameters()]
        names = {**self.finite.names, "critic": (*self.finite.names["critic"], *own)}
        self.finite = FiniteCheck("agent", names, device)

    def make_actor(self, feature_dim: int) -> ProjectedActor:
        """See `AgentStack.make_actor`."""
        config = self.config
        sizes = (feature_dim, self.action_dim, config.encoder.projection)
        return ProjectedActor(self.num_agents, config.actor_network, *sizes)

    def make_critic(self, feature_dim: int) -> ProjectedCritic:
        """See `AgentStack.make_critic`."""
        config = self.config
        sizes = (feature_dim, self.action_dim, config.encoder.projection)
        return ProjectedCritic(self.num_agents, config.network, *sizes)

    def one_of(self, config: AgentConfig) -> Self:
        """See `AgentStack.one_of`."""
        return type(self)([config], self.image_size, self.action_dim, self.critic_weights.device)

    def encode(self, seen: Tensor) -> Tensor:
        """Stacks of frames (S, B, k, H, W, 3) to encodings (S, B, F)."""
        encoding: Tensor = self.encoder(seen)
        return encoding

    def encoded(self, batch: Batch) -> Batch:
        """See `AgentStack.encoded`."""
        with torch.no_grad():
            following = self.encoder(batch.next_feature)
        return replace(batch, feature=self.encoder(batch.feature), next_feature=following)

    @property
    def critic_optimisers(self) -> tuple[StackedAdam, ...]:
        """See `AgentStack.critic_optimisers`."""
        return (self.critic_optimiser, self.encoder_optimiser)

    @property
    def averages(self) -> list[tuple[Tensor, Tensor]]:
        """See `AgentStack.averages`; an average of a policy acts on that of its encoder."""
        if self.averaged_encoder is None:
            return []
        return [*super().averages, (self.averaged_encoder_weights, self.encoder_weights)]

    @property
    def acting(self) -> EncodedActor:
        """The policy that acts in the environment, on stacks of frames."""
        if self.averaged is None or self.averaged_encoder is None:
            return EncodedActor(self.encoder, self.actor)
        return EncodedActor(self.averaged_encoder, self.averaged)
