"""dm_control's walker-walk as a Gymnasium environment, from states or from pixels."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from envs.rendering import Renderer  # chooses the GL library, so it comes before dm_control
from envs.tasks import Task

from dm_control import suite  # isort: skip

Observation = NDArray[Any]


class WalkerEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """A planar walker that is to walk at 1 m/s: reward in [0, 1] for each of `action_repeat` control steps.

    Observations are "state", (24,) float32: 14 orientations, the torso's height, 9 velocities; or "pixels",
    (size, size, 3) uint8. Actions are (6,) float32 in [-1, 1]. Episodes never terminate, and are truncated at the
    task's horizon. `info` holds `state` (24,) float32 and `physics` (18,) float64 (9 positions, 9 velocities).
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012  # the base class declares it so

    def __init__(self, task: Task, observation: str, look: str, image_size: int) -> None:
        self.task, self.observation, self.look, self.image_size = task, observation, look, image_size
        self.render_mode = "rgb_array"
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (task.action_dim,), np.float32)
        shape = (image_size, image_size, 3)
        self.observation_space = (
            gymnasium.spaces.Box(0, 255, shape, np.uint8)
            if observation == "pixels"
            else gymnasium.spaces.Box(-np.inf, np.inf, (task.state_dim,), np.float32)
        )
        self._suite = suite.load("walker", "walk", task_kwargs={"random": 0})
        self._physics = self._suite.physics
        self._renderer: Renderer | None = None
        self._elapsed = 0

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

    def render(self) -> NDArray[np.uint8]:
        """The camera's picture, (size, size, 3) uint8."""
        if self._renderer is None:
            self._renderer = Renderer(self._physics.model.ptr, self.image_size, self.look, self.task.camera)
        return self._renderer.render(self._physics.data.ptr)

    def close(self) -> None:
        """Free the GL context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def physics_state(self) -> NDArray[np.float64]:
        """Positions and velocities, (18,) float64."""
        return np.concatenate([self._physics.data.qpos, self._physics.data.qvel])

    def set_physics(self, physics: NDArray[np.floating[Any]]) -> None:
        """Move the simulator to a state (18,), as `physics_state` gives it."""
        positions = self._physics.model.nq
        with self._physics.reset_context():
            self._physics.data.qpos[:] = physics[:positions]
            self._physics.data.qvel[:] = physics[positions:]

    def render_physics(self, physics: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        """Draw a recorded state (18,)."""
        self.set_physics(physics)
        return self.render()

    def observe_physics(self, physics: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """The vector observation (24,) of a recorded state (18,)."""
        self.set_physics(physics)
        return self._state()

    def _state(self) -> NDArray[np.float32]:
        physics = self._physics
        parts = (physics.orientations(), [physics.torso_height()], physics.velocity())
        return np.concatenate(parts).astype(np.float32)

    def _observe(self) -> Observation:
        return self.render() if self.observation == "pixels" else self._state()

    def _info(self) -> dict[str, Any]:
        return {"state": self._state(), "physics": self.physics_state()}
