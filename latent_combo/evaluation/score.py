"""What some episodes of a policy in its environment came to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.task import Task
from latent_combo.world_model.base import Segment


@dataclass(frozen=True)
class Failure:
    """An episode that its environment ended with an error."""

    agent: int
    seed: int
    step: int
    """Steps that were taken before."""
    reason: str

    def __str__(self) -> str:
        """For people."""
        return f"agent {self.agent}, episode of seed {self.seed}, step {self.step}: {self.reason}"


@dataclass(frozen=True)
class PlayedEpisode:
    """An episode as it can be seen again: by the simulator's states, or by taking its actions once more."""

    seed: int
    """Of the environment's reset."""
    physics: NDArray[np.float64]
    """(T+1, P), the simulator's states; P is 0 where it has none that can be set."""
    actions: NDArray[np.float32] | None = None
    """(T, A), kept where P is 0."""


@dataclass(frozen=True)
class Score:
    """What E episodes of each of S agents gave; E may be 0."""

    returns: NDArray[np.float64]
    """(S, E) undiscounted returns; NaN of an episode that its environment ended with an error."""
    median: PlayedEpisode | None
    """The first agent's episode of median return: neither its best nor its worst; None where it played none to its
    end."""
    worst: PlayedEpisode | None
    """Its episode of least return."""
    last_rewards: NDArray[np.float64]
    """(S, E): the reward of each episode's last step, which tells success where the reward is that."""
    recorded: Segment | None = None
    """The first agent's first episodes, if asked for: what it saw, did and got, (B, T+1, ...) in Dreamer indexing."""
    failures: tuple[Failure, ...] = ()
    """The episodes that do not count."""

    @property
    def played(self) -> NDArray[np.bool_]:
        """(S, E): which episodes were played to their end, and count."""
        return np.isfinite(self.returns)

    @property
    def counted(self) -> NDArray[np.float64]:
        """The returns of those, of all agents one after another."""
        return self.returns[self.played]

    @property
    def filmed(self) -> str:
        """What the episode `median` is."""
        returns = self.returns[0][self.played[0]]
        return f"return {returns[median_episode(returns)]:.0f}, median of {len(returns)}"

    @property
    def filmed_worst(self) -> str:
        """What the episode `worst` is."""
        returns = self.returns[0][self.played[0]]
        return f"return {returns.min():.0f}, worst of {len(returns)}"

    def success_rate(self, task: Task) -> float | None:
        """The share of episodes that end with the task done; None for a task whose reward does not tell, or of none."""
        if not task.rewards_success or not self.played.any():
            return None
        return float((self.last_rewards[self.played] >= 1.0).mean())


def median_episode(returns: NDArray[np.float64]) -> int:
    """Which of E returns (E,) is the median, the lower one of an even number."""
    return int(np.argsort(returns)[(len(returns) - 1) // 2])
