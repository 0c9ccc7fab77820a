"""`python -m data.relabel SRC OUT --task TASK`: the same experience under another reward.

SRC is a recording of the same robot with its physics, in any layout that holds them. Every recorded state is put into
the simulator of the new task, the recorded action is taken there, and what that pays, and whether it ends the episode,
is the new record. What goes on after a new ending is an episode of its own.

With --reward FILE.py:FUNCTION that function pays instead of the task: `def paid(before, action, after, env) -> float`,
of the physics (P,) before and after the action (A,), and of the environment, which stands at `after`: any reward will
do that the simulator can compute. The task still says what is observed and when an episode ends.
"""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
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
from data.options import add_data_dir
from data.simulate.workers import in_order, processes_for
from data.source import open_source
from envs.base import TaskEnv
from envs.make import make
from envs.tasks import Task, get_task

WORTHWHILE = 20_000
"""Steps below which starting processes takes longer than taking them."""
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
        env = make(self.task.name, "state")
        env.reset(seed=0)
        paid = None if self.reward is None else load_reward(self.reward)
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
    for name in ("simulator", "physics_names", "action_repeat"):
        if getattr(of, name) != getattr(task, name):
            raise UserError(
                f"{where} is of {of.name}, whose {name.replace('_', ' ')} are not those of {task.name}; "
                "give a recording of the same robot"
            )


def load_reward(spec: str) -> Reward:
    """The function that FILE.py:FUNCTION names. Raises UserError where there is none."""
    file, _, name = spec.rpartition(":")
    path = Path(file)
    if not file or not path.is_file():
        raise UserError(f"--reward is {spec!r}; give an existing FILE.py:FUNCTION")
    found = importlib.util.spec_from_file_location(f"reward_in_{path.stem}", path)
    if found is None or found.loader is None:
        raise UserError(f"{path} is no file of Python; give FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look there for theirs
    try:
        found.loader.exec_module(module)
    except Exception as error:  # the user's own code may do anything
        raise UserError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    function: Any = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"{path} has no function {name!r}")
    paid: Reward = function
    return paid


def _relabelled(episode: Episode, task: Task, env: TaskEnv, paid: Reward | None) -> Iterator[Episode]:
    physics = episode.physics
    if physics is None or physics.shape[1] != task.physics_dim or episode.action.shape[1] != task.action_dim:
        found = "no physics" if physics is None else f"physics of {physics.shape[1]} numbers"
        raise UserError(
            f"the recording has {found} and actions of {episode.action.shape[1]}, but {task.name} has "
            f"{task.physics_dim} and {task.action_dim}; give a recording of the same robot by data.collect"
        )
    env.reset(seed=0)  # a simulator's own clock starts anew; where it starts does not matter
    states = np.stack([env.observe_physics(row) for row in physics])
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


def main() -> None:
    """Read the command line, and write the relabelled recording."""
    parser = Parser("data.relabel", __doc__)
    parser.add_argument("source", help="a recording with physics: its path or name")
    parser.add_argument("out", type=Path, help="the folder or .hdf5 file to write, which must not be there yet")
    parser.add_argument("--task", required=True, help="whose reward and observations, for example halfcheetah-jump")
    parser.add_argument("--of", metavar="TASK", help="what SRC is of, where it does not tell (default: --task)")
    parser.add_argument("--reward", metavar="FILE.py:FUNCTION", help="a function that pays instead of the task")
    parser.add_argument("--processes", type=int, help="that work (default: one a core)")
    add_data_dir(parser)
    given = parser.parse_args()
    task = get_task(given.task)
    if given.out.exists():
        raise UserError(f"{given.out} exists already; remove it or name another")
    if given.reward:
        load_reward(given.reward)  # before any work
    source = open_source(given.source, get_task(given.of) if given.of else None, given.data_dir)
    if source.task is None:
        source = open_source(given.source, task, given.data_dir)
    check_same_robot(source.task or task, task, source.where)
    if source.layout in ("dreamer", "vd4rl") or (source.dataset and source.dataset.manifest.kind == "pixels"):
        print(f"{source.where} has images; they are not in {given.out}, whose frames data.render draws")
    steps = source.dataset.manifest.transitions if source.dataset else WORTHWHILE
    processes = processes_for(given.processes, steps, WORTHWHILE)
    said = {"source": Path(source.where).name, "of": source.about() if source.task else {}}
    made = tqdm(
        relabel(source.episodes(), task, given.reward, processes), desc=f"relabelling {Path(source.where).name}",
        unit="episode", total=source.count,
    )  # fmt: skip
    seen = _Returns(made)
    reward = given.reward or task.reward
    if is_d4rl(given.out):
        metadata = {"task": task.name, "split": "relabelled", "reward": reward, "behaviour": json.dumps(said)}
        write_d4rl(given.out, seen, task, {**metadata, "versions": json.dumps(versions())})
    else:
        described = replace(describe(task, "relabelled", 0, said), reward=reward)
        write_dataset(given.out, (replace(episode, state=None) for episode in seen), described, progress=False)
    returns = np.array(seen.returns)
    print(
        f"{given.out}: {len(returns)} episodes, {seen.transitions} transitions, "
        f"batch mean {returns.mean():.1f}, batch maximum {returns.max():.1f}"
    )


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
