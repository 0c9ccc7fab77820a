"""An episode as a film for people."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from envs.base import TaskEnv
from envs.make import make
from envs.task import Task
from envs.vector_env import an_environment_may_raise
from latent_combo.evaluation.score import PlayedEpisode

FILM_SIZE = 256
"""Pixels of a film for people, whatever the policy sees."""
FILM_RATE = 25.0
"""Frames per second that a film has, or somewhat fewer or more."""


def film(task: Task, look: str, episode: PlayedEpisode) -> tuple[NDArray[np.uint8], int]:
    """Draw an episode for people: (T', 256, 256, 3), and the frames a second that are real time.

    Of a task of many steps a second every n-th is drawn. Where the simulator can't be set to states, the episode is
    played again, by its seed and actions. Raises UserError where nothing can be drawn.
    """
    every = max(1, round(task.fps / FILM_RATE))
    with an_environment_may_raise():
        env = make(task, "pixels", look, FILM_SIZE)
        if episode.actions is None:
            frames = np.stack([env.render_physics(state) for state in episode.physics[::every]])
        else:
            frames = np.stack(list(_played_again(env, episode.seed, episode.actions))[::every])
        env.close()
    return frames, round(task.fps / every)


def _played_again(env: TaskEnv, seed: int, actions: NDArray[np.float32]) -> Iterator[NDArray[np.uint8]]:
    observation, _ = env.reset(seed=seed)
    yield observation
    for action in actions:
        observation, *_ = env.step(action)
        yield observation
