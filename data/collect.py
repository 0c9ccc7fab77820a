"""`python -m data.collect TASK SPLIT OUT`: train a behaviour policy on states, and cut a D4RL-style split from it.

Splits: `medium`, of the first snapshot about as good as half of the last one (a third on D4RL's robots); `expert`, of
the last snapshot; `medium-expert`, half of each; `random`, of uniform actions; `replay`, the whole replay;
`medium-replay`, the replay up to the medium policy, whole on D4RL's robots, elsewhere 200 episodes spread evenly over
it (or the first 200, if it has fewer). Each is as long as 200 whole episodes (of the door 1000), or --episodes: D4RL's
own have a million transitions, --episodes 1000. Whole replays are thinned only where --episodes says so.
Snapshots act stochastically. `random` needs no learner. --learners N takes the same split of N learners, of seeds
--seed and on, one after another: more ways to fail and to succeed than one learner meets.

An OUT that ends in .hdf5 is written in D4RL's layout, with the vector observations. Any other is a folder with a
recording: physics states, actions and rewards, which `data.render` draws.
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import combo_common.own_packages  # noqa: F401
from combo_common.cli import Parser, run_cli
from combo_common.errors import UserError
from combo_common.versions import versions
from data.episode import Episode
from data.formats.d4rl import is_d4rl, write_d4rl
from data.formats.manifest import describe
from data.formats.native import write_dataset
from data.relabel import relabel
from data.simulate.rollout import BehaviourPolicy, check_script, mean_return, played_episodes
from data.simulate.sac import NOISES, STATE, measure, measure_script, read_replay, train_behaviour
from data.simulate.workers import processes_for
from data.staging import writing
from envs.tasks import Task, get_task

SCRIPT = "Meta-World's scripted policy with Gaussian noise"
"""How a manifest names it."""
WORTHWHILE = 20_000
"""Steps below which starting processes takes longer than playing them."""
FROM = {"medium": 1_000_000, "expert": 2_000_000, "random": 3_000_000, "seed": 10_000_000}
"""Where episodes of a policy begin, and those of a seed; below lie the references' and the scores'."""
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
    return seed * FROM["seed"] + FROM[policy]


def evenly_spaced(count: int, wanted: int) -> NDArray[np.int64]:
    """`wanted` indices below `count`, evenly spaced from the first to the last."""
    return np.linspace(0, count - 1, wanted).round().astype(np.int64)


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

    def actor(self, name: str) -> BehaviourPolicy:
        """A policy by its name."""
        if self.folder is None:
            return BehaviourPolicy(noise=NOISES[int(name.removeprefix("script-"))])
        return BehaviourPolicy(self.folder / name)

    def references(self, processes: int) -> dict[str, float]:
        """The returns of random actions and of the expert, in the task itself."""
        if self.task == self.learner:
            return {name: float(self.measured[name]) for name in ("random_return", "expert_return")}
        count, expert = self.measured["reference_episodes"], replace(self.actor(self.expert), sampled=False)
        played = {"random_return": BehaviourPolicy(), "expert_return": expert}
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


def check_out(out: Path) -> None:
    """Raise UserError where a dataset could not be written: better before the hours of training than after."""
    with writing(out):
        if out.exists() and (is_d4rl(out) or not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out} exists already and is not an empty folder; remove it or name another")
        out.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=out.parent).close()


def main() -> None:
    """Read the command line, train or continue the behaviour policy, and write the split."""
    parser = Parser("data.collect", __doc__)
    parser.add_argument("task", help="for example walker-walk")
    parser.add_argument("split", choices=SPLITS)
    parser.add_argument("out", type=Path, help="the folder or .hdf5 file to write, which must not be there yet")
    parser.add_argument("--steps", type=int, default=300_000, help="agent steps of the behaviour policy's training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--episodes",
        type=int,
        help="its length in whole episodes; of robots that fall there are more (200, door 1000)",
    )
    parser.add_argument("--learners", type=int, default=1, help="whose splits are put together, a seed each")
    parser.add_argument("--scripted", action="store_true", help="Meta-World's script with noise instead of a learner")
    parser.add_argument("--processes", type=int, help="that play episodes (default: one a core)")
    parser.add_argument("--behaviour", type=Path, help="its folder, shared by all splits (default: beside OUT)")
    given = parser.parse_args()
    task = get_task(given.task)
    if (count := given.episodes) is not None:
        if count < 2:
            raise UserError(f"--episodes is {count}; a split has 2 or more")
        if given.split == "medium-replay" and not task.whole_replay and count > task.split_episodes:
            raise UserError(f"--episodes is {count}; a medium-replay of {task.name} has at most {task.split_episodes}")
    if given.seed < 0:
        raise UserError(f"--seed is {given.seed}; it is at least 0")
    if given.scripted:
        check_script(task)
        if given.split not in ("medium", "medium-expert", "expert"):
            raise UserError(f"a script makes no {given.split} split; leave --scripted out, or choose another")
    if given.learners < 1 or (given.learners > 1 and (given.scripted or given.behaviour or given.split == "random")):
        raise UserError(
            f"--learners is {given.learners}; it is 1 or more, and 1 with --scripted, --behaviour or the random split"
        )
    if given.learners > 1 and count is not None and count < 2 * given.learners:
        raise UserError(f"--episodes is {count} of {given.learners} learners; each has 2 or more")
    if given.steps < 1:
        raise UserError(f"--steps is {given.steps}; it is at least 1")
    steps = task.horizon * (count or task.split_episodes)
    processes = processes_for(given.processes, steps, WORTHWHILE)
    check_out(given.out)
    references: dict[str, float] = {}
    if given.split == "random":
        made_by: dict[str, Any] = {"learner": "uniform random actions"}
        episodes = played_episodes(
            task, BehaviourPolicy(), count or task.split_episodes, first_episode(given.seed, "random"), processes
        )
    else:
        parts, told = [], []
        for learner in range(given.learners):
            seed = given.seed + learner
            behaviour = _behaviour(task, given, seed, processes)
            references = references or behaviour.references(processes)
            share = None if count is None else shared_out(count, given.learners)[learner]
            part, said = cut(behaviour, given.split, share, seed, processes)
            parts.append(part)
            told.append({"seed": seed, **said})
        episodes = itertools.chain(*parts)
        made_by = said if given.learners == 1 else {"learners": told}
    random_return = references.get("random_return", task.random_return)
    expert_return = references.get("expert_return", task.expert_return)
    if is_d4rl(given.out):
        _write_d4rl(given.out, episodes, task, given.split, given.seed, made_by, (random_return, expert_return))
        return
    described = describe(task, given.split, given.seed, made_by, random_return, expert_return)
    written = write_dataset(given.out, (replace(episode, state=None) for episode in episodes), described)
    print(
        f"{given.out}: {written.episodes} episodes, {written.transitions} transitions, return "
        f"{written.return_mean:.1f} +- {written.return_std:.1f} (random {written.random_return:.1f}, "
        f"expert {written.expert_return:.1f})"
    )


def shared_out(count: int, among: int) -> list[int]:
    """`count` episodes as evenly as can be, the first of `among` learners with one more where it does not divide."""
    return [count // among + (learner < count % among) for learner in range(among)]


def _behaviour(task: Task, given: argparse.Namespace, seed: int, processes: int) -> Behaviour:
    """The policies of a task: trained, or gone on with, or its script; and measured."""
    learner = get_task(task.behaviour) if task.behaviour else task
    if given.scripted:
        return Behaviour(task, learner, None, measure_script(learner, processes=processes))
    folder = given.behaviour or given.out.parent / f"{learner.name}-behaviour-seed{seed}"
    try:
        train_behaviour(learner, folder, given.steps, seed)
    except KeyboardInterrupt as error:
        raise UserError(f"stopped; the same command goes on from the last save in {folder}") from error
    return Behaviour(task, learner, folder, measure(learner, folder, processes=processes))


def _write_d4rl(
    out: Path,
    episodes: Iterator[Episode],
    task: Task,
    split: str,
    seed: int,
    made_by: dict[str, Any],
    references: tuple[float, float],
) -> None:
    """Write a split in D4RL's layout, and say what is in it."""
    kept = list(tqdm(episodes, desc=f"writing {out.name}", unit="episode"))
    metadata = {
        "task": task.name,
        "split": split,
        "seed": str(seed),
        "behaviour": json.dumps(made_by),
        "random_return": str(references[0]),
        "expert_return": str(references[1]),
        "versions": json.dumps(versions()),
    }
    transitions = write_d4rl(out, kept, task, metadata)
    returns = np.array([episode.episode_return for episode in kept])
    print(
        f"{out}: {len(kept)} episodes, {transitions} transitions, return {returns.mean():.1f} +- {returns.std():.1f}, "
        f"at most {returns.max():.1f} (expert {references[1]:.1f})"
    )


if __name__ == "__main__":
    run_cli(main)
