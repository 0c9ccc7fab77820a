"""How the policy is had from the critics.

Symbols (docs/symbols.md): S, B, F, A.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.conservative import weighted_mean
from latent_combo.agent.imagination import Imagination
from latent_combo.agent.networks import Actor, TwinCritic
from latent_combo.agent.settings import FOLLOWS_VALUES, AgentConfig
from latent_combo.agent.stack import AgentSettings
from latent_combo.agent.tanh_gaussian import TanhGaussian

LEAST_SIZE = 1e-2
"""Of what an anchor divides values by."""


class ActorCritic(Protocol):
    """What an extraction may use of an agent."""

    config: AgentConfig
    """What all agents of the stack have in common."""
    settings: AgentSettings
    """What may differ from agent to agent."""
    actor: Actor
    critic: TwinCritic
    log_alpha: Tensor
    """(S,): logarithm of the temperature."""
    behaviour: Actor | None
    """The dataset's policy, cloned by its likelihood; None where the extraction does not ask for it."""
    target: TwinCritic
    imagination: Imagination | None
    """The world model to follow the policy in; None where the extraction does not ask for it."""
    log_multiplier: Tensor | None
    """(S,): logarithm of the Lagrange multiplier of the extraction's constraint; None where it has none."""
    anchor: Tensor | None
    """(S,): c of eq. 3 with an anchor, 0 for agents without one; None where no agent of the stack has one."""


class Extraction(ABC):
    """A way to have a policy from the critics, or beside them; it keeps nothing of its own."""

    name: ClassVar[str]
    """The word that `agent.extraction` has for it."""
    follows_values: ClassVar[bool]
    """Whether the policy climbs the critics' values (eq. 3); the backup is then by `agent.backup`, and `loss` has to
    take the anchor (`anchored`) that a preset or a user gives. The spread of any other policy never narrows onto what
    the critics value, so that its backup is by its mode."""
    trains_spread: ClassVar[bool] = True
    """Whether the policy's spread is trained after a warm-up, so that likelihoods under it mean something."""
    has_temperature: ClassVar[bool | None] = None
    """Whether its loss has an entropy, whose temperature is tuned; None: if it climbs the values."""
    clones_behaviour: ClassVar[bool] = False
    """Whether it needs the dataset's policy, `ActorCritic.behaviour`."""
    has_multiplier: ClassVar[bool] = False
    """Whether it has a constraint, held by a Lagrange multiplier that grows with the metric `excess` of its loss."""
    needs_next_action: ClassVar[bool] = False
    """Whether batches are to have the dataset's next actions."""
    imagines: ClassVar[bool] = False
    """Whether it follows the policy in the world model, `ActorCritic.imagination`."""

    @property
    def tempered(self) -> bool:
        """Whether it has a temperature."""
        return self.follows_values if self.has_temperature is None else self.has_temperature

    @abstractmethod
    def loss(
        self, agent: ActorCritic, batch: Batch, noise: Noise, policy: TanhGaussian | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss of the policy, summed over agents, and metrics (S,), of which one is its `entropy` in nats.

        `policy` is that of the batch's states, if it is known.
        """

    def critic_batch(self, agent: ActorCritic, batch: Batch) -> Batch:
        """What the critics are trained on, given what the batch holds: by default the same."""
        return batch

    def target_penalty(self, agent: ActorCritic, batch: Batch, policy: TanhGaussian, action: Tensor) -> Tensor | None:
        """What is taken from the values (S, B) that the critics' targets continue from, for next actions (S, B, A).

        `policy` is that of the next states. None takes nothing; no gradient flows.
        """
        return None


class ValueExtraction(Extraction):
    """Eq. 3: the policy maximises the critics' values at its own actions, and its entropy.

    With an anchor c (Fujimoto & Gu, 2021; not in the paper) it stays near the dataset's actions.
    """

    name = "value"
    follows_values = FOLLOWS_VALUES[name]

    def loss(
        self, agent: ActorCritic, batch: Batch, noise: Noise, policy: TanhGaussian | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`E[alpha log pi - min_i Q_i]` over the batch's states, those of the model like those of the dataset.

        With an anchor it is `c E[alpha log pi - min_i Q_i] / D + E_D[|mode - a|^2]`, D the values' mean size or their
        spread (`agent.anchor_by`): the temperature stays in units of the values, as the target entropy and the backup
        need it.
        """
        policy = agent.actor(batch.feature) if policy is None else policy

        # Eq. 3, with the entropy of soft actor-critic
        action, log_policy = policy.sample(noise.actor)  # (S, B, A), (S, B)
        value = agent.critic(batch.feature, action[:, :, None]).squeeze(-1).amin(0)
        each = agent.log_alpha.detach().exp()[:, None] * log_policy - value
        assert each.shape == batch.reward.shape  # (S, B)

        # The anchor, at the dataset's pairs alone
        away = squared_distance(policy, batch)
        loss = anchored(each.mean(-1), value, away, agent)
        entropy = -log_policy.detach().mean(-1)
        return loss.sum(), {"actor_loss": loss.detach(), "squared_distance": away.detach(), "entropy": entropy}


class Imitation(Extraction):
    """Behaviour cloning: the policy follows the dataset's actions by their likelihood, and the critics move nothing.

    It is also the warm-up before any other extraction.
    """

    name = "imitation"
    follows_values = FOLLOWS_VALUES[name]

    def loss(
        self, agent: ActorCritic, batch: Batch, noise: Noise, policy: TanhGaussian | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`-E_D[log pi(a|s)]` over the dataset's rows of a batch; an imagined action is nobody's behaviour."""
        policy = agent.actor(batch.feature) if policy is None else policy
        loss = -weighted_mean(policy.log_prob(batch.action), batch.real)  # (S,)
        entropy = -policy.sample(noise.actor)[1].detach().mean(-1)
        away = squared_distance(policy, batch).detach()
        return loss.sum(), {"actor_loss": loss.detach(), "entropy": entropy, "squared_distance": away}


def anchored(loss: Tensor, value: Tensor, away: Tensor, agent: ActorCritic) -> Tensor:
    """`c loss / D + away` (S,), D of values (S, B) by `agent.anchor_by`; the loss alone for agents whose c is 0."""
    anchor = agent.anchor
    if anchor is None:
        return loss
    value = value.detach()
    unit = value.abs().mean(-1) if agent.config.anchor_by == "size" else value.std(-1, correction=0)
    scale = torch.where(anchor > 0.0, anchor / unit.clamp(min=LEAST_SIZE), 1.0)
    return scale * loss + (anchor > 0.0).float() * away


def squared_distance(policy: TanhGaussian, batch: Batch) -> Tensor:
    """E_D[|mode - a|^2] over the dataset's rows, (S,)."""
    return weighted_mean((policy.mode - batch.action).square().sum(-1), batch.real)


VALUE, IMITATION = ValueExtraction(), Imitation()
