"""MOPO's penalty: the largest of the members' learned standard deviations (Yu et al., 2020).

Symbols (docs/symbols.md): N, K, F, A, D = S + 1.
"""

from dataclasses import replace

import torch
from torch import Tensor

from latent_combo.agent.penalty import Penalty
from latent_combo.world_model.base import ModelStep, WorldModel


class Mopo(Penalty):
    """`r - lambda max_k |sigma_k(s, a)|`, with sigma_k of the change of the state and of the reward (D numbers).

    The standard deviations are in the dataset's units, as in MOPO's code, so that its lambda means the same here. That
    code takes the maximum over all networks; here it is over the members that are imagined with.
    """

    def of_step(self, model: WorldModel, feature: Tensor, action: Tensor, step: ModelStep, weight: Tensor) -> ModelStep:
        """See `Penalty.of_step`; for models that learn standard deviations."""
        std = model.predict_per_member(feature.expand(model.members, *feature.shape), action).change_std
        assert std is not None and std.shape[:2] == (model.members, len(feature))
        largest: Tensor = torch.linalg.vector_norm(std, dim=-1).amax(0)
        assert largest.shape == step.reward.shape == weight.shape  # (N,)
        return replace(step, reward=step.reward - weight * largest)
