"""TD3+BC and ReBRAC: a deterministic policy that follows the critics and stays near the dataset's actions.

Symbols (docs/symbols.md): S, B, A.
"""

from typing import ClassVar

import torch
from torch import Tensor

from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.extraction import ActorCritic, Extraction, anchored, squared_distance
from latent_combo.agent.settings import FOLLOWS_VALUES
from latent_combo.agent.tanh_gaussian import TanhGaussian


class Deterministic(Extraction):
    """The policy is its mode, anchored to the dataset's actions (TD3+BC: Fujimoto & Gu, 2021).

    Its spread is trained by a warm-up alone, and never used. TD3 climbs the first critic, every second update, and
    takes the target's actions from a slow copy of the policy; this climbs the lesser of both, always, without a copy.
    """

    name = "deterministic"
    follows_values = FOLLOWS_VALUES[name]
    has_temperature = False
    trains_spread = False
    mean_of_actions: ClassVar[bool] = True
    """Whether the squared distance is the mean over an action's A numbers, as in TD3+BC's code, or their sum."""

    def loss(
        self, agent: ActorCritic, batch: Batch, noise: Noise, policy: TanhGaussian | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`-c E[min_i Q_i(s, mode)] / D + E_D[|mode - a|^2] / A`, c = `agent.anchor`, D by `agent.anchor_by`.

        D is mean |min_i Q_i| as a rule. With c = 0 it is `-E[min_i Q_i(s, mode)]` alone.
        """
        policy = agent.actor(batch.feature) if policy is None else policy
        value = agent.critic(batch.feature, policy.mode[:, :, None]).squeeze(-1).amin(0)
        assert value.shape == batch.reward.shape  # (S, B)
        away = squared_distance(policy, batch)
        near = away / batch.action.shape[-1] if self.mean_of_actions else away
        loss = anchored(-value.mean(-1), value, near, agent)
        entropy = torch.zeros_like(loss.detach())  # of what acts there is none
        return loss.sum(), {"actor_loss": loss.detach(), "squared_distance": away.detach(), "entropy": entropy}


class Rebrac(Deterministic):
    """The same distance is a penalty of the value as well, at the dataset's next actions (Tarasov et al., 2023).

    With its actor's penalty beta_1 the anchor is c = 1 / beta_1, and its critics' penalty beta_2 is
    `agent.behaviour_weight`. Both squared distances are sums over an action's numbers, as in its code.
    """

    name = "rebrac"
    follows_values = FOLLOWS_VALUES[name]
    needs_next_action = True
    mean_of_actions = False

    def target_penalty(self, agent: ActorCritic, batch: Batch, policy: TanhGaussian, action: Tensor) -> Tensor:
        """`beta_2 |a' - a'_D|^2` (S, B), a' of the target; 0 where an episode was cut off, and has no next action."""
        assert batch.next_action is not None and batch.has_next_action is not None
        away = (action - batch.next_action).square().sum(-1) * batch.has_next_action
        return agent.settings.behaviour_weight[:, None] * away


DETERMINISTIC, REBRAC = Deterministic(), Rebrac()
