"""Tasks of dm_control's suite as Gymnasium environments, from states or from pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs import rendering  # chooses the GL library, so it comes before dm_control
from envs.base import Observation, TaskEnv
from envs.tasks import Task

from dm_control import suite  # isort: skip

rendering.close_before_what_is_loaded()


class SuiteEnv(TaskEnv):
    """The suite's task of the same name (`walker-walk`): reward in [0, 1] for each of `action_repeat` control steps.

    States are the suite's observations one after another, in its order; physics are the positions and the velocities.
    Episodes never terminate.
    """

    def __init__(self, task: Task, observation: str, look: str, image_size: int) -> None:
        super().__init__(task, observation, look, image_size)
        domain, _, name = task.name.partition("-")
        self._suite = suite.load(domain, name, task_kwargs={"random": 0})
        self._physics = self._suite.physics

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the same seed gives the same start, and so the same pixels."""
        super().reset(seed=seed)
        # dm_control's task draws from its own generator: ours seeds it, so episodes after a seeded one follow from it.
        self._suite.task.random.seed(int(self.np_random.integers(2**31)))
        self._suite.reset()
        self._elapsed = 0
        return self._observe(), self._info()

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply one action for `action_repeat` control steps and sum their rewards."""
        reward = 0.0
        for _ in range(self.task.action_repeat):
            reward += float(self._suite.step(np.asarray(action, np.float64)).reward)
        self._elapsed += 1
        return self._observe(), reward, False, self._elapsed >= self.task.horizon, self._info()

    def physics_state(self) -> NDArray[np.float64]:
        """Positions and velocities, (P,) float64."""
        return np.concatenate([self._physics.data.qpos, self._physics.data.qvel])

    def set_physics(self, physics: NDArray[np.floating[Any]]) -> None:
        """Move the simulator to a state (P,), as `physics_state` gives it."""
        positions = self._physics.model.nq
        with self._physics.reset_context():
            self._physics.data.qpos[:] = physics[:positions]
            self._physics.data.qvel[:] = physics[positions:]

    def state(self) -> NDArray[np.float32]:
        """The suite's observations, (S,)."""
        parts = self._suite.task.get_observation(self._physics).values()
        return np.concatenate([np.atleast_1d(part) for part in parts]).astype(np.float32)

    def _simulator(self) -> tuple[Any, Any]:
        return self._physics.model.ptr, self._physics.data.ptr
