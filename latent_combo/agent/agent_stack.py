"""What a stack of agents consists of: networks, targets, averages, temperatures, and their optimisers.

Symbols (docs/symbols.md): S, B, F, A.
"""

from typing import Self

import torch
from torch import Tensor, nn

from latent_combo.agent.batch import Batch
from latent_combo.agent.extractions.known import EXTRACTIONS
from latent_combo.agent.imagination import Imagination
from latent_combo.agent.networks import Actor, TwinCritic
from latent_combo.agent.settings import AgentConfig, one, real_rows
from latent_combo.agent.stack import AgentSettings, penalised_rows
from latent_combo.numerics.adam import StackedAdam
from latent_combo.numerics.finite import FiniteCheck


def in_one_vector(network: nn.Module) -> Tensor:
    """Lay all parameters of a network into one vector, which is returned: what is done to all takes one kernel then."""
    vector = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    pieces = vector.split([parameter.numel() for parameter in network.parameters()])
    for parameter, piece in zip(network.parameters(), pieces, strict=True):
        parameter.data = piece.view_as(parameter)
    return vector


class AgentStack(nn.Module):
    """The networks of S agents over features, side by side, and what trains them."""

    actor: Actor
    critic: TwinCritic
    log_alpha: Tensor
    anchor: Tensor | None
    behaviour: Actor | None
    log_multiplier: Tensor | None
    imagination: Imagination | None
    """See `extraction.ActorCritic`."""

    def __init__(self, configs: list[AgentConfig], feature_dim: int, action_dim: int, device: torch.device) -> None:
        super().__init__()
        self.config = config = configs[0]
        self.num_agents, self.action_dim = len(configs), action_dim
        self.settings = AgentSettings.stacked(configs, device)
        self.betas = self.settings.beta.clone()
        self.real_rows = [real_rows(one(own.real_ratio), own.batch) for own in configs]
        self.penalised = penalised_rows(configs)
        self.extraction = EXTRACTIONS[config.extraction]
        self.anchor = self.settings.anchor if any(own.anchor for own in configs) else None
        self.target_entropy = -float(action_dim) if config.target_entropy is None else config.target_entropy
        self.actor = self.make_actor(feature_dim).to(device)
        self.critic = self.make_critic(feature_dim).to(device)
        self.target = self.make_critic(feature_dim).to(device)
        self.target.load_state_dict(self.critic.state_dict())  # one public re-implementation starts them apart
        self.target.requires_grad_(False)
        self.averaged: Actor | None = None
        if config.policy_average:
            self.averaged = self.make_actor(feature_dim).to(device)
            self.averaged.load_state_dict(self.actor.state_dict())
            self.averaged.requires_grad_(False)
            self.averaged_weights = in_one_vector(self.averaged)
        self.log_alpha = nn.Parameter(torch.full((self.num_agents,), config.initial_alpha, device=device).log())
        self.behaviour = self.log_multiplier = self.imagination = None
        if self.extraction.clones_behaviour:
            self.behaviour = self.make_actor(feature_dim).to(device)
        if self.extraction.has_multiplier:
            self.log_multiplier = nn.Parameter(torch.zeros(self.num_agents, device=device))
        self.actor_weights, self.critic_weights, self.target_weights = (
            in_one_vector(network) for network in (self.actor, self.critic, self.target)
        )
        self.actor_parameters: list[Tensor] = list(self.actor.parameters())
        self.critic_parameters: list[Tensor] = list(self.critic.parameters())
        self.target_parameters: list[Tensor] = list(self.target.parameters())
        settings = self.settings
        names = {
            name: [parameter for parameter, _ in network.named_parameters()]
            for name, network in (("critic", self.critic), ("actor", self.actor), ("behaviour", self.behaviour))
            if network is not None
        }
        self.finite = FiniteCheck("agent", names, device)
        self.actor_optimiser = StackedAdam(self.actor_parameters, settings.actor_learning_rate, self.actor_weights)
        self.critic_optimiser = StackedAdam(
            self.critic_parameters, settings.critic_learning_rate.repeat(2), self.critic_weights
        )
        self.alpha_optimiser = StackedAdam([self.log_alpha], settings.alpha_learning_rate)
        self.optimisers = {
            "actor": self.actor_optimiser,
            "critic": self.critic_optimiser,
            "alpha": self.alpha_optimiser,
        }
        if self.behaviour is not None:
            weights = in_one_vector(self.behaviour)
            parameters: list[Tensor] = list(self.behaviour.parameters())
            self.optimisers["behaviour"] = StackedAdam(parameters, settings.critic_learning_rate, weights)
        if self.log_multiplier is not None:
            self.optimisers["multiplier"] = StackedAdam([self.log_multiplier], settings.critic_learning_rate)

    def make_actor(self, feature_dim: int) -> Actor:
        """A stack of policies with fresh weights, on features."""
        return Actor(self.num_agents, self.config.actor_network, feature_dim, self.action_dim)

    def make_critic(self, feature_dim: int) -> TwinCritic:
        """A stack of critics with fresh weights, on features."""
        return TwinCritic(self.num_agents, self.config.network, feature_dim, self.action_dim)

    def encode(self, seen: Tensor) -> Tensor:
        """What a batch is of, and what the filter believes, to the features (S, B, F) of critics and policy.

        Over a world model they are these features already.
        """
        return seen

    def encoded(self, batch: Batch) -> Batch:
        """A batch of what is seen, as features; those of the states that targets continue from take no gradient."""
        return batch

    @torch.no_grad()
    def begin_as(self, index: int, alone: Self) -> None:
        """Give one agent of the stack the weights of another stack, of one agent; before any update."""
        own = dict(self.named_parameters())
        for name, parameter in alone.named_parameters():  # of each network, one after another, S agents
            weights = own[name].unflatten(0, (-1, self.num_agents))
            weights[:, index] = parameter.unflatten(0, (-1, 1))[:, 0]

    @torch.no_grad()
    def alone(self, index: int, config: AgentConfig) -> Self:
        """One agent of the stack as a stack of one, with the weights that it has, for use; its optimisers are fresh.

        `config` are the settings of that agent.
        """
        single = self.one_of(config)
        own, other = self.state_dict(), single.state_dict()
        for name, tensor in other.items():  # of each network, one after another, S agents
            tensor.copy_(own[name].unflatten(0, (-1, self.num_agents))[:, index])
        return single

    def one_of(self, config: AgentConfig) -> Self:
        """A stack of one agent over the same features, with fresh weights."""
        device = self.critic_weights.device
        return type(self)([config], self.actor.first.weight.shape[1], self.action_dim, device)

    def scale_values(self, mean: float, std: float) -> None:
        """Let values start at `mean`, and count in units of `std`; for networks without any updates.

        With `scale_beta`, beta counts in these units, too.
        """
        for critic in (self.critic, self.target):
            critic.value_mean.fill_(mean)
            critic.value_std.fill_(std)
        if self.config.scale_beta:
            self.settings.beta.copy_(self.betas * std)

    @property
    def critic_optimisers(self) -> tuple[StackedAdam, ...]:
        """Those of all that the critics' loss trains, in the order of the names that `finite` has of it."""
        return (self.critic_optimiser,)

    def changed(self) -> list[Tensor]:
        """All that an update changes."""
        changed = [tensor for optimiser in self.optimisers.values() for tensor in optimiser.tensors()]
        averaged = [average for average, _ in self.averages]
        return [*changed, self.target_weights, *averaged, *self.finite.tensors()]

    @property
    def averages(self) -> list[tuple[Tensor, Tensor]]:
        """Vectors of weights that act, and those that they are the averages of; none where the trained ones act."""
        return [] if self.averaged is None else [(self.averaged_weights, self.actor_weights)]

    @property
    def acting(self) -> nn.Module:
        """The policy that acts in the environment: the average of the trained one, where there is one.

        It takes what the filter believes.
        """
        return self.actor if self.averaged is None else self.averaged

    def optimiser_state(self) -> dict[str, object]:
        """The optimisers' state, for a checkpoint beside `state_dict`."""
        return {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}

    def load_optimiser_state(self, state: dict[str, object]) -> None:
        """Continue from what `optimiser_state` returned."""
        for name, optimiser in self.optimisers.items():
            saved = state[name]
            assert isinstance(saved, dict)
            optimiser.load_state_dict(saved)
