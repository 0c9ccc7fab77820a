"""Playing seeded episodes with a behaviour policy: the same, whatever the number of processes."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from data.episode import Episode
from data.simulate.own_code import load_function
from data.simulate.workers import in_order
from envs.base import TaskEnv
from envs.make import make
from envs.task import Task
from envs.vector_env import described

Policy = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A state (S,) to an action (A,)."""


@dataclass(frozen=True)
class PolicySpec:
    """Which policy acts; without anything, uniform random actions."""

    snapshot: Path | None = None
    """The file of a trained actor."""
    noise: float | None = None
    """Standard deviation of Gaussian noise on the actions of the task's script, then clipped to [-1, 1]."""
    function: str | None = None
    """FILE.py:FUNCTION of the user's own: a state (S,) and the environment to an action (A,) in [-1, 1]."""
    sampled: bool = True
    """Whether a snapshot acts stochastically, or by its mode."""


ACTIONS = 1
"""Sets the stream of random actions apart from those of starts."""


class Track:
    """The rows of an episode as it is played: states, and physics or, where there are none to draw from, images.

    Of an environment of vectors that draws nothing, states alone.
    """

    def __init__(self, env: TaskEnv, info: dict[str, Any]) -> None:
        """Begin with where an episode starts."""
        self._env = env
        self._actions: list[NDArray[np.float32]] = []
        self._rewards: list[float] = []
        self._states: list[NDArray[np.float32]] = []
        self._physics: list[NDArray[np.float64]] = []
        self._images: list[NDArray[np.uint8]] = []
        self._draws = not env.task.physics_dim and draws(env)
        self._note(info)

    def add(self, action: NDArray[np.float32], reward: float, info: dict[str, Any]) -> None:
        """Note an action (A,), what it paid, and where it led."""
        self._actions.append(action)
        self._rewards.append(float(reward))
        self._note(info)

    def _note(self, info: dict[str, Any]) -> None:
        task = self._env.task
        self._states.append(info["state"])
        if task.physics_dim:
            self._physics.append(info["physics"])
        elif self._draws:
            self._images.append(self._env.render())

    def episode(self, terminated: bool) -> Episode:
        """The whole episode; `terminated` says that the task ended it, not a time limit."""
        return Episode.from_transitions(
            np.stack(self._actions),
            np.asarray(self._rewards),
            np.stack(self._physics) if self._physics else None,
            np.stack(self._states) if self._env.task.state_dim else None,
            np.stack(self._images) if self._images else None,
            terminal=terminated,
        )


def draws(env: TaskEnv) -> bool:
    """Whether an environment without physics, which was reset, draws itself.

    Raises UserError where it does not, and there are no vectors either.
    """
    try:
        env.render()
    except UserError:
        if env.task.state_dim:
            return False
        raise
    return True


class EpisodeWorker:
    """Plays episodes, each by its number, which seeds its start and all that is drawn in it."""

    def __init__(self, task: Task, actor: PolicySpec) -> None:
        self._task, self._actor = task, actor
        self._env = make(task, "state" if task.state_dim else "pixels")
        self._policies = None if actor.snapshot is None else _policies(actor.snapshot, actor.sampled)
        self._function = None if actor.function is None else load_function("--policy", actor.function)

    def __call__(self, seed: int) -> Episode:
        """Play one. Raises UserError where the environment, which may be anybody's, raises."""
        try:
            return self._played(seed)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"the episode of seed {seed} failed in {self._task.name}: {described(error)}") from error

    def _played(self, seed: int) -> Episode:
        # Not the stream of the environment's start, which is seeded by the same number.
        env, rng = self._env, np.random.default_rng([seed, ACTIONS])
        policy = None if self._policies is None else self._policies(seed)
        _, info = env.reset(seed=seed)
        track = Track(env, info)
        ended = terminated = False
        while not ended:
            state = info["state"]
            action = policy(state) if policy is not None else self._scripted_or_random(env, rng)
            _, reward, terminated, truncated, info = env.step(action)
            track.add(action, float(reward), info)
            ended = terminated or truncated
        return track.episode(terminated)

    def _scripted_or_random(self, env: TaskEnv, rng: np.random.Generator) -> NDArray[np.float32]:
        if self._function is not None:
            return _own_action(self._function, env, self._task)
        if self._actor.noise is None:
            return rng.uniform(-1.0, 1.0, self._task.action_dim).astype(np.float32)
        noise = self._actor.noise * rng.standard_normal(self._task.action_dim)
        action: NDArray[np.float32] = (env.scripted_action() + noise).clip(-1.0, 1.0).astype(np.float32)
        return action

    def close(self) -> None:
        """Leave the simulator."""
        self._env.close()


def _own_action(function: Callable[..., Any], env: TaskEnv, task: Task) -> NDArray[np.float32]:
    """What the user's policy does now. Raises UserError where it fails, or returns no action of the task."""
    try:
        action = np.asarray(function(env.state(), env), np.float32)
    except Exception as error:  # the user's own code may do anything
        raise UserError(f"the policy failed: {type(error).__name__}: {error}") from error
    if action.shape != (task.action_dim,) or not (np.abs(action) <= 1.0).all():
        raise UserError(f"the policy returned {action}; it is to return {task.action_dim} numbers in [-1, 1]")
    return action


def _policies(snapshot: Path, sampled: bool) -> Callable[[int], Policy]:
    # Imported here: random actions and scripts do without torch, whose import takes longer than an episode.
    from data.simulate.snapshot import policies

    return policies(snapshot, sampled)


@dataclass(frozen=True)
class EpisodeWorkerMaker:
    """What makes a player, in whichever process."""

    task: Task
    actor: PolicySpec

    def __call__(self) -> EpisodeWorker:
        """Make the environment here."""
        return EpisodeWorker(self.task, self.actor)


def play(task: Task, actor: PolicySpec, seeds: Iterable[int], processes: int = 1) -> Iterator[Episode]:
    """Play the episodes of some seeds, in their order."""
    return in_order(EpisodeWorkerMaker(task, actor), seeds, processes)


def played_episodes(task: Task, actor: PolicySpec, count: int, seed: int, processes: int = 1) -> Iterator[Episode]:
    """Play seeded episodes as long as `count` whole ones."""
    transitions = 0
    for episode in play(task, actor, itertools.count(seed), processes):
        transitions += episode.length
        yield episode
        if transitions >= count * task.horizon:
            return


def mean_return(task: Task, actor: PolicySpec, episodes: int, seed: int, processes: int = 1) -> float:
    """Mean return over seeded episodes."""
    returns = [episode.episode_return for episode in play(task, actor, range(seed, seed + episodes), processes)]
    return float(np.mean(returns))


def check_script(task: Task) -> None:
    """Raise UserError for a task that no script plays."""
    if not task.scripted:
        raise UserError(f"{task.name} has no script; leave --scripted out, and a learner is trained")
