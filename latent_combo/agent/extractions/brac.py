"""BRAC: eq. 3 without entropy, less a divergence from the cloned behaviour (Wu et al., 2019).

Symbols (docs/symbols.md): S, B, A.
"""

from torch import Tensor

from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.extraction import ActorCritic, Extraction, squared_distance
from latent_combo.agent.settings import FOLLOWS_VALUES
from latent_combo.agent.tanh_gaussian import TanhGaussian
from latent_combo.world_model.gaussian import Gaussian, kl_divergence


def divergence(policy: TanhGaussian, behaviour: TanhGaussian) -> Tensor:
    """KL(policy || behaviour) in nats, (...) of (..., A): that of the Gaussians, since both go through one tanh.

    BRAC's code estimates it from samples.
    """
    p, b = (Gaussian(each.loc, each.log_std.exp()) for each in (policy, behaviour))
    return kl_divergence(p, b)


class BracPolicy(Extraction):
    """The divergence is the policy's regulariser (BRAC-p)."""

    name = "brac-p"
    follows_values = FOLLOWS_VALUES[name]
    has_temperature = False
    clones_behaviour = True

    def loss(
        self, agent: ActorCritic, batch: Batch, noise: Noise, policy: TanhGaussian | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`E[alpha KL(pi || b) - min_i Q_i(s, a)]`, alpha = `agent.behaviour_weight`, a of the policy."""
        assert agent.behaviour is not None
        policy = agent.actor(batch.feature) if policy is None else policy
        action, log_policy = policy.sample(noise.actor)
        value = agent.critic(batch.feature, action[:, :, None]).squeeze(-1).amin(0)
        away = divergence(policy, agent.behaviour(batch.feature).fixed())
        assert away.shape == value.shape == batch.reward.shape  # (S, B)
        loss = (agent.settings.behaviour_weight[:, None] * away - value).mean(-1)
        return loss.sum(), {
            "actor_loss": loss.detach(),
            "entropy": -log_policy.detach().mean(-1),
            "squared_distance": squared_distance(policy, batch).detach(),
            "behaviour_kl": away.detach().mean(-1),
        }


class BracValue(BracPolicy):
    """The divergence is a penalty of the value, in the critics' target as in the policy's loss (BRAC-v)."""

    name = "brac-v"
    follows_values = FOLLOWS_VALUES[name]

    def target_penalty(self, agent: ActorCritic, batch: Batch, policy: TanhGaussian, action: Tensor) -> Tensor:
        """`alpha KL(pi || b)` at the next states, (S, B)."""
        assert agent.behaviour is not None
        away = divergence(policy, agent.behaviour(batch.next_feature))
        return agent.settings.behaviour_weight[:, None] * away


BRAC_P, BRAC_V = BracPolicy(), BracValue()
