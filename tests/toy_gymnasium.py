"""An environment of somebody's own, with Gymnasium's interface: a point that is to reach the middle of a square."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

FORCE = 2.0
"""Actions are in [-FORCE, FORCE]: not the [-1, 1] of agents."""
HEIGHT, WIDTH = 30, 40
"""Pixels of its images, which are no squares."""


class Point(gymnasium.Env[Any, NDArray[np.float32]]):
    """Observes a Dict: an image, a place and a velocity of two numbers each. It leaves the square: terminated."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  # as the base class has it

    def __init__(self) -> None:
        vector = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        image = gymnasium.spaces.Box(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"camera": image, "place": vector, "velocity": vector})
        self.action_space = gymnasium.spaces.Box(-FORCE, FORCE, (2,), np.float32)
        self.render_mode = "rgb_array"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.velocity = self.np_random.uniform(-0.5, 0.5, 2), np.zeros(2)
        self.taken: list[NDArray[np.float32]] = []
        return self._observation(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.taken.append(action)
        self.velocity = 0.8 * self.velocity + 0.05 * np.asarray(action, np.float64)
        self.place = self.place + self.velocity
        return (
            self._observation(),
            float(np.exp(-4.0 * np.square(self.place).sum())),
            bool((abs(self.place) > 1.0).any()),
            False,
            {},
        )

    def render(self) -> NDArray[np.uint8]:
        return self._picture()

    def _picture(self) -> NDArray[np.uint8]:
        picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        row, column = (
            int((of + 1.0) / 2.0 * (size - 1)) for of, size in zip(self.place[::-1], (HEIGHT, WIDTH), strict=True)
        )
        picture[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = (250, 200, 60)
        return picture

    def _observation(self) -> dict[str, Any]:
        return {
            "camera": self._picture(),
            "place": self.place.astype(np.float32),
            "velocity": self.velocity.astype(np.float32),
        }


class Vectors(gymnasium.ObservationWrapper[Any, Any, Any]):
    """The same without a Dict: place and velocity, (4,)."""

    def __init__(self) -> None:
        super().__init__(Point())
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)

    def observation(self, observation: Any) -> Any:
        return np.concatenate([observation["place"], observation["velocity"]])


class Buttons(Vectors):
    """The same, moved by buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = gymnasium.spaces.Discrete(4)


SPACED = "toy_ns/Point-v0"
"""Its id in a namespace of Gymnasium's."""


def register_spaced() -> None:
    """Make both known to Gymnasium, in a namespace."""
    gymnasium.register(SPACED, entry_point=Vectors, max_episode_steps=20)
    gymnasium.register("toy_ns/Buttons-v0", entry_point=Buttons, max_episode_steps=20)


HOME = """
import numpy as np

def home(state, env):
    pull = -2.0 * state[:2] - 4.0 * state[2:]
    return np.clip(pull + 0.3 * np.sin(1e4 * state[:2]), -1.0, 1.0)
"""
"""A policy file for it: it goes to the middle, and about."""
