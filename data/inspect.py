"""What is in a dataset: `python -m data.inspect DATASET` counts it, describes it and points at what is odd."""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.decoded import Decoded
from data.episode import Episode
from data.formats.d4rl import check_hdf5, is_d4rl, read_d4rl, read_metadata
from data.locate import default_data_dir, infer_split, infer_task, resolve
from data.store import Dataset
from envs.tasks import get_task
from latent_combo.run.errors import UserError, run_cli

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
AT_BOUND = 0.99
"""Actions of at least this size count as being at a bound."""
BLACK = 8
"""A frame whose brightest value is below this counts as black."""
BINS = 10
BAR = 40
"""Characters of the histogram's longest bar."""


@dataclass(frozen=True)
class Report:
    """A dataset in figures."""

    manifest: dict[str, Any]
    """The manifest, without the names of the files; of a file in D4RL's layout what it and its task say."""
    episodes: int
    transitions: int
    length_min: int
    length_max: int
    """Transitions of the shortest and the longest episode."""
    terminals: int
    """Episodes that the task ended, not a time limit."""
    return_mean: float
    return_std: float
    return_quantiles: list[float]
    """At QUANTILES."""
    normalised_mean: float
    """Mean return on the scale of the manifest's references: random 0, expert 100."""
    histogram_counts: list[int]
    histogram_edges: list[float]
    """Of the returns; one edge more than counts."""
    reward_zero_fraction: float
    reward_min: float
    reward_max: float
    action_mean: list[float]
    action_std: list[float]
    action_at_bound: list[float]
    """Fraction of the actions at a bound, for each dimension."""
    oddities: list[str]


@dataclass(frozen=True)
class Subject:
    """A dataset that is to be described."""

    about: dict[str, Any]
    """Has task, split, horizon, random_return and expert_return at least."""
    episodes: Iterable[tuple[str, Episode]]
    """Each with what it is called."""

    @classmethod
    def of_folder(cls, dataset: Dataset) -> "Subject":
        """A folder of the project's own."""
        about = {key: value for key, value in asdict(dataset.manifest).items() if key != "files"}
        return cls(about, zip(dataset.manifest.files, dataset, strict=True))

    @classmethod
    def of_file(cls, path: Path, data_dir: Path, task_name: str | None = None) -> "Subject":
        """A file in D4RL's layout. Raises UserError where neither it nor its name tells the task."""
        check_hdf5(path)
        name = task_name or infer_task(str(path), data_dir)
        if name is None:
            raise UserError(f"{path} does not say which task it is of; name it with --task")
        task = get_task(name)
        decoded = read_d4rl(path, task)  # first: it says what is wrong with a file
        metadata = read_metadata(path)
        about = {
            "task": task.name,
            "split": metadata.get("split") or infer_split(str(path), data_dir),
            "horizon": task.horizon,
            "random_return": task.random_return,
            "expert_return": task.expert_return,
            "metadata": metadata,
        }
        return cls(about, _episodes(decoded))


def _episodes(decoded: Decoded) -> Iterator[tuple[str, Episode]]:
    """Episodes of vector observations, one after the other."""
    for number, (start, length) in enumerate(zip(decoded.starts, decoded.lengths, strict=True)):
        row = slice(start, start + length)
        yield (
            f"episode {number}",
            Episode.from_transitions(
                decoded.action[row][1:],
                decoded.reward[row][1:],
                state=decoded.observation[row],
                terminal=bool(decoded.is_terminal[row][-1]),
            ),
        )


def inspect_dataset(subject: Subject) -> Report:
    """Read a dataset once, one episode in memory at a time. Raises UserError as reading it does."""
    actions, rewards, returns, lengths = [], [], [], []
    terminals = short = 0
    odd: list[str] = []
    seen: dict[bytes, str] = {}
    for name, episode in subject.episodes:
        actions.append(episode.action[1:])
        rewards.append(episode.reward[1:])
        returns.append(episode.episode_return)
        lengths.append(episode.length)
        terminals += int(episode.is_terminal[-1])
        short += int(episode.length != subject.about["horizon"] and not episode.is_terminal[-1])
        odd += [f"{name}: {found}" for found in _oddities(episode)]
        twin = seen.setdefault(episode.action.tobytes(), name)
        if twin != name:
            odd.append(f"{name}: has the same actions as {twin}")
    action, reward, about = np.concatenate(actions), np.concatenate(rewards), subject.about
    if short:
        odd.append(f"{short} episodes end neither at the horizon of {about['horizon']} nor by the task")
    counts, edges = np.histogram(returns, BINS)
    return Report(
        manifest=about,
        episodes=len(returns),
        transitions=len(action),
        length_min=min(lengths),
        length_max=max(lengths),
        terminals=terminals,
        return_mean=float(np.mean(returns)),
        return_std=float(np.std(returns)),
        return_quantiles=np.quantile(returns, QUANTILES).tolist(),
        normalised_mean=_normalised(float(np.mean(returns)), about),
        histogram_counts=counts.tolist(),
        histogram_edges=edges.tolist(),
        reward_zero_fraction=float((reward == 0.0).mean()),
        reward_min=float(reward.min()),
        reward_max=float(reward.max()),
        action_mean=action.mean(axis=0, dtype=np.float64).tolist(),
        action_std=action.std(axis=0, dtype=np.float64).tolist(),
        action_at_bound=(np.abs(action) >= AT_BOUND).mean(axis=0).tolist(),
        oddities=odd,
    )


def _normalised(episode_return: float, about: dict[str, Any]) -> float:
    random, expert = float(about["random_return"]), float(about["expert_return"])
    return 100.0 * (episode_return - random) / (expert - random)


def _oddities(episode: Episode) -> list[str]:
    """List what a person would want to look at in one episode."""
    found = []
    constant = np.flatnonzero(np.ptp(episode.action[1:], axis=0) == 0.0)
    if episode.length > 1 and constant.size:
        found.append(f"the action never changes in dimensions {', '.join(map(str, constant))}")
    if not episode.reward.any():
        found.append("no reward at all")
    if episode.image is not None:
        frames: NDArray[np.uint8] = episode.image.reshape(len(episode.image), -1)
        if black := int((frames.max(axis=1) < BLACK).sum()):
            found.append(f"{black} black frames")
        if same := int((frames[1:] == frames[:-1]).all(axis=1).sum()):
            found.append(f"{same} frames equal to the one before")
    return found


def format_report(report: Report) -> str:
    """Write the report for reading, with a histogram of the returns."""
    about = report.manifest
    lines = [
        f"{about['task']} {about['split'] or '(split unknown)'} ({_kind(about)})",
        f"episodes     {report.episodes}, {report.terminals} of them ended by the task",
        f"transitions  {report.transitions}, {report.length_min} to {report.length_max} an episode",
        f"return       {report.return_mean:.1f} +- {report.return_std:.1f}",
        f"  quantiles  {_row(report.return_quantiles, 1)}",
        f"references   random {about['random_return']:.1f}, expert {about['expert_return']:.1f}",
        f"score        {report.normalised_mean:.1f}, of the mean return",
        f"reward       {report.reward_min:.3f} to {report.reward_max:.3f}, zero in {report.reward_zero_fraction:.1%}",
        f"action mean  {_row(report.action_mean)}",
        f"action std   {_row(report.action_std)}",
        f"at a bound   {_row(report.action_at_bound)}",
        "returns",
    ]
    most = max(report.histogram_counts)
    for count, low, high in zip(
        report.histogram_counts, report.histogram_edges[:-1], report.histogram_edges[1:], strict=True
    ):
        lines.append(f"  {low:8.1f} to {high:8.1f}  {'#' * round(BAR * count / most):<{BAR}} {count}")
    lines.append("oddities     " + ("none" if not report.oddities else ""))
    lines += [f"  {odd}" for odd in report.oddities]
    return "\n".join(line.rstrip() for line in lines)


def _kind(about: dict[str, Any]) -> str:
    """What the episodes hold."""
    if "image_size" not in about:
        return "D4RL's layout, vectors"
    drawn = f"{about['image_size']} pixels, {about['look']} look" if about["image_size"] else "recording, no images"
    return f"{drawn}; action repeat {about['action_repeat']}, camera {about['camera']}"


def _row(values: Sequence[float], digits: int = 2) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)


def main() -> None:
    """Read the command line and print the report."""
    parser = argparse.ArgumentParser(prog="python -m data.inspect", description=__doc__)
    parser.add_argument("dataset", help="a dataset: its folder, its .hdf5 file, or its name")
    parser.add_argument("--task", help="of a file in D4RL's layout that does not tell its task")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    data_dir = default_data_dir()
    path = resolve(options.dataset, None, data_dir)
    states = is_d4rl(path)
    subject = Subject.of_file(path, data_dir, options.task) if states else Subject.of_folder(Dataset(path))
    report = inspect_dataset(subject)
    print(json.dumps(asdict(report), indent=1) if options.json else format_report(report))


if __name__ == "__main__":
    run_cli(main)
