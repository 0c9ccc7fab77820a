"""What would have come of other actions: the environment, set back to states that were recorded."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.make import make
from envs.task import ObservationSpec, Task
from envs.vector_env import an_environment_may_raise


class Branches:
    """The environment set back to recorded states, to see what other actions would have led to."""

    def __init__(self, task: Task, observation_spec: ObservationSpec) -> None:
        with an_environment_may_raise():
            self.env = make(task, observation_spec.observation, observation_spec.look, observation_spec.image_size)

    def follow(
        self, physics: NDArray[np.float64], action: NDArray[np.float32]
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """From each of N states (N, P) take T actions (N, T, A): observations (N, T, ...) and rewards (N, T).

        Raises UserError for whatever the environment raises.
        """
        with an_environment_may_raise():
            return self._follow(physics, action)

    def _follow(
        self, physics: NDArray[np.float64], action: NDArray[np.float32]
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        observations, rewards = [], np.zeros(action.shape[:2], np.float32)
        for n, (state, path) in enumerate(zip(physics, action, strict=True)):
            self.env.reset(seed=0)  # so that its clock has room for the path
            self.env.set_physics(state)
            seen = []
            for t, now in enumerate(path):
                observation, reward, _, _, _ = self.env.step(now)
                seen.append(observation)
                rewards[n, t] = reward
            observations.append(np.stack(seen))
        return np.stack(observations), rewards

    def close(self) -> None:
        """Free the GL context."""
        self.env.close()
