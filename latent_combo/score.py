"""Scoring a policy in its environment: what this returns goes into logs and results, and never into training."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from envs.make import make
from envs.tasks import Task
from latent_combo.policy import Policy
from latent_combo.run.ranges import require_not_negative, require_positive

FILM_SIZE = 256
"""Pixels of a film for people, whatever the policy sees."""


@dataclass(frozen=True)
class ScoreConfig:
    """How policies are scored."""

    episodes: int = 10
    """Episodes of the final score, per agent."""
    episodes_during_training: int = 3
    """Episodes of each look during training, per agent."""
    seed: int = 1_000
    """The first episode's; each episode has the next one."""
    seed_during_training: int = 2_000
    """The same for the looks during training, which play other episodes than the final score."""

    def __post_init__(self) -> None:
        require_positive(self, "episodes", "episodes_during_training")
        require_not_negative(self, "seed", "seed_during_training")
        apart = abs(self.seed - self.seed_during_training)
        if apart < (self.episodes if self.seed < self.seed_during_training else self.episodes_during_training):
            raise ValueError(
                f"the final score plays episodes from seed {self.seed} on, the looks from {self.seed_during_training}, "
                "and some are the same; set them further apart"
            )


@dataclass(frozen=True)
class Score:
    """What E episodes of each of S agents gave."""

    returns: NDArray[np.float64]
    """(S, E) undiscounted returns."""
    physics: NDArray[np.float64]
    """(T, P), the simulator's states in the first agent's episode of median return: neither its best nor its worst."""


class Scorer:
    """Plays seeded episodes with a policy, all agents and episodes in lockstep; the environments are made once."""

    def __init__(self, task: Task, look: str, image_size: int, stack: int, episodes: int) -> None:
        self.task, self.stack, self.episodes = task, stack, episodes
        self.envs = [make(task.name, "pixels", look, image_size) for _ in range(stack * episodes)]

    def score(self, policy: Policy, seed: int, episodes: int | None = None) -> Score:
        """Play `episodes` (at most, and by default, those that the scorer was made for) with each agent."""
        number = episodes or self.episodes
        envs = self.envs[: self.stack * number]
        # Every agent meets the same starts.
        observations = [env.reset(seed=seed + i % number)[0] for i, env in enumerate(envs)]
        physics = [[env.physics_state()] for env in envs[:number]]
        policy.reset(number)
        returns, alive = np.zeros(len(envs)), np.ones(len(envs), bool)
        for _ in range(self.task.horizon):
            seen = torch.from_numpy(np.stack(observations)).unflatten(0, (self.stack, number))
            actions = policy.act(seen).flatten(0, 1).numpy()
            for index, (env, action) in enumerate(zip(envs, actions, strict=True)):
                if alive[index]:
                    observations[index], reward, terminated, _, _ = env.step(action)
                    returns[index] += reward
                    alive[index] = not terminated
            for states, env in zip(physics, envs, strict=False):
                states.append(env.physics_state())
            if not alive.any():
                break
        median = int(np.argsort(returns[:number])[number // 2])
        return Score(returns.reshape(self.stack, number), np.stack(physics[median]))

    def close(self) -> None:
        """Free all GL contexts."""
        for env in self.envs:
            env.close()


def film(task: Task, look: str, physics: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Draw an episode's states (T, P) for people, (T, 256, 256, 3)."""
    env = make(task.name, "pixels", look, FILM_SIZE)
    frames = np.stack([env.render_physics(state) for state in physics])
    env.close()
    return frames
