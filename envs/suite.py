"""Tasks of dm_control's suite as Gymnasium environments, from states or from pixels."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs import rendering  # chooses the GL library, so it comes before dm_control
from envs.base import MujocoEnv, Observation
from envs.drawn import Drawn, Numbers, drawn_numbers, numbers_of_model
from envs.task import Task

from dm_control import suite  # isort: skip

rendering.close_before_what_is_loaded()

ALL_TASKS: tuple[tuple[str, str], ...] = suite.ALL_TASKS
"""Domains and tasks of the suite."""


def load(domain: str, name: str) -> Any:
    """The suite's environment of a domain's task."""
    return suite.load(domain, name, task_kwargs={"random": 0})


def parts_of(name: str) -> tuple[str, str]:
    """Domain and task of a task's name, such as walker-walk or dmc:ball_in_cup-catch,camera=0."""
    domain, _, own = name.removeprefix("dmc:").partition(",")[0].partition("-")
    return domain, own


@cache
def drawn(domain: str, name: str) -> Drawn | None:
    """Which numbers of the model an episode's start draws, such as a reacher's target; None where there are too many.

    Without them an episode could be neither drawn nor continued from a recorded state.
    """
    env = load(domain, name)

    def start(seed: int) -> Numbers:
        env.task.random.seed(seed)
        env.reset()
        return numbers_of_model(env.physics.model.ptr)

    return drawn_numbers(start)


class SuiteEnv(MujocoEnv):
    """The suite's task of the same name (`walker-walk`): its reward for each of `action_repeat` control steps.

    States are the suite's observations one after another, in its order. Physics are positions, velocities, the
    activations of muscles, and the numbers of the model that are drawn anew in each episode (`drawn`), where
    there are any; and nothing where these are too many. Actions in [-1, 1] are rescaled to the task's bounds.
    """

    def __init__(self, task: Task, observation: str, look: str, image_size: int) -> None:
        super().__init__(task, observation, look, image_size)
        domain, name = parts_of(task.name)
        self._suite = load(domain, name)
        self._physics = self._suite.physics
        if task.horizon > -(-self._suite._step_limit // task.action_repeat):
            self._suite._step_limit = task.horizon * task.action_repeat  # else it would start another episode within
        self._drawn = drawn(domain, name) if task.physics_dim else ()
        sizes = [self._physics.model.nq, self._physics.model.nv, self._physics.model.na]
        self._sizes = np.cumsum([*sizes, *(len(places) for _, places in self._drawn or ())])[:-1]
        bounds = self._suite.action_spec()
        self._middle = (bounds.maximum + bounds.minimum) / 2.0
        self._half = (bounds.maximum - bounds.minimum) / 2.0

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
        """Apply one action for `action_repeat` control steps, or to the episode's end, and sum their rewards."""
        reward, terminated = 0.0, False
        control = self._middle + self._half * np.asarray(action, np.float64)
        for _ in range(self.task.action_repeat):
            step = self._suite.step(control)
            reward += float(step.reward)
            terminated = bool(step.last() and step.discount == 0.0)
            if step.last():  # the suite would start another episode
                break
        self._elapsed += 1
        return self._observe(), reward, terminated, self._elapsed >= self.task.horizon, self._info()

    def physics_state(self) -> NDArray[np.float64]:
        """Positions, velocities, activations, and what the episode's start drew, (P,) float64."""
        if not self.task.physics_dim:
            return np.zeros(0)
        data, model = self._physics.data, self._physics.model.ptr
        parts = [getattr(model, field).ravel()[list(places)] for field, places in self._drawn or ()]
        return np.concatenate([data.qpos, data.qvel, data.act, *parts])

    def set_physics(self, physics: NDArray[np.floating[Any]]) -> None:
        """Move the simulator to a state (P,), as `physics_state` gives it."""
        if not self.task.physics_dim:
            super(MujocoEnv, self).set_physics(physics)
        parts = np.split(np.asarray(physics, np.float64), self._sizes)
        with self._physics.reset_context():
            data, model = self._physics.data, self._physics.model.ptr
            data.qpos[:], data.qvel[:], data.act[:] = parts[:3]
            for (field, places), values in zip(self._drawn or (), parts[3:], strict=True):
                getattr(model, field).ravel()[list(places)] = values

    def state(self) -> NDArray[np.float32]:
        """The suite's observations, (S,)."""
        parts = self._suite.task.get_observation(self._physics).values()
        return np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)

    def _simulator(self) -> tuple[Any, Any]:
        return self._physics.model.ptr, self._physics.data.ptr
