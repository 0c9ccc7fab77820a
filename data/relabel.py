"""`python -m data.relabel SRC OUT --task TASK`: the same experience under another reward.

SRC is a recording of the same robot with its physics, in any layout that holds them. Every recorded state is put into
the simulator of the new task, the recorded action is taken there, and what that pays, and whether it ends the episode,
is the new record. What goes on after a new ending is an episode of its own.

With --reward FILE.py:FUNCTION that function pays instead of the task: `def paid(before, action, after, env) -> float`,
of the physics (P,) before and after the action (A,), and of the environment, which stands at `after`: any reward will
do that the simulator can compute. The task still says what is observed and when an episode ends.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import combo_common.own_packages  # noqa: F401
from combo_common.cli import Parser, run_cli
from combo_common.errors import UserError
from combo_common.paths import given_path, path_text
from combo_common.progress import progress_bar
from combo_common.versions import versions
from data.episode import Episode
from data.formats.base import Source
from data.formats.d4rl import write_d4rl
from data.formats.hdf5_file import is_hdf5
from data.formats.manifest import describe
from data.formats.native import write_dataset
from data.options import add_data_dir
from data.simulate.own_code import load_function
from data.simulate.relabelling import check_same_robot, relabel
from data.simulate.workers import processes_for
from data.source import open_source
from data.train_command import train_line
from envs.registry import get_task
from envs.task import Task

WORTHWHILE = 20_000
"""Steps below which starting processes takes longer than taking them."""


def main() -> None:
    """Read the command line, and write the relabelled recording."""
    parser = Parser("data.relabel", __doc__)
    parser.add_argument("source", help="a recording with physics: its path or name")
    parser.add_argument("out", type=given_path, help="the folder or .hdf5 file to write, which must not be there yet")
    parser.add_argument(
        "--task", required=True, help="whose reward and observations OUT gets, such as halfcheetah-jump"
    )
    told = "the task that SRC was recorded in, where SRC does not tell it or it is my_module:TASK (default: --task)"
    parser.add_argument("--of", metavar="TASK", help=told)
    reward = "a function that pays instead of the task"
    parser.add_argument("--reward", type=path_text, metavar="FILE.py:FUNCTION", help=reward)
    parser.add_argument("--processes", type=int, help="that work (default: one a core)")
    add_data_dir(parser)
    given = parser.parse_args()
    task = get_task(given.task)
    if given.out.exists():
        raise UserError(f"{given.out} exists already; remove it or name another")
    if given.reward:
        load_function("--reward", given.reward)  # before any work
    source = open_source(given.source, get_task(given.of) if given.of else None, given.data_dir)
    if source.task is None:
        source = open_source(given.source, task, given.data_dir)
    check_same_robot(source.task or task, task, source.where)
    if source.images:
        print(f"{source.where} has images; they are not in {given.out}, whose frames data.render draws")
    steps = source.dataset.manifest.transitions if source.dataset else WORTHWHILE
    processes = processes_for(given.processes, steps, WORTHWHILE)
    made = progress_bar(
        relabel(source.episodes(), task, given.reward, processes), desc=f"relabelling {Path(source.where).name}",
        unit="episode", total=source.count,
    )  # fmt: skip
    seen = _Returns(made)
    _write(given.out, seen, task, given.reward or task.reward, source)
    returns = np.array(seen.returns)
    print(
        f"{given.out}: {len(returns)} episodes, {seen.transitions} transitions, "
        f"batch mean {returns.mean():.1f}, batch maximum {returns.max():.1f}"
    )
    print(train_line(given.out, given.task))


def _write(out: Path, episodes: Iterable[Episode], task: Task, reward: str, source: Source) -> None:
    """Write an HDF5 file with vectors, or a recording without; either says what it was made of."""
    said = {"source": Path(source.where).name, "of": source.about() if source.task else {}}
    if is_hdf5(out):
        metadata = {"task": task.name, "split": "relabelled", "reward": reward, "behaviour": json.dumps(said)}
        write_d4rl(out, episodes, task, {**metadata, "versions": json.dumps(versions())})
    else:
        described = replace(describe(task, "relabelled", 0, said), reward=reward)
        kept = episodes if task.records_state else (replace(episode, state=None) for episode in episodes)
        write_dataset(out, kept, described, progress=False)


class _Returns:
    """Passes episodes on, and keeps their returns."""

    def __init__(self, episodes: Iterable[Episode]) -> None:
        self._episodes = episodes
        self.returns: list[float] = []
        self.transitions = 0

    def __iter__(self) -> Iterator[Episode]:
        for episode in self._episodes:
            self.returns.append(episode.episode_return)
            self.transitions += episode.length
            yield episode


if __name__ == "__main__":
    run_cli(main)
