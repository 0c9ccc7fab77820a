"""What would have come of other actions: the environment, set back to states that were recorded."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.make import make
from envs.task import ObservationSpec, Task
from envs.vector_env import an_environment_may_raise


@dataclass(frozen=True)
class Followed:
    """What came of N paths of T actions."""

    observation: NDArray[Any]
    """(N, T, ...)."""
    reward: NDArray[np.float32]
    """(N, T)."""
    vector: NDArray[np.float32] | None
    """(N, T, V), what is seen beside images; None where nothing is."""


class Branches:
    """The environment set back to recorded states, to see what other actions would have led to."""

    def __init__(self, task: Task, observation_spec: ObservationSpec) -> None:
        with an_environment_may_raise():
            self.env = make(task, observation_spec.observation, observation_spec.look, observation_spec.image_size)
        self._vector = list(task.vector_indices(observation_spec.vectors))

    def follow(self, physics: NDArray[np.float64], action: NDArray[np.float32]) -> Followed:
        """From each of N states (N, P) take T actions (N, T, A).

        Raises UserError for whatever the environment raises.
        """
        with an_environment_may_raise():
            return self._follow(physics, action)

    def _follow(self, physics: NDArray[np.float64], action: NDArray[np.float32]) -> Followed:
        observations, rewards = [], np.zeros(action.shape[:2], np.float32)
        vectors = np.zeros((*action.shape[:2], len(self._vector)), np.float32)
        for n, (state, path) in enumerate(zip(physics, action, strict=True)):
            self.env.reset(seed=0)  # so that its clock has room for the path
            self.env.set_physics(state)
            seen = []
            for t, now in enumerate(path):
                observation, reward, _, _, info = self.env.step(now)
                seen.append(observation)
                rewards[n, t] = reward
                if self._vector:
                    vectors[n, t] = info["state"][self._vector]
            observations.append(np.stack(seen))
        return Followed(np.stack(observations), rewards, vectors if self._vector else None)

    def close(self) -> None:
        """Free the GL context."""
        self.env.close()
