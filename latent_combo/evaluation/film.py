"""An episode as a film for people."""

import numpy as np
from numpy.typing import NDArray

from envs.make import make
from envs.tasks import Task
from envs.vector_env import an_environment_may_raise

FILM_SIZE = 256
"""Pixels of a film for people, whatever the policy sees."""
FILM_RATE = 25.0
"""Frames per second that a film has, or somewhat fewer or more."""


def film(task: Task, look: str, physics: NDArray[np.float64]) -> tuple[NDArray[np.uint8], int]:
    """Draw an episode's states (T, P) for people: (T', 256, 256, 3), and the frames a second that are real time.

    Of a task of many steps a second every n-th is drawn. Raises UserError where nothing can be drawn.
    """
    every = max(1, round(task.fps / FILM_RATE))
    with an_environment_may_raise():
        env = make(task.name, "pixels", look, FILM_SIZE)
        frames = np.stack([env.render_physics(state) for state in physics[::every]])
        env.close()
    return frames, round(task.fps / every)
