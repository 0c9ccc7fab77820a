"""`python -m data.collect TASK SPLIT OUT`: train a behaviour policy on states, and cut a D4RL-style split from it.

Splits: `medium`, of the first snapshot about as good as half of the last one (a third on D4RL's robots); `expert`, of
the last snapshot; `medium-expert`, half of each; `random`, of uniform actions; `replay`, the whole replay;
`medium-replay`, the replay up to the medium policy, whole on D4RL's robots, elsewhere 200 episodes spread evenly over
it (or the first 200, if it has fewer). Each is as long as 200 whole episodes (of the door 1000), or --episodes: D4RL's
own have a million transitions, --episodes 1000. Whole replays are thinned only where --episodes says so.
`own` is the split of a policy of yours, --policy FILE.py:FUNCTION, a function of the state and the environment.
Snapshots act stochastically. `random` needs no learner. --learners N takes the same split of N learners, of seeds
--seed and on, one after another: more ways to fail and to succeed than one learner meets.

An OUT that ends in .hdf5 is written in D4RL's layout, with the vector observations. Any other is a folder with a
recording: physics states, actions and rewards, which `data.render` draws.
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

import combo_common.own_packages  # noqa: F401
from combo_common.cli import Parser, run_cli
from combo_common.commands import same_command
from combo_common.errors import StoppedError, UserError
from combo_common.figures import figure
from combo_common.files import writing
from combo_common.paths import given_path
from combo_common.progress import progress_bar
from combo_common.symbols import plus_minus
from combo_common.versions import versions
from data.episode import Episode
from data.formats.d4rl import write_d4rl
from data.formats.hdf5_file import is_hdf5
from data.formats.manifest import Description, describe
from data.formats.native import write_dataset
from data.simulate.own_code import load_function
from data.simulate.rollout import PolicySpec, check_script, played_episodes
from data.simulate.sac import measure, measure_script, train_behaviour
from data.simulate.splits import OWN, SPLITS, Behaviour, cut, first_episode, shared_out
from data.simulate.workers import processes_for
from data.train_command import train_line
from envs.registry import get_task
from envs.task import Task

References = tuple[float | None, float | None]
"""Mean returns of random actions and of the expert; None where nobody measured them."""
WORTHWHILE = 20_000
"""Steps below which starting processes takes longer than playing them."""


def check_out(out: Path) -> None:
    """Raise UserError where a dataset could not be written: better before the hours of training than after."""
    with writing(out):
        if out.exists() and (is_hdf5(out) or not out.is_dir() or any(out.iterdir())):
            raise UserError(f"{out} exists already and is not an empty folder; remove it or name another")
        out.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=out.parent).close()


def main() -> None:
    """Read the command line, train or continue the behaviour policy, and write the split."""
    parser = Parser("data.collect", __doc__)
    parser.add_argument("task", help="for example walker-walk")
    parser.add_argument("split", choices=(*SPLITS, OWN))
    parser.add_argument("out", type=given_path, help="the folder or .hdf5 file to write, which must not be there yet")
    parser.add_argument("--steps", type=int, default=300_000, help="agent steps of the behaviour policy's training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--episodes",
        type=int,
        help="its length in whole episodes; of robots that fall there are more (200, door 1000)",
    )
    parser.add_argument("--learners", type=int, default=1, help="whose splits are put together, a seed each")
    parser.add_argument("--scripted", action="store_true", help="Meta-World's script with noise instead of a learner")
    parser.add_argument("--policy", help="FILE.py:FUNCTION (state, env) -> action, whose episodes are the split `own`")
    parser.add_argument("--processes", type=int, help="that play episodes (default: one a core)")
    parser.add_argument("--behaviour", type=given_path, help="its folder, shared by all splits (default: beside OUT)")
    given = parser.parse_args()
    task = get_task(given.task)
    check_options(given, task)
    processes = processes_for(given.processes, task.horizon * (given.episodes or task.split_episodes), WORTHWHILE)
    check_out(given.out)
    try:
        episodes, made_by, references = _collected(given, task, processes)
        described = describe(task, given.split, given.seed, made_by, *references)
        write = _write_d4rl if is_hdf5(given.out) else _write_recording
        written = write(given.out, episodes, task, described, _total(given, task, made_by))
    except KeyboardInterrupt as error:
        again = same_command("data.collect")
        raise StoppedError(f"stopped; {given.out} is not written, and the same command begins it: {again}") from error
    print(f"{given.out}: {written}")
    print(train_line(given.out, given.task))


def check_options(given: argparse.Namespace, task: Task) -> None:
    """Raise UserError for options that are out of range, or do not go together."""
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
    if (given.policy is not None) != (given.split == OWN):
        raise UserError(f"--policy and the split {OWN} go together; give both, or neither")
    if given.policy is not None and given.scripted:
        raise UserError("--policy and --scripted name two policies; leave one of them out")
    one = given.scripted or given.behaviour or given.split in ("random", OWN)
    if given.learners < 1 or (given.learners > 1 and one):
        raise UserError(
            f"--learners is {given.learners}; it is 1 or more, and 1 with --scripted, --policy, --behaviour or the "
            "random split"
        )
    if given.learners > 1 and count is not None and count < 2 * given.learners:
        raise UserError(f"--episodes is {count} of {given.learners} learners; each has 2 or more")
    if given.steps < 1:
        raise UserError(f"--steps is {given.steps}; it is at least 1")


def _collected(
    given: argparse.Namespace, task: Task, processes: int
) -> tuple[Iterator[Episode], dict[str, Any], References]:
    """The episodes of a split, what made them, and the returns of random actions and of the expert."""
    count = given.episodes
    if given.split == "random":
        first, whole = first_episode(given.seed, "random"), count or task.split_episodes
        episodes = played_episodes(task, PolicySpec(), whole, first, processes)
        return episodes, {"learner": "uniform random actions"}, (task.random_return, task.expert_return)
    if given.policy is not None:
        load_function("--policy", given.policy)  # said before anything is started
        first, whole = first_episode(given.seed, OWN), count or task.split_episodes
        episodes = played_episodes(task, PolicySpec(function=given.policy), whole, first, processes)
        return episodes, {"learner": f"own policy, {given.policy}"}, (task.random_return, task.expert_return)
    references: dict[str, float] = {}
    parts, told = [], []
    for learner in range(given.learners):
        seed = given.seed + learner
        behaviour = _behaviour(task, given, seed, processes)
        references = references or behaviour.references(processes)
        share = None if count is None else shared_out(count, given.learners)[learner]
        part, said = cut(behaviour, given.split, share, seed, processes)
        parts.append(part)
        told.append({"seed": seed, **said})
    made_by = said if given.learners == 1 else {"learners": told}
    return itertools.chain(*parts), made_by, (references["random_return"], references["expert_return"])


def _total(given: argparse.Namespace, task: Task, made_by: dict[str, Any]) -> int | None:
    """How many episodes there will be; None where that depends on how they end."""
    if given.split in ("replay", "medium-replay"):
        parts = made_by.get("learners", [made_by])
        cut_anew = bool(task.behaviour)  # where another task's reward ends episodes
        return None if cut_anew else sum(len(part["replay_episodes"]) for part in parts)
    count: int = given.learners * task.split_episodes if given.episodes is None else given.episodes
    return count if task.termination == "none" else None


def _behaviour(task: Task, given: argparse.Namespace, seed: int, processes: int) -> Behaviour:
    """The policies of a task: trained, or gone on with, or its script; and measured."""
    learner = get_task(task.behaviour) if task.behaviour else task
    if given.scripted:
        return Behaviour(task, learner, None, measure_script(learner, processes=processes))
    folder = given.behaviour or given.out.parent / f"{learner.file_name}-behaviour-seed{seed}"
    try:
        train_behaviour(learner, folder, given.steps, seed)
    except KeyboardInterrupt as error:
        again = same_command("data.collect")
        raise StoppedError(f"stopped; the same command continues from the last save in {folder}: {again}") from error
    return Behaviour(task, learner, folder, measure(learner, folder, processes=processes))


def _write_d4rl(out: Path, episodes: Iterator[Episode], task: Task, described: Description, total: int | None) -> str:
    """Write a split in D4RL's layout; returns what is in it."""
    kept = list(progress_bar(episodes, desc=f"writing {out.name}", unit="episode", total=total))
    metadata = {
        "task": described.task,
        "split": described.split,
        "seed": str(described.seed),
        "behaviour": json.dumps(described.behaviour),
        **_measured(described),
        "versions": json.dumps(versions()),
    }
    transitions = write_d4rl(out, kept, task, metadata)
    returns = np.array([episode.episode_return for episode in kept])
    return (
        f"{len(kept)} episodes, {transitions} transitions, return {returns.mean():.1f} {plus_minus()} "
        f"{returns.std():.1f}, at most {returns.max():.1f} (expert {figure(described.expert_return)})"
    )


def _measured(described: Description) -> dict[str, str]:
    """The references that are known, as metadata have them."""
    named = {"random_return": described.random_return, "expert_return": described.expert_return}
    return {name: str(known) for name, known in named.items() if known is not None}


def _write_recording(
    out: Path, episodes: Iterator[Episode], task: Task, described: Description, total: int | None
) -> str:
    """Write a split as a recording: vectors where physics do not tell them, and, without physics, what is drawn.

    Images are those that the environment draws, if it does. Returns what is in it.
    """
    if task.physics_dim and not task.records_state:
        episodes = (replace(episode, state=None) for episode in episodes)
    if not task.physics_dim:
        first = next(episodes)
        episodes = itertools.chain([first], episodes)
        if first.image is None:
            print(f"{task.name} draws no pictures: vectors alone are recorded, for --obs state", flush=True)
        else:
            described = replace(described, image_size=task.image_size, look="fast")
    written = write_dataset(out, episodes, described, total)
    return (
        f"{written.episodes} episodes, {written.transitions} transitions, return "
        f"{written.return_mean:.1f} {plus_minus()} {written.return_std:.1f} (random {figure(written.random_return)}, "
        f"expert {figure(written.expert_return)})"
    )


if __name__ == "__main__":
    run_cli(main)
