"""MOBILE's penalty: the members' disagreement in the target of the critics (Sun et al., 2023).

Symbols (docs/symbols.md): S, B, M, K, F, A.
"""

from dataclasses import replace

import torch
from einops import rearrange
from torch import Tensor

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Batch
from latent_combo.agent.penalty import Penalty
from latent_combo.world_model.base import WorldModel


class Mobile(Penalty):
    """`y - lambda std_k T_k Q(s, a)` in rows of the model, T_k Q the Bellman target of member k alone.

    `T_k Q = r_k + gamma (1 - terminal_k) min_i Q_target_i(s'_k, a')`, with s'_k the mean of what member k predicts and
    a' the policy's mode there: no numbers are drawn, where MOBILE's code averages over samples of both.
    """

    @torch.no_grad()
    def of_batch(self, model: WorldModel, agent: ConservativeActorCritic, batch: Batch) -> Batch:
        """See `Penalty.of_batch`: what is taken from a target is taken from its reward."""
        rows = slice(min(agent.real_rows), batch.reward.shape[1])  # those of the dataset come first
        spread = self.spread(model, agent, batch.feature[:, rows], batch.action[:, rows])  # (S, M)
        taken = torch.zeros_like(batch.reward)
        taken[:, rows] = agent.settings.penalty_weight[:, None] * spread
        return replace(batch, reward=batch.reward - (1.0 - batch.real) * taken)

    @staticmethod
    def spread(model: WorldModel, agent: ConservativeActorCritic, feature: Tensor, action: Tensor) -> Tensor:
        """std_k T_k Q (S, M) at features (S, M, F) and actions (S, M, A)."""
        stack, members = feature.shape[0], model.members
        flat = rearrange(feature, "s m f -> (s m) f")
        step = model.predict_per_member(flat.expand(members, *flat.shape), rearrange(action, "s m a -> (s m) a"))
        arrived = rearrange(step.feature, "k (s m) f -> s (k m) f", s=stack)
        mode = agent.actor(arrived).mode
        value = agent.target(arrived, mode[:, :, None]).squeeze(-1).amin(0)  # (S, K M)
        of_each = rearrange(value, "s (k m) -> k s m", k=members)
        reward, terminal = (rearrange(part, "k (s m) -> k s m", s=stack) for part in (step.reward, step.terminal))
        targets = reward + agent.config.gamma * (1.0 - terminal) * of_each
        assert targets.shape == (members, *feature.shape[:2])
        spread: Tensor = targets.std(0, unbiased=False)
        return spread
