"""`python -m latent_combo.evaluate RUN`: score a trained policy in its environment.

Scoring looks only: what it returns goes into logs and results, and never into training.
"""

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


def main() -> None:
    """Read the command line, load the run, play, and print the scores."""
    import argparse
    from pathlib import Path

    from latent_combo.load_run import load_run

    parser = argparse.ArgumentParser(prog="python -m latent_combo.evaluate", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--episodes", type=int, default=10, help="episodes for each agent")
    parser.add_argument("--seed", type=int, default=1_000, help="the first episode's seed")
    given = parser.parse_args()
    run = load_run(given.run)
    policy = run.policy(seed=given.seed)
    scorer = Scorer(run.task, run.config.look, run.config.world_model.conv.image_size, policy.stack, given.episodes)
    returns = scorer.score(policy, given.seed).returns
    scorer.close()
    for index, of_agent in enumerate(returns):
        print(
            f"agent {index}: return {of_agent.mean():.1f} +- {of_agent.std():.1f} over {len(of_agent)} episodes, "
            f"normalised {run.task.normalised_score(of_agent.mean()):.1f}"
        )


if __name__ == "__main__":
    from latent_combo.run.errors import run_cli

    run_cli(main)
