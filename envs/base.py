"""What every environment of the project offers beyond Gymnasium's interface."""

from abc import abstractmethod
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from envs.task import Task

Observation = NDArray[Any]


class TaskEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """A task in its simulator, whose state can be read, and drawn; and set, where its simulator has that.

    Observations are "state", (S,) float32, or "pixels", (size, size, 3) uint8. Actions are (A,) float32 in [-1, 1].
    Episodes are truncated at the task's horizon. `info` holds `state` (S,) float32 and `physics` (P,) float64, the
    simulator's state, whatever is observed; P is 0 where the simulator's state can be neither read nor set.
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
        self._elapsed = 0

    def physics_state(self) -> NDArray[np.float64]:
        """The simulator's state (P,), from which it can go on."""
        return np.zeros(0)

    def set_physics(self, physics: NDArray[np.floating[Any]]) -> None:
        """Move the simulator to a state (P,), as `physics_state` gives it. Raises UserError where it can't be moved."""
        raise UserError(f"{self.task.name} has no simulator's state that could be recorded and set")

    @abstractmethod
    def state(self) -> NDArray[np.float32]:
        """The vector observation (S,) of where the simulator is."""

    @abstractmethod
    def render(self) -> NDArray[np.uint8]:
        """The camera's picture, (size, size, 3) uint8."""

    def scripted_action(self) -> NDArray[np.float32]:
        """What the simulator's own script would do now, (A,) in [-1, 1]. Raises UserError where there is none."""
        raise UserError(f"{self.task.name} has no script; let a learner or uniform actions play")

    def draw_with(self, other: "TaskEnv") -> None:  # most environments have nothing to share
        """Have another environment of the same task, look and size draw this one, where that saves memory."""

    def render_physics(self, physics: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
        """Draw a recorded state (P,)."""
        self.set_physics(physics)
        return self.render()

    def observe_physics(self, physics: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """The vector observation (S,) of a recorded state (P,)."""
        self.set_physics(physics)
        return self.state()

    def _observe(self) -> Observation:
        return self.render() if self.observation == "pixels" else self.state()

    def _info(self) -> dict[str, Any]:
        return {"state": self.state(), "physics": self.physics_state()}


class MujocoEnv(TaskEnv):
    """A task in MuJoCo, which this project draws."""

    def __init__(self, task: Task, observation: str, look: str, image_size: int) -> None:
        super().__init__(task, observation, look, image_size)
        self._renderer: Any = None
        self._painter: MujocoEnv = self

    @abstractmethod
    def physics_state(self) -> NDArray[np.float64]:
        """Positions and velocities, and what else the simulator needs to go on from there, (P,)."""

    @abstractmethod
    def set_physics(self, physics: NDArray[np.floating[Any]]) -> None:
        """Move the simulator to a state (P,), as `physics_state` gives it."""

    @abstractmethod
    def _simulator(self) -> tuple[Any, Any]:
        """MuJoCo's model and data."""

    def draw_with(self, other: TaskEnv) -> None:
        """Have another environment of the same task, look and size draw this one, in its GL context.

        A context holds the scene's textures, some tens of MB before the door.
        """
        assert isinstance(other, MujocoEnv), "environments of one task are of one class"
        self._painter = other

    def render(self) -> NDArray[np.uint8]:
        """The camera's picture, (size, size, 3) uint8."""
        return self._painter._draw(*self._simulator())

    def _draw(self, model: Any, data: Any) -> NDArray[np.uint8]:
        """Draw MuJoCo's model and data, of this environment or of another of the same task."""
        if self._renderer is None:
            # Imported here: vectors are observed on machines that have no GL library, too.
            from envs.rendering import Renderer

            self._renderer = Renderer(self._simulator()[0], self.image_size, self.look, self.task.camera)
        frame: NDArray[np.uint8] = self._renderer.render(data, model)
        return frame

    def close(self) -> None:
        """Free the GL context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
