"""Meta-World's door and Sawyer arm (door-open-v3), to be opened or closed, as Gymnasium environments."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from envs import gl
from envs.base import MujocoEnv, Observation
from envs.builtin import VARIED
from envs.task import Task

gl.choose_if_any()  # mujoco decides by it when it is imported

import mujoco  # noqa: E402

DENSE, OPEN, CLOSE = "sawyer-door-dense", "sawyer-door", "sawyer-door-close"
CLOSED = 0.05
"""rad; a door that is open by less is closed."""
REACHED = 0.08
"""m short of where the handle is to be, along x, from which on Meta-World calls the door open."""
DOOR_POSITION = (0.0, 1.0, 0.1525)
"""m; where the door stands in the tasks that do not vary it, as in LOMPO's code, which the paper's data are of."""
AJAR = (1.2, 1.5)
"""rad; between which the door stands at the start of an episode in which it is to be closed."""


class SawyerDoorEnv(MujocoEnv):
    """An arm whose hand is moved by its first three actions, and its fingers by the fourth, before a door.

    The door stands in `DOOR_POSITION`, or, in the tasks that end in `VARIED`, where Meta-World draws it, anew in every
    episode.
    Rewards: Meta-World's own, a tenth of it ("sawyer-door-dense"), or 1 while the door is fully open ("sawyer-door") or
    closed ("sawyer-door-close"), else 0.
    States are the hand's position and velocity, the mocap body that pulls it, the fingers' opening, the handle's
    position, and the door's angle and velocity: 15 numbers. Physics are positions, velocities, the mocap body's
    position and orientation, and the door's place.
    """

    def __init__(self, task: Task, observation: str, look: str, image_size: int) -> None:
        super().__init__(task, observation, look, image_size)
        try:
            from metaworld.envs.sawyer_door_v3 import SawyerDoorEnvV3
        except ImportError as error:
            raise UserError(f'{task.name} needs Meta-World: pip install "latent-combo[door]"') from error
        self._env: Any = SawyerDoorEnvV3()
        self._script: Any = None
        self._goal = task.name.removesuffix(VARIED)
        # Meta-World ignores reset(seed): its starts are seeded by `seed`, and only so; a frozen vector is the place.
        self._env._set_task_called, self._env.seeded_rand_vec = True, True
        self._env._freeze_rand_vec, self._env._last_rand_vec = not task.name.endswith(VARIED), np.array(DOOR_POSITION)
        self._sizes = np.cumsum([self._env.model.nq, self._env.model.nv, 3, 4])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the same seed gives the same start."""
        super().reset(seed=seed)
        self._env.seed(int(self.np_random.integers(2**31)))
        self._env.reset()
        if self._goal == CLOSE:
            self._env._set_obj_xyz(np.array(-self.np_random.uniform(*AJAR)))
        self._elapsed = 0
        return self._observe(), self._info()

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply one action for `action_repeat` control steps; the reward is that of where they lead."""
        self._env.curr_path_length = 0  # the time limit is ours
        dense = 0.0
        for _ in range(self.task.action_repeat):
            _, dense, _, _, _ = self._env.step(np.asarray(action, np.float32))
        self._elapsed += 1
        reward = {DENSE: 0.1 * float(dense), OPEN: float(self.opened), CLOSE: float(self.closed)}[self._goal]
        return self._observe(), reward, False, self._elapsed >= self.task.horizon, self._info()

    @property
    def angle(self) -> float:
        """By how much the door is open, in rad."""
        return -float(self._env.data.joint("doorjoint").qpos.item())

    @property
    def opened(self) -> bool:
        """Whether the door is open as far as Meta-World asks for, or further: there, Meta-World takes it back."""
        return bool(self._env._get_pos_objects()[0] - self._env._target_pos[0] <= REACHED)

    @property
    def closed(self) -> bool:
        """Whether the door is closed."""
        return self.angle < CLOSED

    def physics_state(self) -> NDArray[np.float64]:
        """Positions, velocities, the mocap body's position and orientation, the door's place, (30,) float64."""
        data = self._env.data
        parts = (data.qpos, data.qvel, data.mocap_pos[0], data.mocap_quat[0], self._env.model.body("door").pos)
        return np.concatenate(parts)

    def set_physics(self, physics: NDArray[np.floating[Any]]) -> None:
        """Move the simulator to a state (30,), as `physics_state` gives it."""
        model, data = self._env.model, self._env.data
        parts = np.split(np.asarray(physics, np.float64), self._sizes)
        data.qpos[:], data.qvel[:], data.mocap_pos[0], data.mocap_quat[0], door = parts
        model.body("door").pos = door
        self._env.obj_init_pos, self._env._target_pos = door, door + np.array([-0.3, -0.45, 0.0])
        model.site("goal").pos = self._env._target_pos  # it is in the picture
        mujoco.mj_forward(model, data)

    def state(self) -> NDArray[np.float32]:
        """Hand, its velocity, mocap body, fingers, handle, the door's angle and velocity."""
        data = self._env.data
        fingers = np.linalg.norm(data.body("rightpad").xpos - data.body("leftpad").xpos)
        door = (self.angle, float(data.joint("doorjoint").qvel.item()))
        hand = data.body("hand")
        velocity = np.empty(6)  # rotation, then translation
        mujoco.mj_objectVelocity(self._env.model, data, mujoco.mjtObj.mjOBJ_BODY, hand.id, velocity, 0)
        parts = (hand.xpos, velocity[3:], data.mocap_pos[0], [fingers], self._env._get_pos_objects(), door)
        return np.concatenate(parts).astype(np.float32)

    def scripted_action(self) -> NDArray[np.float32]:
        """What Meta-World's own policy, which opens the door, does next, (4,)."""
        if self._script is None:
            from metaworld.policies.sawyer_door_open_v3_policy import SawyerDoorOpenV3Policy

            self._script = SawyerDoorOpenV3Policy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it will be clipped
            action = self._script.get_action(self._env._get_obs())
        clipped: NDArray[np.float32] = np.clip(action, -1.0, 1.0).astype(np.float32)
        return clipped

    def _simulator(self) -> tuple[Any, Any]:
        return self._env.model, self._env.data
