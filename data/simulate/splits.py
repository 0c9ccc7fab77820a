"""D4RL's splits, cut from a learner's replay or played by its policies."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from combo_common.spacing import evenly_spaced
from data.episode import Episode
from data.simulate.relabelling import relabel
from data.simulate.rollout import PolicySpec, mean_return, played_episodes
from data.simulate.sac import NOISES, STATE, read_replay
from envs.task import Task

SCRIPT = "Meta-World's scripted policy with Gaussian noise"
"""How a manifest names it."""
FIRST_SEED = {"medium": 1_000_000, "expert": 2_000_000, "random": 3_000_000, "own": 4_000_000, "seed": 10_000_000}
"""Where episodes of a policy begin, and those of a seed; below lie the references' and the scores'."""
OWN = "own"
"""The split of a user's own policy."""
SPLITS = ("replay", "medium-replay", "medium", "medium-expert", "expert", "random")


def medium_snapshot(measured: dict[str, Any], share: float) -> str:
    """The snapshot `share` of the way from random actions to the last one; `measured` is `behaviour.measure`'s.

    Of the first that is better and the one before it, that which is nearer: later ones may fall back.
    """
    snapshots: dict[str, float] = measured["snapshots"]
    names, random, last = sorted(snapshots), float(measured["random_return"]), snapshots[max(snapshots)]
    wanted = random + share * (last - random)
    first = next((index for index, name in enumerate(names) if snapshots[name] >= wanted), len(names) - 1)
    return min(names[max(0, first - 1) : first + 1], key=lambda name: abs(snapshots[name] - wanted))


def first_episode(seed: int, policy: str) -> int:
    """The number of a policy's first episode: no two policies or seeds share any, nor are they what is scored later."""
    return seed * FIRST_SEED["seed"] + FIRST_SEED[policy]


def replay_indices(available: int, until_medium: int, episodes: int, whole: int) -> NDArray[np.int64]:
    """Which `whole` episodes of a replay make `medium-replay`; fewer are a thinner cut of those."""
    full = evenly_spaced(until_medium, whole) if until_medium >= whole else np.arange(whole)
    if available < whole:
        raise UserError(f"the replay has {available} episodes, medium-replay needs {whole}; give more --steps")
    return full[evenly_spaced(whole, episodes)] if episodes < whole else full


def thinned(lengths: NDArray[np.int64], transitions: int) -> NDArray[np.int64]:
    """Episodes, evenly spaced over all, that have about so many transitions; all of them where that is not more."""
    share = min(1.0, transitions / int(lengths.sum()))
    return evenly_spaced(len(lengths), max(1, round(share * len(lengths))))


@dataclass(frozen=True)
class Behaviour:
    """The policies that a split is cut from."""

    task: Task
    """Whose splits are cut."""
    learner: Task
    """On whose reward the policies were trained or measured."""
    folder: Path | None
    """Of a trained learner; None for the task's script with noise."""
    measured: dict[str, Any]
    """What `behaviour.measure` or `behaviour.measure_script` found."""

    @property
    def medium(self) -> str:
        """The name of the medium policy."""
        return medium_snapshot(self.measured, self.task.medium_share)

    @property
    def expert(self) -> str:
        """The name of the best."""
        return str(self.measured["expert"])

    def actor(self, name: str) -> PolicySpec:
        """A policy by its name."""
        if self.folder is None:
            return PolicySpec(noise=NOISES[int(name.removeprefix("script-"))])
        return PolicySpec(self.folder / name)

    def references(self, processes: int) -> dict[str, float]:
        """The returns of random actions and of the expert, in the task itself."""
        if self.task == self.learner:
            return {name: float(self.measured[name]) for name in ("random_return", "expert_return")}
        count, expert = self.measured["reference_episodes"], replace(self.actor(self.expert), sampled=False)
        played = {"random_return": PolicySpec(), "expert_return": expert}
        return {name: mean_return(self.task, actor, count, 20_000, processes) for name, actor in played.items()}

    def said(self, names: list[str]) -> dict[str, Any]:
        """What the manifest says of the policies that made a split."""
        returns = list(self.measured["snapshots"].values())
        measured = {"medium_return": self.measured["snapshots"][self.medium], "snapshot_returns": returns}
        rewarded = {} if self.task == self.learner else {"rewarded": self.learner.reward}
        if self.folder is None:
            noises = [self.actor(name).noise for name in names]
            return {
                "learner": SCRIPT,
                "noise": noises,
                **measured,
                **rewarded,
            }
        library = "SBX (Stable-Baselines3 in JAX)" if (self.folder / STATE).exists() else "Stable-Baselines3"
        return {"learner": f"{library} SAC on states", "snapshots": names, **measured, **rewarded}


def cut(
    behaviour: Behaviour, split: str, asked: int | None, seed: int, processes: int = 1
) -> tuple[Iterator[Episode], dict[str, Any]]:
    """The episodes of a split, and a description of the policies that made them; None asks for its own length."""
    task = behaviour.task
    episodes = task.split_episodes if asked is None else asked
    if split in ("replay", "medium-replay"):
        return _cut_replay(behaviour, split, asked, processes)

    def played(name: str, count: int) -> Iterator[Episode]:
        first = first_episode(seed, "medium" if name == behaviour.medium else "expert")
        return played_episodes(task, behaviour.actor(name), count, first, processes)

    medium, expert = behaviour.medium, behaviour.expert
    if split != "expert" and medium == expert:
        raise UserError(
            f"no snapshot of {behaviour.learner.name}'s learner is about {task.medium_share:.0%} as good as its last; "
            "give more --steps"
        )
    shares = {"medium": {medium: episodes}, "expert": {expert: episodes}}.get(
        split, {medium: episodes - episodes // 2, expert: episodes // 2}
    )
    made = (episode for name, count in shares.items() for episode in played(name, count))
    return made, behaviour.said(list(shares))


def _cut_replay(
    behaviour: Behaviour, split: str, asked: int | None, processes: int
) -> tuple[Iterator[Episode], dict[str, Any]]:
    task, medium = behaviour.task, behaviour.medium
    if behaviour.folder is None:
        raise UserError(f"a script has no replay, so there is no {split}; leave --scripted out")
    replay = read_replay(behaviour.folder)
    lengths = np.array([episode.length for episode in replay])
    steps = int(medium.removeprefix("actor-").removesuffix(".safetensors"))
    until = int(np.searchsorted(lengths.cumsum(), steps, side="right"))
    if split == "medium-replay" and not task.whole_replay:
        indices = replay_indices(len(replay), until, asked or task.split_episodes, task.split_episodes)
    else:
        count = len(replay) if split == "replay" else until
        indices = np.arange(count) if asked is None else thinned(lengths[:count], asked * task.horizon)
    chosen = iter([replay[index] for index in indices])
    if task != behaviour.learner:  # another reward than the learner's
        chosen = relabel(chosen, task, processes=processes)
    return chosen, {**behaviour.said([]), "replay_episodes": indices.tolist(), "medium_snapshot": medium}


def shared_out(count: int, among: int) -> list[int]:
    """`count` episodes as evenly as can be, the first of `among` learners with one more where it does not divide."""
    return [count // among + (learner < count % among) for learner in range(among)]
