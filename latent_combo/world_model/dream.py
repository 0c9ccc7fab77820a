"""Following actions without looking: what each member of the ensemble predicts, open loop."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from latent_combo.world_model.base import MemberPredictions, Segment, WorldModel
from latent_combo.world_model.gaussian import Gaussian


@dataclass(frozen=True)
class Dream:
    """Predictions of each of K members for B sequences of L rows, of which the first C were seen."""

    feature: Tensor
    """(K, B, L, F); the seen rows are filtered, the others follow the actions by the means of the member's priors."""
    reward: Tensor
    """(K, B, L - C): each member's rewards of the rows that were not seen."""
    prior: Gaussian
    """(K, B, L - C, Z), of the rows that were not seen."""
    filtered: Tensor
    """(B, L, F): a filter that sees all rows."""
    posterior: Gaussian | None
    """(B, L, Z) of that filter; None for a model that has no posteriors."""

    @property
    def context(self) -> int:
        """C, rows that were seen."""
        return self.feature.shape[2] - self.reward.shape[2]

    def members(self, model: WorldModel, t: int) -> Tensor:
        """Each member's observation of row t, (K, B, ...), in the dataset's units."""
        drawn = model.decode(rearrange(self.feature[:, :, t], "k b f -> (k b) f"))
        return drawn.view(*self.feature.shape[:2], *drawn.shape[1:])

    def mean(self, model: WorldModel, t: int) -> Tensor:
        """The ensemble's prediction of row t: the mean of its members' observations, (B, ...) float32."""
        mean: Tensor = self.members(model, t).float().mean(0)
        return mean

    def mean_vector(self, model: WorldModel, t: int) -> Tensor | None:
        """The same of the vectors beside the images, (B, V) in the dataset's units; None where there are none."""
        vector = model.decode_vector(rearrange(self.feature[:, :, t], "k b f -> (k b) f"))
        return None if vector is None else vector.view(*self.feature.shape[:2], -1).mean(0)


@torch.no_grad()
def dream(model: WorldModel, segment: Segment, context: int, generator: torch.Generator | None) -> Dream:
    """Filter `context` rows of a segment, then let each member follow the segment's actions without looking.

    The filter's latents are samples with a generator, and means without one.
    """
    filtered, posterior = model.observe(segment.observation, segment.action, generator, segment.vector)
    feature = filtered[:, context - 1].expand(model.members, -1, -1)
    steps: list[MemberPredictions] = []
    for action in segment.action[:, context:].unbind(1):
        steps.append(model.predict_per_member(feature, action))
        feature = steps[-1].feature
    seen = filtered[:, :context].expand(model.members, -1, -1, -1)
    return Dream(
        torch.cat([seen, torch.stack([step.feature for step in steps], 2)], 2),
        torch.stack([step.reward for step in steps], 2),
        Gaussian(*(torch.stack([getattr(step.prior, part) for step in steps], 2) for part in Gaussian._fields)),
        filtered,
        posterior,
    )
