"""Features of episodes, what the world model imagines from them, and what they look like.

Symbols: N states, T steps, F feature size, A action size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from combo_common.errors import UserError
from combo_common.seeding import generator
from data.dataset import TrajectoryDataset
from data.episode import Episode
from latent_combo.api.datasets import decoded
from latent_combo.api.run import Run
from latent_combo.latents.encode import encode_episodes
from latent_combo.world_model.base import WorldModel

Acting = Callable[[Tensor], Tensor]
"""Features (N, F) to actions (N, A), such as `Run.action`."""


@dataclass(frozen=True)
class Rollout:
    """What the world model imagines of N paths of T steps."""

    feature: Tensor
    """(N, T+1, F), the first of which was given."""
    action: Tensor
    """(N, T, A)."""
    reward: Tensor
    """(N, T)."""
    terminal: Tensor
    """(N, T) in [0, 1]: probability that a step ends the episode; what follows such a step counts for nothing."""


def encode(
    run: Run, episodes: TrajectoryDataset | Sequence[Episode], which: ArrayLike | None = None, seed: int = 0
) -> list[Tensor]:
    """What a run's world model believes after each row of some episodes: features (T+1, F), an entry per episode.

    `episodes` is a dataset or a list; `which` are numbers of some of them (None: all). Latents are samples or means, as
    the run's agents were trained on. Raises UserError for observations that are not the run's.
    """
    indices = () if run.vectors is None else run.vectors.indices
    data = episodes if isinstance(episodes, TrajectoryDataset) else decoded(episodes, indices)
    if data.observation.shape[1:] != run.observation_shape:
        raise UserError(f"observations have shape {data.observation.shape[1:]}, but the run's {run.observation_shape}")
    if (beside := 0 if data.vector is None else data.vector.shape[1]) != len(indices):
        raise UserError(
            f"{beside} numbers are seen beside the images, but the run sees {len(indices)}; load the dataset with the "
            "run's vectors"
        )
    chosen = np.arange(len(data.lengths)) if which is None else np.asarray(which, np.int64)
    return encode_episodes(run.world_model, data, chosen, run.config.encode, generator(seed, run.device, "features"))


@torch.no_grad()
def imagine(model: WorldModel, feature: Tensor, actions: Tensor | Acting, steps: int = 15, seed: int = 0) -> Rollout:
    """Let the world model go on from features (N, F), each step by a member of its ensemble that is drawn for it.

    `actions` are given, (N, T, A), or are a function of features, for `steps` steps. Raises UserError for shapes that
    do not fit.
    """
    if feature.dim() != 2 or feature.shape[1] != model.feature_dim:
        raise UserError(f"features have shape {tuple(feature.shape)}, but the model's are (N, {model.feature_dim})")
    if isinstance(actions, Tensor):
        if actions.shape[:1] + actions.shape[2:] != (len(feature), model.action_dim):
            due = f"({len(feature)}, T, {model.action_dim})"
            raise UserError(f"actions have shape {tuple(actions.shape)}, but {due} is due")
        steps = actions.shape[1]
    if steps < 1:
        raise UserError(f"steps is {steps}; imagine at least 1")
    draws = generator(seed, feature.device, "imagination")
    features, taken, rewards, terminals = [feature], [], [], []
    for t in range(steps):
        action = actions[:, t] if isinstance(actions, Tensor) else actions(features[-1])
        step = model.imagine_step(features[-1], action, draws)
        features.append(step.feature)
        taken.append(action)
        rewards.append(step.reward)
        terminals.append(step.terminal)
    return Rollout(*(torch.stack(column, 1) for column in (features, taken, rewards, terminals)))


@torch.no_grad()
def decode(model: WorldModel, feature: Tensor) -> NDArray[Any]:
    """The observations that features (..., F) stand for: images (..., H, W, 3) uint8, or vectors (..., S) float32."""
    seen = model.decode(feature.reshape(-1, model.feature_dim))
    observations: NDArray[Any] = seen.reshape(*feature.shape[:-1], *seen.shape[1:]).cpu().numpy()
    return observations
