"""What is in a dataset: `python -m data.inspect DATASET` counts it, describes it and points at what is odd.

With --pictures FOLDER it also draws the returns, the actions, and frames of some episodes (contact sheet).
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import combo_common.own_packages  # noqa: F401
from combo_common.cli import Parser, run_cli
from combo_common.errors import UserError
from data.episode import Episode
from data.options import add_data_dir
from data.source import LAYOUTS, Named, open_source
from data.staging import write_file, writing
from envs.tasks import TASKS, get_task

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
AT_BOUND = 0.99
"""Actions of at least this size count as being at a bound."""
BLACK = 8
"""A frame whose brightest value is below this counts as black."""
BINS = 10
ACTION_BINS = 20
"""Of each dimension of the actions, over [-1, 1]."""
VISITED = 1e-3
"""Share of the actions from which on a bin counts as covered."""
PINNED = 0.5
"""Share of the actions at a bound, in one dimension, that is worth a word."""
BAR = 40
"""Characters of the histogram's longest bar."""
NAMED = 3
"""Episodes that are named one by one for what is odd about them; of more, the first is."""
SHOWN, FRAMES = 6, 8
"""Episodes on the contact sheet, and frames of each."""


@dataclass(frozen=True)
class Report:
    """A dataset in figures."""

    manifest: dict[str, Any]
    """The manifest, without the names of the files; of another layout what its files and its task say."""
    layout: str
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
    success_rate: float | None
    """Share of the episodes that end with the task done; None where the reward does not tell."""
    normalised_mean: float | None
    """Score of the mean return, by the task's own references as a run's is; None for another reward than the task's."""
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
    action_histogram: list[list[int]]
    """Counts over [-1, 1] in ACTION_BINS bins, for each dimension."""
    action_coverage: list[float]
    """Share of these bins in which at least VISITED of the actions lie, for each dimension."""
    oddities: list[str]


@dataclass
class Sampled:
    """Some episodes of a dataset of unknown length, evenly spread, for the contact sheet."""

    most: int = SHOWN
    stride: int = 1
    seen: int = 0
    kept: list[tuple[str, Episode]] = field(default_factory=list)
    """Each with its caption, and of its rows FRAMES."""

    def add(self, caption: str, episode: Episode) -> None:
        """Look at the next one; memory holds some frames of at most twice as many episodes as are wanted."""
        if self.seen % self.stride == 0:
            rows = np.linspace(0, episode.length, FRAMES).round().astype(int)
            parts = {key: column[rows] for key, column in episode.columns().items()}
            self.kept.append((caption, Episode(**parts)))
            if len(self.kept) > 2 * self.most:
                self.kept, self.stride = self.kept[::2], 2 * self.stride
        self.seen += 1

    def chosen(self) -> list[tuple[str, Episode]]:
        """The wanted number of them, or fewer."""
        count = min(self.most, len(self.kept))
        return [self.kept[index] for index in np.linspace(0, len(self.kept) - 1, count).round().astype(int)]


def inspect_dataset(
    about: dict[str, Any], layout: str, episodes: Iterable[Named], sampled: Sampled | None = None
) -> Report:
    """Read a dataset once, one episode in memory at a time. Raises UserError as reading it does.

    `about` has task, split, horizon, random_return and expert_return at least. `sampled` keeps some episodes to show.
    """
    actions, rewards, returns, lengths = [], [], [], []
    terminals = short = done = 0
    odd: list[str] = []
    by_kind: dict[str, list[str]] = {}
    seen: dict[bytes, str] = {}
    for where, episode in episodes:
        name = where.rsplit("/", 1)[-1]
        actions.append(episode.action[1:])
        rewards.append(episode.reward[1:])
        returns.append(episode.episode_return)
        lengths.append(episode.length)
        terminals += int(episode.is_terminal[-1])
        short += int(episode.length != about["horizon"] and not episode.is_terminal[-1])
        done += int(episode.reward[-1] >= 1.0)
        if sampled is not None:
            sampled.add(f"{len(returns) - 1}: return {returns[-1]:.4g}", episode)
        for found in _oddities(episode):
            by_kind.setdefault(found, []).append(name)
        twin = seen.setdefault(episode.action.tobytes(), name)
        if twin != name:
            by_kind.setdefault(f"has the same actions as {twin}", []).append(name)
    if not returns:
        raise UserError("there are no episodes; name another dataset")
    action, reward = np.concatenate(actions), np.concatenate(rewards)
    for found, names in by_kind.items():
        if len(names) <= NAMED:
            odd += [f"{name}: {found}" for name in names]
        else:
            odd.append(f"{names[0]} and {len(names) - 1} others: {found}")
    if short:
        odd.append(f"{short} episodes end neither at the horizon of {about['horizon']} nor by the task")
    elif len(set(lengths)) > 1 and not terminals:
        odd.append(f"episodes are of uneven length, {min(lengths)} to {max(lengths)}")
    at_bound = (np.abs(action) >= AT_BOUND).mean(axis=0)
    odd += [
        f"action {dimension} is at a bound in {share:.0%} of the steps"
        for dimension, share in enumerate(at_bound)
        if share >= PINNED
    ]
    counts, edges = np.histogram(returns, BINS)
    bins = np.stack([np.histogram(dimension, ACTION_BINS, (-1.0, 1.0))[0] for dimension in action.T])
    known = TASKS.get(str(about["task"]))
    if known is not None and about.get("reward", known.reward) != known.reward:
        known = None  # of another reward, no score and no success is known
    return Report(
        manifest=about,
        layout=layout,
        episodes=len(returns),
        transitions=len(action),
        length_min=min(lengths),
        length_max=max(lengths),
        terminals=terminals,
        return_mean=float(np.mean(returns)),
        return_std=float(np.std(returns)),
        return_quantiles=np.quantile(returns, QUANTILES).tolist(),
        success_rate=done / len(returns) if known is not None and known.rewards_success else None,
        normalised_mean=None if known is None else known.normalised_score(float(np.mean(returns))),
        histogram_counts=counts.tolist(),
        histogram_edges=edges.tolist(),
        reward_zero_fraction=float((reward == 0.0).mean()),
        reward_min=float(reward.min()),
        reward_max=float(reward.max()),
        action_mean=action.mean(axis=0, dtype=np.float64).tolist(),
        action_std=action.std(axis=0, dtype=np.float64).tolist(),
        action_at_bound=at_bound.tolist(),
        action_histogram=bins.tolist(),
        action_coverage=(bins >= VISITED * len(action)).mean(axis=1).tolist(),
        oddities=odd,
    )


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
        f"{about['task']} {about['split'] or '(split unknown)'} ({_kind(about, report.layout)})",
        f"episodes     {report.episodes}, {report.terminals} of them ended by the task",
        f"transitions  {report.transitions}, {report.length_min} to {report.length_max} an episode",
        f"return       {report.return_mean:.1f} +- {report.return_std:.1f}",
        f"  quantiles  {_row(report.return_quantiles, 1)}",
        *([] if report.success_rate is None else [f"success      {report.success_rate:.1%} of the episodes"]),
        f"references   random {about['random_return']:.1f}, expert {about['expert_return']:.1f}",
        *([] if report.normalised_mean is None else [_score(report)]),
        f"reward       {report.reward_min:.3f} to {report.reward_max:.3f}, zero in {report.reward_zero_fraction:.1%}",
        f"action mean  {_row(report.action_mean)}",
        f"action std   {_row(report.action_std)}",
        f"at a bound   {_row(report.action_at_bound)}",
        f"covered      {_row(report.action_coverage)} of [-1, 1]",
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


def _score(report: Report) -> str:
    """The score of the mean return, and whose references it is by: a run has the same."""
    task = TASKS[str(report.manifest["task"])]
    by = f"by the references of its runs, {task.random_return:.1f} and {task.expert_return:.1f}"
    return f"score        {report.normalised_mean:.1f}, of the mean return, {by}"


def _kind(about: dict[str, Any], layout: str) -> str:
    """What the episodes hold."""
    if "image_size" not in about:
        return LAYOUTS[layout]
    drawn = f"{about['image_size']} pixels, {about['look']} look" if about["image_size"] else "recording, no images"
    return f"{drawn}; action repeat {about['action_repeat']}, camera {about['camera']}"


def _row(values: Sequence[float], digits: int = 2) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)


def main() -> None:
    """Read the command line and print the report."""
    parser = Parser("data.inspect", __doc__)
    parser.add_argument("dataset", help="a dataset: its path in any layout, its name, or a Minari id")
    parser.add_argument("--task", help="of a dataset that does not tell its task")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="where to write returns, actions and frames")
    parser.add_argument("--skip-corrupt", action="store_true", help="leave damaged files out, and say how many")
    add_data_dir(parser)
    options = parser.parse_args()
    task = get_task(options.task) if options.task else None
    source = open_source(options.dataset, task, options.data_dir, options.skip_corrupt)
    if task is not None and source.dataset is not None and source.dataset.manifest.task != task.name:
        raise UserError(f"{source.where} is of {source.dataset.manifest.task}, not of {task.name}; leave --task out")
    sampled = Sampled()
    report = inspect_dataset(source.about(), source.layout, source, sampled)
    print(json.dumps(asdict(report), indent=1) if options.json else format_report(report))
    if options.pictures is not None:
        for path in write_pictures(options.pictures, report, sampled):
            print(f"picture      {path}", file=sys.stderr if options.json else sys.stdout)


def write_pictures(folder: Path, report: Report, sampled: Sampled) -> list[Path]:
    """Write PNGs of the returns, the actions and, where there are images or physics to draw, some frames."""
    # Imported here: figures need matplotlib, and frames of a recording a simulator, which counting does without.
    from data.pictures import draw_actions, draw_frames, draw_returns
    from data.render import images_of

    about = report.manifest
    of = f"{about['task']} {about['split']}".strip()
    marks = {"mean": report.return_mean, "random": about["random_return"], "expert": about["expert_return"]}
    drawn = {
        "returns": draw_returns(
            f"{of}: {report.episodes} episodes", report.histogram_counts, report.histogram_edges, marks
        ),
        "actions": draw_actions(f"{of}: actions of {report.transitions} steps", report.action_histogram),
    }
    frames = [(f"episode {caption}", images_of(episode, about["task"])) for caption, episode in sampled.chosen()]
    if rows := [(caption, images) for caption, images in frames if images is not None]:
        drawn["frames"] = draw_frames(rows)
    paths = []
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in drawn.items():
            write_file(folder / f"{name}.png", content)
            paths.append(folder / f"{name}.png")
    return paths


if __name__ == "__main__":
    run_cli(main)
