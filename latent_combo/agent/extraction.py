"""How the policy is had from the critics.

Symbols (docs/symbols.md): S, B, F, A.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.conservative import weighted_mean
from latent_combo.agent.networks import Actor, TwinCritic
from latent_combo.agent.settings import FOLLOWS_VALUES
from latent_combo.agent.tanh_gaussian import TanhGaussian

LEAST_SIZE = 1e-2
"""Of the mean value that an anchor divides by."""


class ActorCritic(Protocol):
    """What an extraction may use of an agent."""

    actor: Actor
    critic: TwinCritic
    log_alpha: Tensor
    """(S,): logarithm of the temperature."""
    anchor: Tensor | None
    """(S,): c of eq. 3 with an anchor, 0 for agents without one; None where no agent of the stack has one."""


class Extraction(ABC):
    """A way to have a policy from the critics, or beside them; it keeps nothing of its own."""

    name: ClassVar[str]
    """The word that `agent.extraction` has for it."""
    follows_values: ClassVar[bool]
    """Whether the policy climbs the critics' values (eq. 3): it then has a temperature, which is tuned, and the backup
    is by its samples. The spread of any other policy never narrows onto what the critics value, so that the backup is
    by its mode."""

    @abstractmethod
    def loss(
        self, agent: ActorCritic, batch: Batch, noise: Noise, policy: TanhGaussian | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss of the policy, summed over agents, and metrics (S,), of which one is its `entropy` in nats.

        `policy` is that of the batch's states, if it is known.
        """


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

        With an anchor it is `c E[alpha log pi - min_i Q_i] / mean |min_i Q_i| + E_D[|mode - a|^2]`: the temperature
        stays in units of the values, as the target entropy and the backup need it.
        """
        policy = agent.actor(batch.feature) if policy is None else policy

        # Eq. 3, with the entropy of soft actor-critic
        action, log_policy = policy.sample(noise.actor)  # (S, B, A), (S, B)
        value = agent.critic(batch.feature, action[:, :, None]).squeeze(-1).amin(0)
        each = agent.log_alpha.detach().exp()[:, None] * log_policy - value
        assert each.shape == batch.reward.shape  # (S, B)

        # The anchor, at the dataset's pairs alone
        away = squared_distance(policy, batch)
        loss = each.mean(-1)  # (S,)
        if agent.anchor is not None:
            size = value.detach().abs().mean(-1).clamp(min=LEAST_SIZE)
            scale = torch.where(agent.anchor > 0.0, agent.anchor / size, 1.0)
            loss = scale * loss + (agent.anchor > 0.0).float() * away
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


def squared_distance(policy: TanhGaussian, batch: Batch) -> Tensor:
    """E_D[|mode - a|^2] over the dataset's rows, (S,)."""
    return weighted_mean((policy.mode - batch.action).square().sum(-1), batch.real)


VALUE, IMITATION = ValueExtraction(), Imitation()
EXTRACTIONS: dict[str, Extraction] = {extraction.name: extraction for extraction in (VALUE, IMITATION)}
"""By the words of `agent.extraction`."""
