"""What a model believes along one episode, while it sees and after it has stopped looking, as plain arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from latent_combo.world_model.base import Segment, WorldModel
from latent_combo.world_model.dream import dream
from latent_combo.world_model.gaussian import Gaussian, kl_divergence

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Belief:
    """L rows of one episode, of which the first `context` were seen; what can't be known at a row is NaN."""

    context: int
    truth: NDArray[Any]
    """(L, ...) as the dataset has them: images (H, W, 3) uint8, or vectors (S,) float32."""
    posterior: NDArray[Any]
    """(L, ...): decoded from the filter that sees every row."""
    open_loop: NDArray[Any]
    """(L, ...): mean of the members' predictions; the posterior's while the rows are seen."""
    error: NDArray[Any]
    """(L, ...): absolute difference of open loop and truth."""
    reward: Floats
    """(L,)."""
    predicted_reward: Floats
    """(K, L), each member's: one step ahead while the rows are seen, then open loop."""
    disagreement: Floats
    """(L,): root mean square over dimensions of the standard deviation of the members' predictions of the latent."""
    kl: Floats
    """(L,) nats from the posterior to the members' predictions, their mean; NaN for a model without posteriors."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every number, by name, to be saved."""
        return {name: np.asarray(value) for name, value in vars(self).items()}


@torch.no_grad()
def believe(model: WorldModel, segment: Segment, context: int) -> list[Belief]:
    """Follow B segments with means throughout, so that beliefs of different training steps can be compared."""
    dreamed = dream(model, segment, context, None)
    batch, length = segment.action.shape[:2]
    before = rearrange(dreamed.filtered[:, : context - 1], "b l f -> (b l) f").expand(model.members, -1, -1)
    ahead = model.predict_per_member(before, rearrange(segment.action[:, 1:context], "b l a -> (b l) a"))

    def whole(seen: Tensor, unseen: Tensor) -> Tensor:
        """Predictions of rows 1 to C - 1 (K, B C-1, ...) and of the rest (K, B, L - C, ...), as (K, B, L, ...)."""
        parts = [seen.unflatten(1, (batch, context - 1)), unseen]
        unknown = torch.full_like(parts[1][:, :, :1], torch.nan)
        return torch.cat([unknown, *parts], 2)

    reward = whole(ahead.reward, dreamed.reward)
    prior = Gaussian(*(whole(seen, unseen) for seen, unseen in zip(ahead.prior, dreamed.prior, strict=True)))
    disagreement = prior.mean.var(0).mean(-1).sqrt()
    kl = torch.full((batch, length), torch.nan)
    if dreamed.posterior is not None:
        kl = kl_divergence(dreamed.posterior, prior).mean(0)
    posterior = model.decode(rearrange(dreamed.filtered, "b l f -> (b l) f")).unflatten(0, (batch, length))
    unseen = torch.stack([dreamed.mean(model, t) for t in range(context, length)], 1)
    open_loop = torch.cat([posterior[:, :context].float(), unseen], 1)
    error = (open_loop - segment.observation.float()).abs()
    images = not posterior.is_floating_point()
    as_shown = [part.round().to(torch.uint8) if images else part for part in (open_loop, error)]

    def array(x: Tensor) -> NDArray[Any]:
        return np.asarray(x.cpu().numpy())

    return [
        Belief(
            context=context,
            truth=array(segment.observation[b]),
            posterior=array(posterior[b]),
            open_loop=array(as_shown[0][b]),
            error=array(as_shown[1][b]),
            reward=array(segment.reward[b]),
            predicted_reward=array(reward[:, b]),
            disagreement=array(disagreement[b]),
            kl=array(kl[b]),
        )
        for b in range(batch)
    ]
