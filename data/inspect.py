"""What is in a dataset: `python -m data.inspect DATASET` counts it, describes it and points at what is odd."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.episode import Episode
from data.locate import default_data_dir, resolve
from data.manifest import Manifest
from data.store import Dataset
from latent_combo.run.errors import run_cli

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
    """The manifest, without the names of the files."""
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


def inspect_dataset(dataset: Dataset) -> Report:
    """Read a dataset once, one episode in memory at a time. Raises UserError as reading it does."""
    actions, rewards, returns, lengths = [], [], [], []
    terminals = 0
    odd: list[str] = []
    seen: dict[bytes, str] = {}
    for name, episode in zip(dataset.manifest.files, dataset, strict=True):
        actions.append(episode.action[1:])
        rewards.append(episode.reward[1:])
        returns.append(episode.episode_return)
        lengths.append(episode.length)
        terminals += int(episode.is_terminal[-1])
        odd += [f"{name}: {found}" for found in _oddities(episode)]
        twin = seen.setdefault(episode.action.tobytes(), name)
        if twin != name:
            odd.append(f"{name}: has the same actions as {twin}")
    action, reward = np.concatenate(actions), np.concatenate(rewards)
    manifest = dataset.manifest
    if short := sum(length != manifest.horizon for length in lengths) - terminals:
        odd.append(f"{short} episodes end neither at the horizon of {manifest.horizon} nor by the task")
    counts, edges = np.histogram(returns, BINS)
    return Report(
        manifest={key: value for key, value in asdict(manifest).items() if key != "files"},
        episodes=len(returns),
        transitions=len(action),
        length_min=min(lengths),
        length_max=max(lengths),
        terminals=terminals,
        return_mean=float(np.mean(returns)),
        return_std=float(np.std(returns)),
        return_quantiles=np.quantile(returns, QUANTILES).tolist(),
        normalised_mean=_normalised(float(np.mean(returns)), manifest),
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


def _normalised(episode_return: float, manifest: Manifest) -> float:
    return 100.0 * (episode_return - manifest.random_return) / (manifest.expert_return - manifest.random_return)


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
    drawn = f"{about['image_size']} pixels, {about['look']} look" if about["image_size"] else "recording, no images"
    lines = [
        f"{about['task']} {about['split']} ({drawn}; action repeat {about['action_repeat']}, camera {about['camera']})",
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


def _row(values: Sequence[float], digits: int = 2) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)


def main() -> None:
    """Read the command line and print the report."""
    parser = argparse.ArgumentParser(prog="python -m data.inspect", description=__doc__)
    parser.add_argument("dataset", help="a dataset: its folder or its name")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    report = inspect_dataset(Dataset(resolve(options.dataset, None, default_data_dir())))
    print(json.dumps(asdict(report), indent=1) if options.json else format_report(report))


if __name__ == "__main__":
    run_cli(main)
