"""`python -m data.relabel SRC OUT --task TASK`: the same experience under another task's reward and observations.

SRC is a recording of the same robot with its physics: a folder, or an .hdf5 file of this project's collector. Every
recorded state is put into the simulator of the new task, the recorded action is taken there, and what that pays, and
whether it ends the episode, is the new record: any reward will do that the simulator can compute. What goes on after a
new ending is an episode of its own.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.decoded import Decoded
from data.episode import Episode
from data.formats.d4rl import is_d4rl, read_d4rl, read_metadata, write_d4rl
from data.locate import default_data_dir, infer_task, resolve
from data.manifest import describe
from data.store import Dataset, write_dataset
from envs.make import make
from envs.tasks import Task, get_task
from latent_combo.run.errors import UserError, run_cli
from latent_combo.run.versions import versions


def relabel(episodes: Iterator[Episode], task: Task) -> Iterator[Episode]:
    """Yield what `task` makes of recorded physics and actions. Raises UserError where they are another robot's."""
    env = make(task.name, "state")
    env.reset(seed=0)
    for episode in episodes:
        physics = episode.physics
        if physics is None or physics.shape[1] != task.physics_dim or episode.action.shape[1] != task.action_dim:
            found = "no physics" if physics is None else f"physics of {physics.shape[1]} numbers"
            raise UserError(
                f"the recording has {found} and actions of {episode.action.shape[1]}, but {task.name} has "
                f"{task.physics_dim} and {task.action_dim}; give a recording of the same robot by data.collect"
            )
        states = np.stack([env.observe_physics(row) for row in physics])
        rewards = np.zeros(episode.length)
        ended = np.zeros(episode.length, bool)
        for t in range(episode.length):
            env.set_physics(physics[t])
            _, rewards[t], ended[t], _, _ = env.step(episode.action[t + 1])
        starts = [0, *(np.flatnonzero(ended) + 1).tolist()]
        for start, stop in zip(starts, [*starts[1:], episode.length], strict=True):
            if stop > start:
                rows = slice(start, stop + 1)
                yield Episode.from_transitions(
                    episode.action[start + 1 : stop + 1], rewards[start:stop], physics[rows], states[rows],
                    terminal=bool(ended[stop - 1]),
                )  # fmt: skip


def episodes_of(decoded: Decoded) -> Iterator[Episode]:
    """The episodes of a dataset in memory."""
    for start, length in zip(decoded.starts, decoded.lengths, strict=True):
        rows = slice(start, start + length)
        yield Episode.from_transitions(
            decoded.action[rows][1:], decoded.reward[rows][1:],
            None if decoded.physics is None else decoded.physics[rows], decoded.observation[rows],
            terminal=bool(decoded.is_terminal[rows][-1]),
        )  # fmt: skip


def main() -> None:
    """Read the command line, and write the relabelled recording."""
    parser = argparse.ArgumentParser(
        prog="python -m data.relabel", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="a recording: its folder, .hdf5 file or name")
    parser.add_argument("out", type=Path, help="the folder or .hdf5 file to write, which must not be there yet")
    parser.add_argument("--task", required=True, help="whose reward and observations, for example halfcheetah-jump")
    given = parser.parse_args()
    task = get_task(given.task)
    if given.out.exists():
        raise UserError(f"{given.out} exists already; remove it or name another")
    path = resolve(given.source, None, default_data_dir())
    said: dict[str, Any] = {"source": path.name}
    if is_d4rl(path):
        of = infer_task(str(path), default_data_dir())
        if of is None:
            raise UserError(f"{path} says nothing of its task; name the file after it, as in halfcheetah-replay.hdf5")
        source, count = episodes_of(decoded := read_d4rl(path, get_task(of))), len(decoded.lengths)
        said |= {"of": read_metadata(path)}
    else:
        dataset = Dataset(path)
        source, count = iter(dataset), len(dataset)
        said |= {"of": {key: value for key, value in asdict(dataset.manifest).items() if key != "files"}}
    made = list(relabel(iter(tqdm(source, total=count, desc=f"relabelling {path.name}", unit="episode")), task))
    returns = np.array([episode.episode_return for episode in made])
    if is_d4rl(given.out):
        metadata = {"task": task.name, "split": "relabelled", "behaviour": json.dumps(said)}
        write_d4rl(given.out, made, task, {**metadata, "versions": json.dumps(versions())})
    else:
        write_dataset(given.out, made, describe(task, "relabelled", 0, said))
    print(
        f"{given.out}: {len(made)} episodes, {sum(episode.length for episode in made)} transitions, "
        f"batch mean {returns.mean():.1f}, batch maximum {returns.max():.1f}"
    )


if __name__ == "__main__":
    run_cli(main)
