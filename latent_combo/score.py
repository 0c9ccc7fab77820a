"""Scoring a policy in its environment: what this returns goes into logs and results, and never into training."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from envs.make import make
from envs.tasks import Task
from latent_combo.policy import Policy


@dataclass(frozen=True)
class ScoreConfig:
    """How policies are scored."""

    episodes: int = 10
    """Episodes of the final score, per agent."""
    episodes_during_training: int = 3
    """Episodes of each look during training, per agent."""
    seed: int = 1_000
    """The first episode's; each episode has the next one."""


@dataclass(frozen=True)
class Score:
    """What E episodes of each of S agents gave."""

    returns: NDArray[np.float64]
    """(S, E) undiscounted returns."""
    frames: NDArray[np.uint8]
    """(T, H, W, 3), what the first agent saw in its first episode."""


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
        policy.reset(number)
        returns = np.zeros(len(envs))
        frames = [observations[0]]
        for _ in range(self.task.horizon):
            seen = torch.from_numpy(np.stack(observations)).unflatten(0, (self.stack, number))
            actions = policy.act(seen).flatten(0, 1).numpy()
            for index, (env, action) in enumerate(zip(envs, actions, strict=True)):
                observation, reward, _, _, _ = env.step(action)
                observations[index] = observation
                returns[index] += reward
            frames.append(observations[0])
        return Score(returns.reshape(self.stack, number), np.stack(frames))

    def close(self) -> None:
        """Free all GL contexts."""
        for env in self.envs:
            env.close()
