"""Any of Gymnasium's environments with continuous actions as a task: from vectors, from its images, or as it draws."""

import importlib
import os
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from envs.base import MujocoEnv, Observation, TaskEnv
from envs.pixels import fitted
from envs.task import Task

MakeGymnasium = Callable[[], "gymnasium.Env[Any, Any]"]
"""Makes an environment of Gymnasium, with a render mode of rgb_array where it is to be drawn."""
IMAGE_AXES = 3
"""Of an image (H, W, C); vectors and arrays of other shapes are flattened."""


def is_image(space: gymnasium.Space[Any]) -> bool:
    """Whether observations are images: (H, W, 3) or (H, W, 1), uint8."""
    shape = space.shape or ()
    return space.dtype == np.uint8 and len(shape) == IMAGE_AXES and shape[-1] in (1, 3)


def parts(space: gymnasium.Space[Any], keys: tuple[str, ...], name: str) -> tuple[list[str], list[str]]:
    """Which keys of a Dict are vectors, and which are images, in their order; "" is what is no Dict.

    Raises UserError for spaces that cannot be observed: the message names what there is.
    """
    if isinstance(space, gymnasium.spaces.Dict):
        known = list(space.spaces)
        if not keys:
            named = f"{name},keys={'+'.join(known)}"
            raise UserError(f"{name} observes a Dict of {', '.join(known)}; say which of them, such as --task {named}")
        if missing := [key for key in keys if key not in known]:
            raise UserError(f"{name} observes no key {missing[0]!r}; there are {', '.join(known)}")
        chosen = {key: space.spaces[key] for key in keys}
    elif keys:
        raise UserError(f"{name} observes no Dict, so it has no keys; leave keys out")
    else:
        chosen = {"": space}
    vectors: list[str] = []
    images: list[str] = []
    for key, part in chosen.items():
        if is_image(part):
            images.append(key)
        elif isinstance(part, gymnasium.spaces.Box):
            vectors.append(key)
        else:
            what = f"{name} observes {part}" + (f" as {key}" if key else "")
            raise UserError(f"{what}; vectors and images (Box) can be observed, so wrap it")
    if len(images) > 1:
        raise UserError(f"{name} observes several images ({', '.join(images)}); name one of them with keys")
    return vectors, images


def check_actions(space: gymnasium.Space[Any], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The lowest and highest actions, flat (A,). Raises UserError for actions that are not bounded numbers."""
    if not isinstance(space, gymnasium.spaces.Box):
        raise UserError(f"{name} has actions {space}; only continuous ones (Box) can be learned here")
    low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise UserError(f"{name} has actions without bounds ({space}); wrap it so that each has a lowest and a highest")
    return low, high


class GymnasiumEnv(TaskEnv):
    """An environment of Gymnasium. Actions in [-1, 1] are rescaled to its bounds; its own time limits hold, too.

    States are its vectors, flattened, or those of the keys that are named, in that order. Pixels are its image, if it
    has one, and else what it renders, averaged to `image_size` (`fitted`). Its state can be neither read nor set.
    """

    def __init__(
        self,
        task: Task,
        observation: str,
        look: str,
        image_size: int,
        make_env: "MakeGymnasium",
        keys: tuple[str, ...] = (),
    ) -> None:
        """Wrap what `make_env` makes; raises UserError where its spaces are not the task's."""
        if observation == "state" and not task.state_dim:
            raise UserError(f"{task.name} observes images only; use --obs pixels")
        super().__init__(task, observation, look, image_size)
        self._env = make_env()
        self._vectors, self._images = parts(self._env.observation_space, keys, task.name)
        low, high = check_actions(self._env.action_space, task.name)
        self._middle, self._half = (high + low) / 2.0, (high - low) / 2.0
        self._seen: Any = None
        if len(low) != task.action_dim:
            raise UserError(
                f"{task.name} is said to have {task.action_dim} actions, but its environment has {len(low)}"
            )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the same seed gives the same start, if the environment keeps to that."""
        super().reset(seed=seed)
        self._seen, _ = self._env.reset(seed=seed)
        self._elapsed = 0
        if len(state := self.state()) != self.task.state_dim:
            size = self.task.state_dim
            raise UserError(f"{self.task.name} is said to observe {size} numbers, but its environment has {len(state)}")
        return self._observe(), self._info()

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Apply one action for `action_repeat` control steps, or to the episode's end, and sum their rewards."""
        reward, terminated, truncated = 0.0, False, False
        box = self._env.action_space
        control = (self._middle + self._half * np.asarray(action, np.float64)).astype(box.dtype).reshape(box.shape)
        for _ in range(self.task.action_repeat):
            self._seen, paid, terminated, truncated, _ = self._env.step(control)
            reward += float(paid)
            if terminated or truncated:
                break
        self._elapsed += 1
        truncated = bool(truncated) or self._elapsed >= self.task.horizon
        return self._observe(), reward, bool(terminated), truncated, self._info()

    def state(self) -> NDArray[np.float32]:
        """The vectors, (S,); empty where there are images only."""
        parts = [np.ravel(self._seen[key] if key else self._seen) for key in self._vectors]
        return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)

    def render(self) -> NDArray[np.uint8]:
        """The image that is observed, or else what the environment renders, (size, size, 3) uint8."""
        if self._images:
            key = self._images[0]
            frame = self._seen[key] if key else self._seen
        else:
            try:
                frame = self._env.render()
            except (gymnasium.error.Error, NotImplementedError) as error:
                why = " ".join(str(error).split()) or "its environment has no method render"
                raise UserError(f"{self.task.name} cannot be drawn: {why}") from error
        if not isinstance(frame, np.ndarray) or frame.ndim != IMAGE_AXES:
            raise UserError(f"{self.task.name} renders no picture; make it with a render mode of rgb_array")
        return fitted(frame, self.image_size)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


class GymnasiumMujocoEnv(MujocoEnv):
    """A robot of Gymnasium's in MuJoCo: its positions and velocities are recorded, and this project draws it."""

    def __init__(
        self, task: Task, observation: str, look: str, image_size: int, inner: GymnasiumEnv, simulation: Any
    ) -> None:
        super().__init__(task, observation, look, image_size)
        self._inner, self._env = inner, simulation
        self._moved = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the same seed gives the same start."""
        self._inner.reset(seed=seed)
        self._moved = False
        return self._observe(), self._info()

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """See `GymnasiumEnv.step`."""
        _, reward, terminated, truncated, _ = self._inner.step(action)
        self._moved = False
        return self._observe(), reward, terminated, truncated, self._info()

    def physics_state(self) -> NDArray[np.float64]:
        """Positions and velocities, (P,) float64."""
        return np.concatenate([self._env.data.qpos, self._env.data.qvel])

    def set_physics(self, physics: NDArray[np.floating[Any]]) -> None:
        """Move the simulator to a state (P,), as `physics_state` gives it."""
        count = self._env.model.nq
        self._env.set_state(np.asarray(physics[:count], np.float64), np.asarray(physics[count:], np.float64))
        self._moved = True

    def state(self) -> NDArray[np.float32]:
        """The environment's observation, (S,), of where the simulator is."""
        if not self._moved:
            return self._inner.state()
        return np.ravel(self._env._get_obs()).astype(np.float32)

    def close(self) -> None:
        """Free the GL context, and close the environment."""
        super().close()
        self._inner.close()

    def _simulator(self) -> tuple[Any, Any]:
        return self._env.model, self._env.data


def wrapped(
    task: Task,
    observation: str,
    look: str,
    image_size: int,
    make_env: MakeGymnasium,
    keys: tuple[str, ...] = (),
) -> TaskEnv:
    """The task's environment around what `make_env` makes: a robot in MuJoCo is drawn and recorded as one."""
    if not task.physics_dim:
        return GymnasiumEnv(task, observation, look, image_size, make_env, keys)
    inner = GymnasiumEnv(task, "state", look, image_size, make_env, keys)
    return GymnasiumMujocoEnv(task, observation, look, image_size, inner, mujoco_simulation(inner._env))


def mujoco_simulation(env: "gymnasium.Env[Any, Any]") -> Any | None:
    """The simulation inside an environment, if it is MuJoCo's, whose state can be set and observed."""
    bare = env.unwrapped
    return bare if all(hasattr(bare, name) for name in ("model", "data", "set_state", "_get_obs")) else None


def make_env(own: str) -> "gymnasium.Env[Any, Any]":
    """Make an environment of Gymnasium, to be drawn where it can be; `own` is its id, or my_module:ID.

    The module that is named is imported first, in each process that makes one. Raises UserError where there is none.
    """
    module, _, name = own.rpartition(":")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame draws into arrays here, and would ask for a display
    try:
        if module:
            importlib.import_module(module)
        spec = gymnasium.spec(name)
        if _may_draw(spec):
            try:
                return gymnasium.make(name, render_mode="rgb_array", disable_env_checker=True)
            except TypeError as error:
                if "render_mode" not in str(error):  # which not every environment takes
                    raise
        return gymnasium.make(name, disable_env_checker=True)
    except (gymnasium.error.Error, ImportError, AttributeError) as error:
        unknown = isinstance(error, gymnasium.error.NamespaceNotFound) and not module
        remedy = f"; name the module that registers it: gymnasium:my_module:{own}" if unknown else ""
        raise UserError(f"gymnasium:{own} cannot be made: {' '.join(str(error).split())}{remedy}") from error


def _may_draw(spec: "gymnasium.envs.registration.EnvSpec") -> bool:
    """Whether an environment draws as far as its class says; a function, or a class of wrappers, does not say."""
    creator: Any = spec.entry_point
    if not callable(creator):
        creator = gymnasium.envs.registration.load_env_creator(str(creator))
    metadata = getattr(creator, "metadata", None)
    return not isinstance(metadata, dict) or "rgb_array" in metadata.get("render_modes", ())
