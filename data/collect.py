"""`python -m data.collect TASK SPLIT OUT`: train a behaviour policy on states, and cut a D4RL-style split from it.

Splits: `medium`, of the first snapshot about as good as half of the last one (a third on D4RL's robots); `expert`, of
the last snapshot; `medium-expert`, half of each; `random`, of uniform actions; `replay`, the whole replay;
`medium-replay`, the replay up to the medium policy, whole on D4RL's robots, elsewhere 200 episodes spread evenly over
it (or the first 200, if it has fewer). Each is as long as 200 whole episodes (of the door 1000), or --episodes: D4RL's
own have a million transitions, --episodes 1000. Whole replays are thinned only where --episodes says so.
Snapshots act stochastically. `random` needs no learner.

An OUT that ends in .hdf5 is written in D4RL's layout, with the vector observations. Any other is a folder with a
recording: physics states, actions and rewards, which `data.render` draws.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from data.behaviour import STATE, Snapshot, measure, read_replay, snapshot_policy, train_behaviour
from data.episode import Episode
from data.formats.d4rl import is_d4rl, write_d4rl
from data.manifest import describe
from data.staging import writing
from data.store import write_dataset
from envs.make import make
from envs.tasks import Task, get_task
from latent_combo.run.errors import UserError, run_cli
from latent_combo.run.versions import versions

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


def played_episodes(task: Task, policy: Snapshot | None, count: int, seed: int) -> Iterator[Episode]:
    """Play seeded episodes with a snapshot, or with uniform random actions for None, as long as `count` whole ones."""
    env = make(task.name, "state")
    rng = np.random.default_rng(seed)
    number = transitions = 0
    while transitions < count * task.horizon:
        state, info = env.reset(seed=seed + number)
        states, physics, actions, rewards = [state], [info["physics"]], [], []
        ended = False
        while not ended:
            drawn = rng.uniform(-1.0, 1.0, task.action_dim).astype(np.float32)
            action = drawn if policy is None else policy(state)
            state, reward, terminated, truncated, info = env.step(action)
            states.append(state)
            physics.append(info["physics"])
            actions.append(action)
            rewards.append(reward)
            ended = terminated or truncated
        number, transitions = number + 1, transitions + len(actions)
        yield Episode.from_transitions(
            np.stack(actions), np.asarray(rewards), np.stack(physics), np.stack(states), terminal=terminated
        )


def cut(
    task: Task, split: str, behaviour: Path, asked: int | None, seed: int
) -> tuple[Iterator[Episode], dict[str, Any]]:
    """The episodes of a split, and a description of the policies that made them; None asks for its own length."""
    episodes = task.split_episodes if asked is None else asked
    if split == "random":
        references = {"random_return": task.random_return, "expert_return": task.expert_return}
        return played_episodes(task, None, episodes, seed), {"learner": "uniform random actions", **references}
    measured = measure(task, behaviour)
    medium, expert = medium_snapshot(measured, task.medium_share), str(measured["expert"])
    references = {"random_return": measured["random_return"], "expert_return": measured["expert_return"]}
    returns = {"medium_return": measured["snapshots"][medium], "snapshot_returns": list(measured["snapshots"].values())}
    library = "SBX (Stable-Baselines3 in JAX)" if (behaviour / STATE).exists() else "Stable-Baselines3"
    made_by = {"learner": f"{library} SAC on states", **references}

    def snapshot(name: str, count: int, offset: int) -> Iterator[Episode]:
        generator = torch.Generator().manual_seed(seed + offset)
        return played_episodes(task, snapshot_policy(behaviour / name, generator), count, seed + offset)

    if split in ("replay", "medium-replay"):
        return _cut_replay(task, split, behaviour, medium, asked, made_by)
    if split == "medium-expert":

        def both() -> Iterator[Episode]:
            yield from snapshot(medium, episodes - episodes // 2, 1_000_000)
            yield from snapshot(expert, episodes // 2, 2_000_000)

        return both(), made_by | {"snapshots": [medium, expert], **returns}
    name, offset = (medium, 1_000_000) if split == "medium" else (expert, 2_000_000)
    return snapshot(name, episodes, offset), made_by | {"snapshots": [name], **returns}


def _cut_replay(
    task: Task, split: str, behaviour: Path, medium: str, asked: int | None, made_by: dict[str, Any]
) -> tuple[Iterator[Episode], dict[str, Any]]:
    replay = read_replay(behaviour)
    lengths = np.array([episode.length for episode in replay])
    steps = int(medium.removeprefix("actor-").removesuffix(".safetensors"))
    until = int(np.searchsorted(lengths.cumsum(), steps, side="right"))
    if split == "medium-replay" and not task.whole_replay:
        indices = replay_indices(len(replay), until, asked or task.split_episodes, task.split_episodes)
    else:
        count = len(replay) if split == "replay" else until
        indices = np.arange(count) if asked is None else thinned(lengths[:count], asked * task.horizon)
    chosen = {"replay_episodes": indices.tolist(), "medium_snapshot": medium}
    return (replay[index] for index in indices), made_by | chosen


def check_out(out: Path) -> None:
    """Raise UserError where a dataset could not be written: better before the hours of training than after."""
    with writing(out):
        if out.exists() and (is_d4rl(out) or not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out} exists already and is not an empty folder; remove it or name another")
        out.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=out.parent).close()


def main() -> None:
    """Read the command line, train or continue the behaviour policy, and write the split."""
    parser = argparse.ArgumentParser(
        prog="python -m data.collect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    parser.add_argument("--behaviour", type=Path, help="its folder, shared by all splits (default: beside OUT)")
    given = parser.parse_args()
    task = get_task(given.task)
    if (count := given.episodes) is not None:
        if count < 2:
            raise UserError(f"--episodes is {count}; a split has 2 or more")
        if given.split == "medium-replay" and not task.whole_replay and count > task.split_episodes:
            raise UserError(f"--episodes is {count}; a medium-replay of {task.name} has at most {task.split_episodes}")
    if given.steps < 1:
        raise UserError(f"--steps is {given.steps}; it is at least 1")
    check_out(given.out)
    behaviour = given.behaviour or given.out.parent / f"{task.name}-behaviour-seed{given.seed}"
    if given.split != "random":
        try:
            train_behaviour(task, behaviour, given.steps, given.seed)
        except KeyboardInterrupt as error:
            raise UserError(f"stopped; the same command goes on from the last save in {behaviour}") from error
    episodes, made_by = cut(task, given.split, behaviour, count, given.seed)
    random_return, expert_return = float(made_by.pop("random_return")), float(made_by.pop("expert_return"))
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
