"""Values that no rewards of the dataset could come to are noticed while agents are trained, and said once."""

import sys
from collections.abc import Mapping

from torch import Tensor

from latent_combo.agent.measures import BEYOND
from latent_combo.agent.offline import OfflineDataset
from latent_combo.config.schema import Config

NOTICED = 0.1
"""Share of held-out pairs with such values from which on it is said."""


class BeyondReach:
    """Watches what is measured of agents for values above the most that rewards like the dataset's can come to."""

    def __init__(self, config: Config, dataset: OfflineDataset) -> None:
        self.highest = dataset.highest_value(config.agent.gamma)
        """What no value can exceed."""
        self.shares: list[float] = []
        """Of each agent's held-out pairs, when it was measured last."""
        self._advice = (
            "take rollouts by the policy (--agent.rollout_actions policy), a larger --agent.beta, or fewer steps of "
            "the model (--agent_fit.rollout_length)"
            if config.has_world_model and config.agent.real_ratio != 1.0
            else "take a larger --agent.beta, or a lower --agent.critic_learning_rate"
        )
        self._said = False

    def look(self, metrics: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Look at the metrics of `validation_metrics`, and return them."""
        self.shares = [float(share) for share in metrics[BEYOND]]
        worst = max(self.shares)
        if worst > NOTICED and not self._said:
            self._said = True
            agent = f"agent {self.shares.index(worst)}: " if len(self.shares) > 1 else ""
            print(
                f"\n{agent}the values of {worst:.0%} of held-out pairs are above {self.highest:.4g}, the most that "
                f"rewards like the dataset's can come to, so they are wrong; {self._advice}",
                file=sys.stderr,
                flush=True,
            )
        return metrics
