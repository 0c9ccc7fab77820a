"""Meta-World's tasks as Gymnasium environments, from states or from pixels."""

import warnings
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from envs import gl
from envs.base import MujocoEnv, Observation
from envs.drawn import Drawn, Numbers, drawn_numbers, numbers_of_model, numbers_of_object
from envs.task import Task

gl.choose_if_any()  # mujoco decides by it when it is imported

import mujoco  # noqa: E402

VERSION = "-v3"
"""How Meta-World's own names end."""
CURRENT = 18
"""Numbers of Meta-World's observation of one moment."""


def make_simulation(name: str) -> Any:
    """Meta-World's environment of a task. Raises UserError where Meta-World is not installed."""
    try:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    except ImportError as error:
        raise UserError(f'metaworld:{name} needs Meta-World: pip install "latent-combo[door]"') from error
    env = ALL_V3_ENVIRONMENTS[name + VERSION]()
    # Meta-World ignores reset(seed): its starts are seeded by `seed`, and only so.
    env._set_task_called, env.seeded_rand_vec, env._freeze_rand_vec = True, True, False
    return env


@cache
def drawn(name: str) -> tuple[Drawn, Drawn]:
    """Which numbers of the model, and which attributes of the environment, the start of an episode draws.

    The attributes hold what rewards are measured from: where objects were, and where they are to be.
    """
    env = make_simulation(name)

    def started(seed: int) -> None:
        env.seed(seed)
        env.reset()

    def model(seed: int) -> Numbers:
        started(seed)
        return numbers_of_model(env.model)

    def attributes(seed: int) -> Numbers:
        started(seed)
        return {key: value for key, value in numbers_of_object(env).items() if key != "_prev_obs"}

    found = drawn_numbers(model), drawn_numbers(attributes)
    if found[0] is None or found[1] is None:
        raise UserError(f"metaworld:{name} draws too much of its model to be recorded; choose another task")
    return found[0], found[1]


class MetaworldEnv(MujocoEnv):
    """A task of Meta-World; the reward is that of where an agent step's control steps lead.

    It is a tenth of Meta-World's own, in [0, 1] ("dense"), or 1 while the task is done, else 0 ("sparse"). States are
    Meta-World's 39 numbers: hand, fingers and objects, the same a control step before, and the goal. Physics are
    positions, velocities, the mocap body's position and orientation, the 18 numbers of a control step before, and what
    the episode's start drew.
    """

    def __init__(self, task: Task, observation: str, look: str, image_size: int) -> None:
        super().__init__(task, observation, look, image_size)
        self._name = task.name.removeprefix("metaworld:").partition(",")[0]
        self._env = make_simulation(self._name)
        self._sparse = dict(task.options).get("reward") == "sparse"
        self._script: Any = None
        self._previous = np.zeros(CURRENT)
        self._of_model, self._of_env = drawn(self._name)
        moving = [self._env.model.nq, self._env.model.nv, 3, 4, CURRENT]
        places = [len(places) for _, places in (*self._of_model, *self._of_env)]
        self._sizes = np.cumsum([*moving, *places])[:-1]
        self._env.seed(0)
        self._env.reset()  # a recorded state may be set before the first episode, and some attributes begin with one

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the same seed gives the same start."""
        super().reset(seed=seed)
        self._env.seed(int(self.np_random.integers(2**31)))
        self._env.reset()
        # Meta-World moves bodies after the last step, and MuJoCo has their places of a moment before: what is seen and
        # drawn is to be of one moment, as it is where a recorded state is set.
        mujoco.mj_forward(self._env.model, self._env.data)
        self._previous = self._current()
        self._elapsed = 0
        return self._observe(), self._info()

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply one action for `action_repeat` control steps."""
        self._env.curr_path_length = 0  # the time limit is ours
        reward = 0.0
        for _ in range(self.task.action_repeat):
            self._previous = self._current()
            _, dense, _, _, told = self._env.step(np.asarray(action, np.float32))
            reward = float(told["success"]) if self._sparse else 0.1 * float(dense)
            mujoco.mj_forward(self._env.model, self._env.data)
        self._elapsed += 1
        return self._observe(), reward, False, self._elapsed >= self.task.horizon, self._info()

    def physics_state(self) -> NDArray[np.float64]:
        """What moves, what was observed a control step before, and what the episode's start drew, (P,) float64."""
        data = self._env.data
        model = [getattr(self._env.model, field).ravel()[list(places)] for field, places in self._of_model]
        own = [np.ravel(getattr(self._env, name))[list(places)] for name, places in self._of_env]
        moving = (data.qpos, data.qvel, data.mocap_pos[0], data.mocap_quat[0], self._previous)
        return np.concatenate([*moving, *model, *own])

    def set_physics(self, physics: NDArray[np.floating[Any]]) -> None:
        """Move the simulator to a state (P,), as `physics_state` gives it."""
        model, data = self._env.model, self._env.data
        parts = np.split(np.asarray(physics, np.float64), self._sizes)
        data.qpos[:], data.qvel[:], data.mocap_pos[0], data.mocap_quat[0] = parts[:4]
        self._previous = parts[4].copy()
        at_start = parts[5:]
        for (field, places), values in zip(self._of_model, at_start[: len(self._of_model)], strict=True):
            getattr(model, field).ravel()[list(places)] = values
        for (name, places), values in zip(self._of_env, at_start[len(self._of_model) :], strict=True):
            old = getattr(self._env, name)
            if _is_of(data, old):  # what moves with the simulation is set, and would stand still as a copy
                continue
            new = np.array(old, np.float64)
            new.ravel()[list(places)] = values
            setattr(self._env, name, new if isinstance(old, np.ndarray) else float(new))
        mujoco.mj_forward(model, data)

    def state(self) -> NDArray[np.float32]:
        """Meta-World's observation with its goal, (39,)."""
        return np.concatenate([self._current(), self._previous, self._env._get_pos_goal()]).astype(np.float32)

    def scripted_action(self) -> NDArray[np.float32]:
        """What Meta-World's own policy does next, (4,)."""
        if self._script is None:
            from metaworld.policies import ENV_POLICY_MAP

            policy: Any = ENV_POLICY_MAP[self._name + VERSION]
            self._script = policy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it will be clipped
            action = self._script.get_action(self.state().astype(np.float64))
        clipped: NDArray[np.float32] = np.clip(action, -1.0, 1.0).astype(np.float32)
        return clipped

    def _current(self) -> NDArray[np.float64]:
        now: NDArray[np.float64] = self._env._get_curr_obs_combined_no_goal()
        return now

    def _simulator(self) -> tuple[Any, Any]:
        return self._env.model, self._env.data


def _is_of(data: Any, value: Any) -> bool:
    """Whether an array is a view of MuJoCo's data: some of Meta-World's "initial" positions are, and move."""
    return isinstance(value, np.ndarray) and any(
        np.may_share_memory(value, getattr(data, field)) for field in ("xpos", "site_xpos", "geom_xpos", "xquat")
    )
