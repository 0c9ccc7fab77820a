"""Scoring a policy in its environment: what this returns goes into logs and results, and never into training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from combo_common.validation import require_not_negative, require_positive
from envs.make import make
from envs.tasks import Seen, Task
from envs.vector_env import side_by_side
from latent_combo.evaluation.policy import Policy
from latent_combo.world_model.base import Segment

FILM_SIZE = 256
"""Pixels of a film for people, whatever the policy sees."""
FILM_RATE = 25.0
"""Frames a second that a film has, or somewhat fewer or more."""


@dataclass(frozen=True)
class ScoreConfig:
    """How policies are scored."""

    episodes: int = 10
    """Episodes of the final score, per agent."""
    episodes_during_training: int = 3
    """Episodes of each look during training, per agent."""
    processes: int = 1
    """Processes that the episodes are dealt out to; 1 plays them in the run's own."""
    seed: int = 50_000
    """The first episode's; each episode has the next one. No settings were chosen on these."""
    seed_during_training: int = 2_000
    """The same for the looks during training, which play other episodes than the final score."""

    def __post_init__(self) -> None:
        require_positive(self, "episodes", "episodes_during_training", "processes")
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

    last_rewards: NDArray[np.float64]
    """(S, E): the reward of each episode's last step, which tells success where the reward is that."""
    recorded: Segment | None = None
    """The first agent's first episodes, if asked for: what it saw, did and got, (B, T+1, ...) in Dreamer indexing."""

    @property
    def filmed(self) -> str:
        """What that episode is."""
        returns = self.returns[0]
        return f"return {returns[median_episode(returns)]:.0f}, median of {len(returns)}"


def median_episode(returns: NDArray[np.float64]) -> int:
    """Which of E returns (E,) is the median, the lower one of an even number."""
    return int(np.argsort(returns)[(len(returns) - 1) // 2])


class Scorer:
    """Plays seeded episodes with a policy, all agents and episodes in lockstep; the environments are made once."""

    def __init__(self, task: Task, seen: Seen, stack: int, episodes: int, processes: int = 1) -> None:
        self.task, self.stack, self.episodes = task, stack, episodes
        self.copies = side_by_side(task, seen, stack * episodes, processes)

    def score(self, policy: Policy, seed: int, episodes: int | None = None, record: int = 0) -> Score:
        """Play `episodes` (at most, and by default, those that the scorer was made for) with each agent.

        The first `record` of the first agent's are kept.
        """
        number = episodes or self.episodes
        count = self.stack * number
        # Every agent meets the same starts.
        observation, physics = self.copies.reset([seed + i % number for i in range(count)])
        states = [physics[:number]]
        policy.reset(number)
        returns, last, alive = np.zeros(count), np.zeros(count), np.ones(count, bool)
        record = min(record, number)
        seen = [observation[:record].copy()] if record else []
        steps: list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]] = []
        for _ in range(self.task.horizon):
            actions = policy.act(torch.from_numpy(observation).unflatten(0, (self.stack, number))).flatten(0, 1).numpy()
            stepped, reward, terminated, physics = self.copies.step(actions)
            # An episode that has ended stays as it was; what its copy goes on to do counts for nothing.
            moved = alive.reshape(-1, *[1] * (observation.ndim - 1))
            observation = np.where(moved, stepped, observation)
            returns += reward * alive
            last = np.where(alive, reward, last)
            states.append(np.where(alive[:number, None], physics[:number], states[-1]))
            ended = alive & terminated
            alive &= ~terminated
            if record:
                seen.append(observation[:record].copy())
                lived = alive | ended
                steps.append((actions[:record], (reward * lived)[:record].astype(np.float32), ended[:record]))
            if not alive.any():
                break
        by_agent = returns.reshape(self.stack, number)
        recorded = _recorded(seen, steps) if record else None
        states_of_median = np.stack(states, 1)[median_episode(by_agent[0])]
        return Score(by_agent, states_of_median, last.reshape(by_agent.shape), recorded)

    def close(self) -> None:
        """Free all environments."""
        self.copies.close()


def _recorded(
    seen: list[NDArray[Any]], steps: list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]]
) -> Segment:
    """Observations of T+1 rows and (actions, rewards, endings) of T steps, as episodes in Dreamer indexing."""
    columns = [torch.from_numpy(np.stack(column, 1)) for column in zip(*steps, strict=True)]
    action, reward, terminal = (torch.cat([torch.zeros_like(column[:, :1]), column], 1) for column in columns)
    is_first = torch.zeros_like(terminal)
    is_first[:, 0] = True
    return Segment(torch.from_numpy(np.stack(seen, 1)), action, reward, is_first, terminal)


class Branches:
    """The environment set back to recorded states, to see what other actions would have led to."""

    def __init__(self, task: Task, seen: Seen) -> None:
        self.env = make(task.name, seen.observation, seen.look, seen.image_size)

    def follow(
        self, physics: NDArray[np.float64], action: NDArray[np.float32]
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """From each of N states (N, P) take T actions (N, T, A): observations (N, T, ...) and rewards (N, T)."""
        observations, rewards = [], np.zeros(action.shape[:2], np.float32)
        for n, (state, path) in enumerate(zip(physics, action, strict=True)):
            self.env.reset(seed=0)  # so that its clock has room for the path
            self.env.set_physics(state)
            seen = []
            for t, now in enumerate(path):
                observation, reward, _, _, _ = self.env.step(now)
                seen.append(observation)
                rewards[n, t] = reward
            observations.append(np.stack(seen))
        return np.stack(observations), rewards

    def close(self) -> None:
        """Free the GL context."""
        self.env.close()


def film(task: Task, look: str, physics: NDArray[np.float64]) -> tuple[NDArray[np.uint8], int]:
    """Draw an episode's states (T, P) for people: (T', 256, 256, 3), and the frames a second that are real time.

    Of a task of many steps a second every n-th is drawn. Raises UserError where nothing can be drawn.
    """
    every = max(1, round(task.fps / FILM_RATE))
    env = make(task.name, "pixels", look, FILM_SIZE)
    frames = np.stack([env.render_physics(state) for state in physics[::every]])
    env.close()
    return frames, round(task.fps / every)
