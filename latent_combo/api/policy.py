"""A trained policy for environments: numpy observations in, numpy actions out."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from combo_common.errors import UserError
from latent_combo.evaluation.policy import Policy

IMAGE_AXES = 3
"""Height, width and colours; a vector has one."""


IMAGE, STATE = "image", "state"
"""The keys of an observation of both."""


@dataclass(frozen=True)
class SeenVectors:
    """Which numbers of a task's vector observation a policy sees beside images."""

    names: tuple[str, ...]
    """What each number of the whole vector is, (S,)."""
    indices: tuple[int, ...]
    """Those that are seen, (V,)."""


class NumpyPolicy:
    """One agent, which acts in one environment or in N side by side, exactly as the program's own evaluation does.

    It remembers what it has seen, so call `reset` where episodes begin.
    """

    def __init__(self, policy: Policy, observation_shape: tuple[int, ...], vectors: SeenVectors | None = None) -> None:
        """Wrap the policy of a single agent; observations are (H, W, 3) uint8 or (S,) float32.

        `vectors` are what is seen beside images, if anything.
        """
        self._policy, self.observation_shape, self.vectors = policy, observation_shape, vectors
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

    def act(
        self, observation: NDArray[np.uint8] | NDArray[np.floating] | Mapping[str, ArrayLike]
    ) -> NDArray[np.float32]:
        """The most likely action (A,) in (-1, 1) for an observation, or actions (N, A) for observations (N, ...).

        Images are uint8. A policy of images and vectors takes {"image": (H, W, 3), "state": (S,)}, the latter being the
        task's whole vector observation, as `info["state"]` is, or N of both; it picks what it sees of it. Raises
        UserError for observations of another kind, size or number than the policy's.
        """
        image, state = self._parts(observation)
        seen = np.asarray(image)
        alone = seen.shape == self.observation_shape
        batch = self._checked(seen[None] if alone else seen)
        vector = None if state is None else self._chosen(state[None] if alone else state, len(batch))
        if self._count is None:
            self._count = len(batch)
            self._policy.reset(self._count, self._first)
        if len(batch) != self._count:
            raise UserError(f"there are {len(batch)} observations, but there were {self._count}; call reset between")
        action = self._policy.act(torch.from_numpy(batch)[None], None if vector is None else vector[None])[0].numpy()
        return action[0] if alone else action

    def _parts(self, observation: ArrayLike | Mapping[str, ArrayLike]) -> tuple[ArrayLike, NDArray[np.generic] | None]:
        """Image and state of a mapping, or the one observation. Raises UserError where it is not what is seen."""
        if self.vectors is None:
            if isinstance(observation, Mapping):
                raise UserError(f"the observation is a mapping, but the policy sees {self.observation_shape} alone")
            return observation, None
        if not isinstance(observation, Mapping) or {IMAGE, STATE} - observation.keys():
            raise UserError(
                f'the policy sees images and vectors; give {{"{IMAGE}": {self.observation_shape}, '
                f'"{STATE}": ({len(self.vectors.names)},)}}'
            )
        return observation[IMAGE], np.asarray(observation[STATE])

    def _chosen(self, states: NDArray[np.generic], count: int) -> Tensor:
        """What is seen of states (N, S), (N, V) float32. Raises UserError for others."""
        assert self.vectors is not None
        due = (count, len(self.vectors.names))
        if states.shape != due or not np.issubdtype(states.dtype, np.floating):
            raise UserError(
                f"the state has shape {states.shape[1:]} of {states.dtype}, but the policy takes {due[1:]} floats for "
                f"each image: {', '.join(self.vectors.names)}"
            )
        return torch.from_numpy(states[:, list(self.vectors.indices)].astype(np.float32))

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
        kind = np.uint8 if images else np.float32
        return np.require(batch, kind, ["C", "W"])  # torch shares no memory that is read only
