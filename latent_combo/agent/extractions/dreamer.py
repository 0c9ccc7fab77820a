"""Offline DreamerV2's recipe: the policy climbs lambda-returns through the world model (Lu et al., 2022).

After Hafner et al. (2021), with the members' mean disagreement taken from imagined rewards.

Symbols (docs/symbols.md): S, B, H, A.
"""

import torch
from torch import Tensor

from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.extraction import ActorCritic, Extraction, squared_distance
from latent_combo.agent.settings import FOLLOWS_VALUES
from latent_combo.agent.tanh_gaussian import TanhGaussian


class Dreamer(Extraction):
    """Gradients flow through H imagined steps, their rewards and the target critics' values."""

    name = "dreamer"
    follows_values = FOLLOWS_VALUES[name]
    imagines = True

    def loss(
        self, agent: ActorCritic, batch: Batch, noise: Noise, policy: TanhGaussian | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`E[sum_t w_t (alpha log pi(a_t|s_t) - G_t)] / H` from the batch's states, w_t the discounts before step t."""
        assert agent.imagination is not None
        path = agent.imagination.follow(agent, batch.feature)
        returns = path.lambda_returns(agent.config.trace_decay)
        alpha = agent.log_alpha.detach().exp()[:, None]
        each = (path.reached() * (alpha * path.log_policy - returns)).mean(0)
        assert each.shape == batch.reward.shape  # (S, B)
        loss = each.mean(-1)
        with torch.no_grad():
            away = squared_distance(agent.actor(batch.feature) if policy is None else policy, batch)
        return loss.sum(), {
            "actor_loss": loss.detach(),
            "squared_distance": away,
            "entropy": -path.log_policy.detach().mean((0, 2)),
            "lambda_return": returns.detach().mean((0, 2)),
        }

    @torch.no_grad()
    def critic_batch(self, agent: ActorCritic, batch: Batch) -> Batch:
        """Targets of the model's rows are lambda-returns from their states and actions on, those of the data's as ever.

        DreamerV2 has no rows of the data; `agent.real_ratio` says how many there are.
        """
        assert agent.imagination is not None
        path = agent.imagination.follow(agent, batch.feature, batch.action)
        returns = path.lambda_returns(agent.config.trace_decay)[0]
        return batch.with_targets(returns, 1.0 - batch.real)


DREAMER = Dreamer()
