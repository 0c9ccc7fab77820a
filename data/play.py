"""Playing seeded episodes with a behaviour policy: the same, whatever the number of processes."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from data.episode import Episode
from data.parallel import in_order
from envs.base import TaskEnv
from envs.make import make
from envs.tasks import Task
from latent_combo.run.errors import UserError


class Snapshot:
    """A tanh-Gaussian policy of two hidden layers (ReLU), as Stable-Baselines3 has it.

    With a generator it acts stochastically, without by its mode.
    """

    def __init__(self, weights: dict[str, Tensor], generator: torch.Generator | None) -> None:
        self.weights, self.generator = weights, generator

    @torch.no_grad()
    def __call__(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        """A state (S,) to an action (A,) in [-1, 1]."""
        w = self.weights
        x = torch.from_numpy(state)
        for layer in ("latent_pi.0", "latent_pi.2"):
            x = functional.relu(functional.linear(x, w[f"{layer}.weight"], w[f"{layer}.bias"]))
        action = functional.linear(x, w["mu.weight"], w["mu.bias"])
        if self.generator is not None:
            log_std = functional.linear(x, w["log_std.weight"], w["log_std.bias"]).clamp(-20.0, 2.0)
            action = action + log_std.exp() * torch.randn(action.shape, generator=self.generator)
        result: NDArray[np.float32] = action.tanh().numpy()
        return result


@dataclass(frozen=True)
class BehaviourPolicy:
    """Which policy acts; without anything, uniform random actions."""

    snapshot: Path | None = None
    """The file of a trained actor."""
    noise: float | None = None
    """Standard deviation of Gaussian noise on the actions of the task's script, then clipped to [-1, 1]."""
    sampled: bool = True
    """Whether a snapshot acts stochastically, or by its mode."""


ACTIONS = 1
"""Sets the stream of random actions apart from those of starts."""


class Player:
    """Plays episodes, each by its number, which seeds its start and all that is drawn in it."""

    def __init__(self, task: Task, actor: BehaviourPolicy) -> None:
        self._task, self._actor = task, actor
        self._env = make(task.name, "state")
        self._weights = None if actor.snapshot is None else load_file(actor.snapshot)

    def __call__(self, seed: int) -> Episode:
        """Play one."""
        # Not the stream of the environment's start, which is seeded by the same number.
        env, rng = self._env, np.random.default_rng([seed, ACTIONS])
        policy = None
        if self._weights is not None:
            policy = Snapshot(self._weights, torch.Generator().manual_seed(seed) if self._actor.sampled else None)
        state, info = env.reset(seed=seed)
        states, physics, actions, rewards = [state], [info["physics"]], [], []
        ended = terminated = False
        while not ended:
            action = policy(state) if policy is not None else self._scripted_or_random(env, rng)
            state, reward, terminated, truncated, info = env.step(action)
            states.append(state)
            physics.append(info["physics"])
            actions.append(action)
            rewards.append(reward)
            ended = terminated or truncated
        return Episode.from_transitions(
            np.stack(actions), np.asarray(rewards), np.stack(physics), np.stack(states), terminal=terminated
        )

    def _scripted_or_random(self, env: TaskEnv, rng: np.random.Generator) -> NDArray[np.float32]:
        if self._actor.noise is None:
            return rng.uniform(-1.0, 1.0, self._task.action_dim).astype(np.float32)
        noise = self._actor.noise * rng.standard_normal(self._task.action_dim)
        action: NDArray[np.float32] = (env.scripted_action() + noise).clip(-1.0, 1.0).astype(np.float32)
        return action

    def close(self) -> None:
        """Leave the simulator."""
        self._env.close()


@dataclass(frozen=True)
class Stage:
    """What makes a player, in whichever process."""

    task: Task
    actor: BehaviourPolicy

    def __call__(self) -> Player:
        """Make the environment here."""
        if self.actor.snapshot is not None:
            torch.set_num_threads(1)  # products of one state gain nothing by more
        return Player(self.task, self.actor)


def play(task: Task, actor: BehaviourPolicy, seeds: Iterable[int], processes: int = 1) -> Iterator[Episode]:
    """Play the episodes of some seeds, in their order."""
    return in_order(Stage(task, actor), seeds, processes)


def played_episodes(task: Task, actor: BehaviourPolicy, count: int, seed: int, processes: int = 1) -> Iterator[Episode]:
    """Play seeded episodes as long as `count` whole ones."""
    transitions = 0
    for episode in play(task, actor, itertools.count(seed), processes):
        transitions += episode.length
        yield episode
        if transitions >= count * task.horizon:
            return


def mean_return(task: Task, actor: BehaviourPolicy, episodes: int, seed: int, processes: int = 1) -> float:
    """Mean return over seeded episodes."""
    returns = [episode.episode_return for episode in play(task, actor, range(seed, seed + episodes), processes)]
    return float(np.mean(returns))


def check_script(task: Task) -> None:
    """Raise UserError for a task that no script plays."""
    if task.simulator != "metaworld" or "close" in task.name:  # the script opens the door
        raise UserError(f"{task.name} has no script; leave --scripted out, and a learner is trained")
