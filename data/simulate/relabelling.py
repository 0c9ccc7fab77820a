"""Recorded experience under another reward: each state is put into a simulator, and the recorded action taken there."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from data.episode import Episode
from data.simulate.own_code import load_function
from data.simulate.workers import in_order
from envs.base import TaskEnv
from envs.make import make
from envs.task import Task

Reward = Callable[[NDArray[np.float64], NDArray[np.float32], NDArray[np.float64], TaskEnv], float]
"""Physics before, action, physics after, environment: what the step pays."""


@dataclass(frozen=True)
class Relabelling:
    """What makes the function that relabels an episode, in whichever process."""

    task: Task
    reward: str | None
    """FILE.py:FUNCTION; None for the task's own."""

    def __call__(self) -> Callable[[Episode], list[Episode]]:
        """Make the environment here."""
        env = make(self.task, "state")
        env.reset(seed=0)
        paid = None if self.reward is None else load_function("--reward", self.reward)
        return lambda episode: list(_relabelled(episode, self.task, env, paid))


def relabel(
    episodes: Iterable[Episode], task: Task, reward: str | None = None, processes: int = 1
) -> Iterator[Episode]:
    """Yield what `task`, or a function FILE.py:FUNCTION, makes of recorded physics and actions.

    It is the same whatever the number of processes. Raises UserError where the episodes are another robot's, and for a
    function that isn't there or returns no finite number.
    """
    for made in in_order(Relabelling(task, reward), episodes, processes):
        yield from made


def check_same_robot(of: Task, task: Task, where: str) -> None:
    """Raise UserError where physics of one task are not those of another, though they may have as many numbers."""
    for name, said in (
        ("simulator", "simulator's conventions"),
        ("physics_names", "physics names"),
        ("action_repeat", "action repeats"),
        ("environment", "dynamics"),
    ):
        if getattr(of, name) != getattr(task, name):
            raise UserError(
                f"{where} is of {of.name}, whose {said} are not those of {task.name}; "
                "give a recording of the same robot"
            )


def observed(env: TaskEnv, task: Task, episode: Episode) -> NDArray[np.float32]:
    """The task's vector observations (T+1, S) of an episode with physics: as recorded where physics do not tell them.

    Raises UserError where they were then not recorded, or are another task's.
    """
    if not task.records_state:
        assert episode.physics is not None, "it has been asked for"
        return np.stack([env.observe_physics(row) for row in episode.physics])
    if episode.state is None or episode.state.shape[1] != task.state_dim:
        raise UserError(
            f"the recording lacks the vector observations of {task.name}, which its physics do not tell; "
            "make it again with data.collect"
        )
    return episode.state


def _relabelled(episode: Episode, task: Task, env: TaskEnv, paid: Reward | None) -> Iterator[Episode]:
    physics = episode.physics
    if physics is None or physics.shape[1] != task.physics_dim or episode.action.shape[1] != task.action_dim:
        found = "no physics" if physics is None else f"physics of {physics.shape[1]} numbers"
        raise UserError(
            f"the recording has {found} and actions of {episode.action.shape[1]}, but {task.name} has "
            f"{task.physics_dim} and {task.action_dim}; give a recording of the same robot by data.collect"
        )
    env.reset(seed=0)  # a simulator's own clock starts anew; where it starts does not matter
    states = observed(env, task, episode)
    rewards = np.zeros(episode.length)
    ended = np.zeros(episode.length, bool)
    for t in range(episode.length):
        env.set_physics(physics[t])
        action = episode.action[t + 1]
        _, rewards[t], ended[t], _, info = env.step(action)
        if paid is not None:
            rewards[t] = _asked(paid, physics[t].copy(), action.copy(), info["physics"], env)
    starts = [0, *(np.flatnonzero(ended) + 1).tolist()]
    for start, stop in zip(starts, [*starts[1:], episode.length], strict=True):
        if stop > start:
            rows = slice(start, stop + 1)
            yield Episode.from_transitions(
                episode.action[start + 1 : stop + 1], rewards[start:stop], physics[rows], states[rows],
                terminal=bool(ended[stop - 1]),
            )  # fmt: skip


def _asked(
    paid: Reward, before: NDArray[np.float64], action: NDArray[np.float32], after: NDArray[np.float64], env: TaskEnv
) -> float:
    """What the user's function pays. Raises UserError for what is no finite number."""
    try:
        value = float(paid(before, action, after, env))
    except Exception as error:  # the user's own code may do anything
        raise UserError(f"the reward function failed: {type(error).__name__}: {error}") from error
    if not np.isfinite(value):
        raise UserError(f"the reward function returned {value}; it is to return finite numbers")
    return value
