"""The robots of D4RL and the two tasks that ask for generalisation, in gymnasium's simulations.

Version 4 has the dynamics and rewards that D4RL's files were made with. Version 5, in which Minari's sets were
recorded, has another friction of walker2d's left foot, pays nothing for being healthy in the step in which a robot
falls, and takes the ant's contacts off its reward.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs import gl
from envs.base import MujocoEnv, Observation
from envs.task import Task

gl.choose_if_any()  # mujoco decides by it when it is imported

import mujoco  # noqa: E402
from gymnasium.envs.mujoco.ant_v4 import AntEnv  # noqa: E402
from gymnasium.envs.mujoco.ant_v5 import AntEnv as Ant5  # noqa: E402
from gymnasium.envs.mujoco.half_cheetah_v4 import HalfCheetahEnv  # noqa: E402
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv as HalfCheetah5  # noqa: E402
from gymnasium.envs.mujoco.hopper_v4 import HopperEnv  # noqa: E402
from gymnasium.envs.mujoco.hopper_v5 import HopperEnv as Hopper5  # noqa: E402
from gymnasium.envs.mujoco.walker2d_v4 import Walker2dEnv  # noqa: E402
from gymnasium.envs.mujoco.walker2d_v5 import Walker2dEnv as Walker2d5  # noqa: E402

FASTEST = 3.0
"""m/s that halfcheetah-jump pays for; running faster pays no more."""
FLOOR = 25.0
"""Times as wide as gymnasium's the floor is drawn: a fast robot leaves those 40 m in an episode."""
DIRECTION = np.array([np.cos(np.pi / 6.0), np.sin(np.pi / 6.0)])
"""Where ant-angle is to run: 30 degrees from forward."""


Info = dict[str, Any]
Action = NDArray[np.floating[Any]]


def jump(simulator: Any, info: Info, action: Action) -> float:
    """halfcheetah-jump: min(v_x, 3) - 0.1 |a|^2 + 15 (z - z_init).

    z is the torso's height, z_init that of the model's own start (0.7 m), the same in every episode so that the reward
    is a function of the state. MOPO's text has a maximum for the minimum, which would pay 3 for standing still.
    """
    height = simulator.data.qpos[1] - simulator.init_qpos[1]
    return float(min(info["x_velocity"], FASTEST) + 15.0 * height - 0.1 * np.square(action).sum())


def angle(simulator: Any, info: Info, action: Action) -> float:
    """ant-angle: v . (cos 30, sin 30) - 0.5 |a|^2 - 5e-4 |contacts|^2 + 1.

    Contacts are the external forces on the bodies, each clipped to [-1, 1].
    """
    along = DIRECTION @ (info["x_velocity"], info["y_velocity"])
    return float(along + simulator.healthy_reward - simulator.control_cost(action) - simulator.contact_cost)


SIMULATORS: dict[str, Any] = {
    "halfcheetah": HalfCheetahEnv,
    "hopper": HopperEnv,
    "walker2d": Walker2dEnv,
    "ant": AntEnv,
    "halfcheetah-jump": HalfCheetahEnv,
    "ant-angle": AntEnv,
    "halfcheetah-v5": HalfCheetah5,
    "hopper-v5": Hopper5,
    "walker2d-v5": Walker2d5,
    "ant-v5": partial(Ant5, include_cfrc_ext_in_observation=False),
}
REWARDS: dict[str, Callable[[Any, Info, Action], float]] = {"halfcheetah-jump": jump, "ant-angle": angle}
"""Of the tasks whose reward is not gymnasium's own."""


class LocomotionEnv(MujocoEnv):
    """One of gymnasium's MuJoCo robots; an episode ends for good where the robot falls, if the task says so."""

    def __init__(self, task: Task, observation: str, look: str, image_size: int) -> None:
        super().__init__(task, observation, look, image_size)
        self._env = SIMULATORS[task.name]()
        model = self._env.model
        floor = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
        model.geom_size[floor, :2] *= FLOOR  # what is drawn of it: in contacts a plane has no end
        model.mat_texrepeat[np.unique(model.geom_matid[floor])] *= FLOOR
        self._reward = REWARDS.get(task.name)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the same seed gives the same start."""
        super().reset(seed=seed)
        self._env.reset(seed=seed)
        self._elapsed = 0
        return self._observe(), self._info()

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply one action (A,)."""
        _, reward, terminated, _, info = self._env.step(action)
        if self._reward is not None:
            reward = self._reward(self._env, info, action)
        self._elapsed += 1
        return self._observe(), float(reward), bool(terminated), self._elapsed >= self.task.horizon, self._info()

    def physics_state(self) -> NDArray[np.float64]:
        """Positions and velocities, (P,) float64."""
        return np.concatenate([self._env.data.qpos, self._env.data.qvel])

    def set_physics(self, physics: NDArray[np.floating[Any]]) -> None:
        """Move the simulator to a state (P,), as `physics_state` gives it."""
        positions = self._env.model.nq
        self._env.set_state(np.asarray(physics[:positions], np.float64), np.asarray(physics[positions:], np.float64))

    def state(self) -> NDArray[np.float32]:
        """Gymnasium's observation (S,); that of halfcheetah-jump ends with the torso's height."""
        observation = self._env._get_obs()
        if self.task.name == "halfcheetah-jump":
            # not from the bodies' places, which MuJoCo has of a moment before
            observation = np.append(observation, self._env.model.body("torso").pos[2] + self._env.data.qpos[1])
        return np.asarray(observation, np.float32)

    def _simulator(self) -> tuple[Any, Any]:
        return self._env.model, self._env.data
