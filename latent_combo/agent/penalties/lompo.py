"""LOMPO's penalty: the members' disagreement in how likely the imagined latent is (Rafailov et al., 2021).

Symbols (docs/symbols.md): N, K, Z, F, A.
"""

from dataclasses import replace

from torch import Tensor

from latent_combo.agent.penalty import Penalty
from latent_combo.world_model.base import ModelStep, WorldModel
from latent_combo.world_model.gaussian import log_prob


class Lompo(Penalty):
    """`r - lambda std_k log p_k(z'|s, a)`, z' the latent that was imagined; the K members' own standard deviation."""

    def of_step(self, model: WorldModel, feature: Tensor, action: Tensor, step: ModelStep, weight: Tensor) -> ModelStep:
        """See `Penalty.of_step`."""
        prior = model.member_priors(feature, action)
        imagined = step.feature[:, -prior.mean.shape[-1] :]  # what a prior is of stands last in a feature
        spread = log_prob(prior, imagined).std(0, unbiased=False)
        assert spread.shape == step.reward.shape == weight.shape  # (N,)
        return replace(step, reward=step.reward - weight * spread)
