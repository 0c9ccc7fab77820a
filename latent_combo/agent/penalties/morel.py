"""MOReL's pessimistic MDP: what the members disagree in is halted, and costs kappa (Kidambi et al., 2020).

Symbols (docs/symbols.md): N, M, K, F, A.
"""

from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from latent_combo.agent.penalty import Penalty
from latent_combo.agent.replay import EncodedDataset
from latent_combo.agent.settings import AgentConfig
from latent_combo.world_model.base import ModelStep, WorldModel

AT_ONCE = 65_536
"""Transitions of a dataset whose disagreement is measured together."""


def disagreement(model: WorldModel, feature: Tensor, action: Tensor) -> Tensor:
    """`max_{i, j} |f_i(s, a) - f_j(s, a)|` (N,), of the members' mean next features of states (N, F), actions (N, A).

    Features of an ensemble are standardised observations, so that no number of a state counts by its unit.
    """
    if model.members < 2:
        return feature.new_zeros(len(feature))
    mean = model.predict_per_member(feature.expand(model.members, *feature.shape), action).feature
    apart = [torch.linalg.vector_norm(mean[i] - mean[j], dim=-1) for i, j in combinations(range(model.members), 2)]
    return torch.stack(apart).amax(0)


@dataclass(frozen=True)
class Morel(Penalty):
    """A step ends the episode with the reward -kappa where two members disagree by more than the threshold.

    Both are taken from the dataset, by `agent.morel`.
    """

    threshold: float = float("inf")
    halted_reward: float = 0.0
    """-kappa."""

    @torch.no_grad()
    def prepared(self, model: WorldModel, dataset: EncodedDataset, config: AgentConfig) -> "Morel":
        """The threshold from the largest disagreement on the dataset's transitions, kappa from its least reward."""
        every = torch.arange(len(dataset.source), device=dataset.source.device)
        most = max(
            float(disagreement(model, *dataset.pairs(some, torch.zeros_like(some))).max())
            for some in every.split(AT_ONCE)
        )
        return Morel(config.morel.threshold * most, dataset.least_reward - config.morel.offset)

    def of_step(self, model: WorldModel, feature: Tensor, action: Tensor, step: ModelStep, weight: Tensor) -> ModelStep:
        """See `Penalty.of_step`; kappa has no weight."""
        halts = disagreement(model, feature, action) > self.threshold
        assert halts.shape == step.reward.shape == step.terminal.shape
        return replace(
            step,
            reward=torch.where(halts, self.halted_reward, step.reward),
            terminal=torch.where(halts, 1.0, step.terminal),
        )
