"""A trained policy for environments: numpy observations in, numpy actions out."""

import numpy as np
import torch
from numpy.typing import NDArray

from combo_common.errors import UserError
from latent_combo.evaluation.policy import Policy

IMAGE_AXES = 3
"""Height, width and colours; a vector has one."""


class NumpyPolicy:
    """One agent, which acts in one environment or in N side by side, exactly as the program's own evaluation does.

    It remembers what it has seen, so call `reset` where episodes begin.
    """

    def __init__(self, policy: Policy, observation_shape: tuple[int, ...]) -> None:
        """Wrap the policy of a single agent; observations are (H, W, 3) uint8 or (S,) float32."""
        self._policy, self.observation_shape = policy, observation_shape
        self._count: int | None = None
        self._first = 0

    @property
    def action_dim(self) -> int:
        """A, numbers of an action."""
        return self._policy.model.action_dim

    def reset(self, ended: NDArray[np.bool_] | None = None, first: int = 0) -> None:
        """Begin episodes: in all environments, however many there will be, or only where `ended` (N,) is true.

        Where all begin, they are numbered from `first` on. An episode's number decides the noise of its latents, and
        evaluation numbers an episode by the seed of its environment. Raises UserError for an `ended` of another size
        than the observations before.
        """
        if ended is None:
            self._count, self._first = None, first
            return
        if self._count is None or np.shape(ended) != (self._count,):
            raise UserError(f"ended has shape {np.shape(ended)}, but there are {self._count or 'no'} environments yet")
        self._policy.restart(torch.from_numpy(np.asarray(ended, bool)))

    def act(self, observation: NDArray[np.uint8] | NDArray[np.floating]) -> NDArray[np.float32]:
        """The most likely action (A,) in (-1, 1) for an observation, or actions (N, A) for observations (N, ...).

        Images are uint8. Raises UserError for observations of another kind, size or number than the policy's.
        """
        seen = np.asarray(observation)
        alone = seen.shape == self.observation_shape
        batch = self._checked(seen[None] if alone else seen)
        if self._count is None:
            self._count = len(batch)
            self._policy.reset(self._count, self._first)
        if len(batch) != self._count:
            raise UserError(f"there are {len(batch)} observations, but there were {self._count}; call reset between")
        action = self._policy.act(torch.from_numpy(batch)[None])[0].numpy()
        return action[0] if alone else action

    def _checked(self, batch: NDArray[np.generic]) -> NDArray[np.generic]:
        images = len(self.observation_shape) == IMAGE_AXES
        if batch.shape[1:] != self.observation_shape or not len(batch):
            raise UserError(
                f"the observation has shape {batch.shape[1:]}, but the policy sees {self.observation_shape}"
            )
        if images and batch.dtype != np.uint8:
            raise UserError(f"the image is {batch.dtype}; give uint8 from 0 to 255")
        if not images and not np.issubdtype(batch.dtype, np.floating):
            raise UserError(f"the observation is {batch.dtype}; give floats")
        return np.ascontiguousarray(batch, np.uint8 if images else np.float32)
