"""`python -m data.collect TASK SPLIT OUT`: train a behaviour policy on states, and cut a D4RL-style split from it.

Splits, of 200 episodes each: `medium-replay`, evenly spaced over the replay up to the medium policy (or the first 200
episodes, if it has fewer); `medium`, of the snapshot whose return is nearest to half of the last one's; `expert`, of
the last snapshot; `medium-expert`, half of each; `random`, of uniform actions. Snapshots act stochastically. What is
written is a recording: physics states, actions and rewards, which `data.render` draws.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.behaviour import Snapshot, measure, read_replay, snapshot_policy, train_behaviour
from data.episode import Episode
from data.manifest import describe
from data.staging import writing
from data.store import write_dataset
from envs.make import make
from envs.tasks import Task, get_task
from latent_combo.run.errors import UserError, run_cli

SPLITS = ("medium-replay", "medium", "medium-expert", "expert", "random")
FULL_SPLIT = 200
"""Episodes of a split."""


def medium_snapshot(measured: dict[str, Any]) -> str:
    """The snapshot whose return is nearest to half of the last one's; `measured` is `behaviour.measure`'s."""
    snapshots: dict[str, float] = measured["snapshots"]
    half = 0.5 * snapshots[max(snapshots)]
    return min(sorted(snapshots), key=lambda name: abs(snapshots[name] - half))


def evenly_spaced(count: int, wanted: int) -> NDArray[np.int64]:
    """`wanted` indices below `count`, evenly spaced from the first to the last."""
    return np.linspace(0, count - 1, wanted).round().astype(np.int64)


def replay_indices(available: int, until_medium: int, episodes: int) -> NDArray[np.int64]:
    """Which episodes of a replay make `medium-replay`; fewer than 200 are a thinner cut of the 200."""
    full = evenly_spaced(until_medium, FULL_SPLIT) if until_medium >= FULL_SPLIT else np.arange(FULL_SPLIT)
    if available < FULL_SPLIT:
        raise UserError(f"the replay has {available} episodes, medium-replay needs {FULL_SPLIT}; give more --steps")
    return full[evenly_spaced(FULL_SPLIT, episodes)] if episodes < FULL_SPLIT else full


def replay_episodes(folder: Path, indices: NDArray[np.int64]) -> Iterator[Episode]:
    """Episodes of a behaviour policy's replay, without vector observations, which physics gives back."""
    replay = read_replay(folder)
    for index in indices:
        yield Episode.from_transitions(
            replay["action"][index], replay["reward"][index], physics=replay["physics"][index]
        )


def played_episodes(task: Task, policy: Snapshot | None, count: int, seed: int) -> Iterator[Episode]:
    """Play `count` seeded episodes with a snapshot, or with uniform random actions for None."""
    env = make(task.name, "state")
    rng = np.random.default_rng(seed)
    for number in range(count):
        state, info = env.reset(seed=seed + number)
        physics, actions, rewards = [info["physics"]], [], []
        ended = False
        while not ended:
            drawn = rng.uniform(-1.0, 1.0, task.action_dim).astype(np.float32)
            action = drawn if policy is None else policy(state)
            state, reward, terminated, truncated, info = env.step(action)
            physics.append(info["physics"])
            actions.append(action)
            rewards.append(reward)
            ended = terminated or truncated
        yield Episode.from_transitions(
            np.stack(actions), np.asarray(rewards), terminal=terminated, physics=np.stack(physics)
        )


def cut(task: Task, split: str, behaviour: Path, episodes: int, seed: int) -> tuple[Iterator[Episode], dict[str, Any]]:
    """The episodes of a split, and a description of the policies that made them."""
    measured = measure(task, behaviour)
    medium, expert = medium_snapshot(measured), str(measured["expert"])
    references = {"random_return": measured["random_return"], "expert_return": measured["expert_return"]}
    made_by = {"learner": "Stable-Baselines3 SAC on states", **references}

    def snapshot(name: str, count: int, offset: int) -> Iterator[Episode]:
        generator = torch.Generator().manual_seed(seed + offset)
        return played_episodes(task, snapshot_policy(behaviour / name, generator), count, seed + offset)

    if split == "medium-replay":
        until = int(medium.removeprefix("actor-").removesuffix(".safetensors")) // task.horizon
        total = len(read_replay(behaviour)["reward"])
        indices = replay_indices(total, until, episodes)
        chosen = {"replay_episodes": indices.tolist(), "medium_snapshot": medium}
        return replay_episodes(behaviour, indices), made_by | chosen
    if split == "random":
        return played_episodes(task, None, episodes, seed), {"learner": "uniform random actions", **references}
    if split == "medium-expert":

        def both() -> Iterator[Episode]:
            yield from snapshot(medium, episodes - episodes // 2, 1_000_000)
            yield from snapshot(expert, episodes // 2, 2_000_000)

        return both(), made_by | {"snapshots": [medium, expert]}
    name, offset = (medium, 1_000_000) if split == "medium" else (expert, 2_000_000)
    return snapshot(name, episodes, offset), made_by | {"snapshots": [name]}


def check_out(out: Path) -> None:
    """Raise UserError where a dataset could not be written: better before the hours of training than after."""
    with writing(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
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
    parser.add_argument("out", type=Path, help="folder to write, which must not hold a dataset yet")
    parser.add_argument("--steps", type=int, default=300_000, help="agent steps of the behaviour policy's training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=FULL_SPLIT)
    parser.add_argument("--behaviour", type=Path, help="its folder, shared by all splits (default: beside OUT)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the learner; more gain little")
    given = parser.parse_args()
    task = get_task(given.task)
    if not 2 <= given.episodes <= FULL_SPLIT:
        raise UserError(f"--episodes is {given.episodes}; a split has 2 to {FULL_SPLIT}")
    for option in ("steps", "threads"):
        if getattr(given, option) < 1:
            raise UserError(f"--{option} is {getattr(given, option)}; it is at least 1")
    check_out(given.out)
    behaviour = given.behaviour or given.out.parent / f"{task.name}-behaviour-seed{given.seed}"
    try:
        train_behaviour(task, behaviour, given.steps, given.seed, given.threads)
    except KeyboardInterrupt as error:
        raise UserError(f"stopped; the same command goes on from the last save in {behaviour}") from error
    episodes, made_by = cut(task, given.split, behaviour, given.episodes, given.seed)
    random_return, expert_return = float(made_by.pop("random_return")), float(made_by.pop("expert_return"))
    described = describe(task, given.split, given.seed, made_by, random_return, expert_return)
    written = write_dataset(given.out, episodes, described)
    print(
        f"{given.out}: {written.episodes} episodes, {written.transitions} transitions, return "
        f"{written.return_mean:.1f} +- {written.return_std:.1f} (random {written.random_return:.1f}, "
        f"expert {written.expert_return:.1f})"
    )


if __name__ == "__main__":
    run_cli(main)
