"""What some episodes of a policy in its environment came to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.task import Task
from latent_combo.world_model.base import Segment


@dataclass(frozen=True)
class Score:
    """What E episodes of each of S agents gave."""

    returns: NDArray[np.float64]
    """(S, E) undiscounted returns."""
    physics: NDArray[np.float64]
    """(T, P), the simulator's states in the first agent's episode of median return: neither its best nor its worst."""
    worst_physics: NDArray[np.float64]
    """(T, P), the same of its episode of least return."""
    last_rewards: NDArray[np.float64]
    """(S, E): the reward of each episode's last step, which tells success where the reward is that."""
    recorded: Segment | None = None
    """The first agent's first episodes, if asked for: what it saw, did and got, (B, T+1, ...) in Dreamer indexing."""

    @property
    def filmed(self) -> str:
        """What the episode of `physics` is."""
        returns = self.returns[0]
        return f"return {returns[median_episode(returns)]:.0f}, median of {len(returns)}"

    @property
    def filmed_worst(self) -> str:
        """What the episode of `worst_physics` is."""
        returns = self.returns[0]
        return f"return {returns.min():.0f}, worst of {len(returns)}"

    def success_rate(self, task: Task) -> float | None:
        """The share of episodes that end with the task done; None for a task whose reward does not tell."""
        return float((self.last_rewards >= 1.0).mean()) if task.rewards_success else None


def median_episode(returns: NDArray[np.float64]) -> int:
    """Which of E returns (E,) is the median, the lower one of an even number."""
    return int(np.argsort(returns)[(len(returns) - 1) // 2])
