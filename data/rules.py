"""What an episode of any layout may hold, and what is done with what it may not: one rule for each doubt.

Readers of all layouts, and episodes from Python, call these (and `data.actions`); `docs/data.md` has them as a table.
Symbols: T transitions, S size of the vector observation.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from data.episode import Episode
from data.jumps import coarse, unusual
from data.notes import Notes
from envs.task import Task

ANT = 27
"""Numbers that the ant observes without contact forces: its positions but x and y, and its velocities."""
ANTS = {105: "gymnasium's version 5", 111: "D4RL's and gymnasium's up to version 4"}
"""Numbers of ants whose contact forces follow those 27, and whose they are."""


def check_terminations(where: str, key: str, ended: NDArray[Any]) -> None:
    """Raise UserError where the task is said to end an episode before its last transition; `ended` is (T,) of bools.

    Whether what follows is the same episode, or the next one, no one can tell.
    """
    inside = np.flatnonzero(ended[:-1])
    if inside.size:
        raise UserError(
            f"{where}: `{key}` says that the task ended the episode in step {inside[0] + 1} of {len(ended)}; "
            "cut it into two episodes there"
        )


def check_length(where: str, length: int, task: str, horizon: int) -> None:
    """Raise UserError for an episode longer than the task's: steps of another action repeat teach other steps."""
    if length > horizon:
        raise UserError(
            f"{where} has {length} steps, but episodes of {task} have {horizon} at most; its action repeat or its "
            "--task is another, or the ends of several episodes are not marked in it"
        )


def check_sizes(where: str, task: Task, **columns: NDArray[Any]) -> None:
    """Raise UserError where vectors of an episode are not of the task's sizes."""
    for key, column in columns.items():
        size = task.state_dim if key == "state" else task.action_dim
        if column.shape[1] != size:
            raise UserError(
                f"{where}: `{key}` has {column.shape[1]} numbers, but {task.name} has {size}; name the --task it is of"
            )


def without_contacts(vectors: NDArray[Any], task: Task, notes: Notes) -> NDArray[Any]:
    """The task's own numbers of an ant's observations (N, S); the contact forces that follow them are cut off.

    Observations of other tasks and sizes are left as they are. It is noted where forces were not all zero.
    """
    whose = ANTS.get(vectors.shape[1]) if vectors.ndim == 2 else None
    if whose is None or task.state_dim != ANT or task.termination != "ant":
        return vectors
    if vectors[:, ANT:].any():
        notes.add(
            f"observations of {vectors.shape[1]} numbers are those of {whose} ant; its contact forces, which "
            f"{task.name} does not observe, are left out, and the first {ANT} numbers kept"
        )
    return vectors[:, :ANT]


def lacks(where: str, wanted: str, held: Collection[str], beside: str = "") -> UserError:
    """The error for an episode without `image` or without `state`: what there is instead, and what to do.

    `beside` is what is read anyway, where both were to be.
    """
    if beside in held:
        return UserError(f"{where} holds images and no states, which --vectors are of; leave --vectors out")
    other = {"image": "state", "state": "image"}[wanted]
    there = ", ".join(sorted(held))
    if other in held:
        what = {"image": "images and no states", "state": "states and no images"}[other]
        return UserError(f"{where} holds {what}; use --obs {'pixels' if other == 'image' else 'state'}")
    return UserError(
        f"{where} holds neither `image` nor `state`, but {there}; name the images `image` (T+1, H, W, 3) uint8 or the "
        "vectors `state` (T+1, S), in every episode"
    )


def equal_observations(observation: NDArray[Any]) -> str | None:
    """A line about all of a dataset's observations (N, ...) where they are the same; None where they differ."""
    if not len(observation) or any((row != observation[0]).any() for row in observation):
        return None
    return "every row holds the same observation, so nothing can be learnt from it; was it ever written?"


def equal_rewards(reward: NDArray[Any], terminates: bool) -> str | None:
    """A line about the rewards (N,) of all of a dataset's transitions where they are the same; None where they differ.

    Such data are trained on: they are a sparse task's without success, or pay for staying alive.
    """
    if not len(reward) or np.ptp(reward) != 0.0:
        return None
    left = "only its terminations tell one policy from another" if terminates else "no policy is better than another"
    return f"the reward is {reward[0]:g} in every step, so {left}; relabel it (data.relabel) for another reward"


def endings_at_the_limit(lengths: NDArray[np.int64], terminates: NDArray[np.bool_], horizon: int) -> str | None:
    """A line about episodes of as many transitions as the horizon, (E,) each, where all of them terminate.

    None where there is at most one of these: then time limits are likely marked as what ends the task for good.
    """
    whole = lengths == horizon
    if whole.sum() < 2 or not terminates[whole].all():
        return None
    return (
        f"all {int(whole.sum())} episodes of {horizon} steps, which is the time limit, are said to be ended by the "
        "task; where the limit ended them, mark it as such (`timeouts`, `truncations`), or values stop there"
    )


def repeats_at_the_end(observation: NDArray[Any], lengths: NDArray[np.int64], is_terminal: NDArray[np.bool_]) -> bool:
    """Whether most episodes that terminate end in the vector before, of rows (N, S) in episodes of `lengths` rows (E,).

    What was observed there is then unknown: version 0 of D4RL's files does not have it, nor do copies of them.
    """
    last = np.cumsum(lengths) - 1
    last = last[is_terminal[last] & (lengths > 1)]
    repeated = (observation[last] == observation[last - 1]).all(axis=-1)
    return 2 * int(repeated.sum()) > len(repeated)


def admitted(episodes: Iterator[tuple[str, Episode]], task: Task | None, notes: Notes) -> Iterator[tuple[str, Episode]]:
    """Yield the episodes of a dataset in order, each with what it is called, as the rules of this file have them.

    A last observation that is the first one of the next episode, and further off than in a step, is where that began,
    not where the last step led: the step is left out and noted, for a time limit would be bootstrapped through.
    Raises UserError for an episode longer than the task's.
    """
    held: tuple[str, Episode] | None = None
    for where, episode in episodes:
        if task is not None:
            check_length(where, episode.length, task.name, task.horizon)
            if episode.state is not None:
                episode = replace(episode, state=without_contacts(episode.state, task, notes))
        if held is not None:
            yield held[0], _as_it_ended(held[1], episode, notes)
        held = where, episode
    if held is not None:
        yield held


def _as_it_ended(episode: Episode, following: Episode, notes: Notes) -> Episode:
    """An episode without a last step that leads to the start of the next one."""
    for key in ("physics", "state", "image"):
        seen, start = getattr(episode, key), getattr(following, key)
        if seen is not None and start is not None and seen.shape[1:] == start.shape[1:]:
            break
    else:
        return episode
    if episode.is_terminal[-1] or not np.array_equal(seen[-1], start[0]):
        return episode
    rows = coarse(seen)
    if not unusual(rows[:-2], rows[1:-1], rows[-2:-1], rows[-1:])[0]:
        return episode  # a long run that was cut into pieces, or one that stands still
    notes.add("the last observation of an episode is the first one of the next; the step that led to it is left out")
    kept = {key: column[:-1] for key, column in episode.columns().items()}
    return replace(Episode(**kept), is_last=np.arange(episode.length) == episode.length - 1)
