"""What is in a dataset, in figures, and what is odd about it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from combo_common.spacing import evenly_spaced
from data.episode import Episode
from data.formats.base import Named
from data.jumps import jumps, vectors_of
from data.notes import Notes
from data.rules import endings_at_the_limit, equal_rewards
from envs.pixels import BLACK
from envs.registry import find_task

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
AT_BOUND = 0.99
"""Actions of at least this size count as being at a bound."""
BINS = 10
ACTION_BINS = 20
"""Of each dimension of the actions, over [-1, 1]."""
MIN_BIN_SHARE = 1e-3
"""Share of the actions from which on a bin counts as covered."""
MIN_BOUND_SHARE = 0.5
"""Share of the actions at a bound, in one dimension, that is worth a word."""
MAX_EPISODES_NAMED = 3
"""Episodes that are named one by one for what is odd about them; of more, the first is."""
SHEET_EPISODES, SHEET_FRAMES = 6, 8
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
    """Share of these bins in which at least MIN_BIN_SHARE of the actions lie, for each dimension."""
    oddities: list[str]


@dataclass
class Sampled:
    """Some episodes of a dataset of unknown length, evenly spread, for the contact sheet."""

    most: int = SHEET_EPISODES
    stride: int = 1
    seen: int = 0
    kept: list[tuple[str, Episode]] = field(default_factory=list)
    """Each with its caption, and of its rows SHEET_FRAMES."""

    def add(self, caption: str, episode: Episode) -> None:
        """Look at the next one; memory holds some frames of at most twice as many episodes as are wanted."""
        if self.seen % self.stride == 0:
            rows = evenly_spaced(episode.length + 1, SHEET_FRAMES)
            parts = {key: column[rows] for key, column in episode.columns().items()}
            self.kept.append((caption, Episode(**parts)))
            if len(self.kept) > 2 * self.most:
                self.kept, self.stride = self.kept[::2], 2 * self.stride
        self.seen += 1

    def chosen(self) -> list[tuple[str, Episode]]:
        """The wanted number of them, or fewer."""
        count = min(self.most, len(self.kept))
        return [self.kept[index] for index in evenly_spaced(len(self.kept), count)]


def inspect_dataset(
    about: dict[str, Any],
    layout: str,
    episodes: Iterable[Named],
    sampled: Sampled | None = None,
    notes: Notes | None = None,
) -> Report:
    """Read a dataset once, one episode in memory at a time. Raises UserError as reading it does.

    `about` has task, split, horizon, random_return and expert_return at least. `sampled` keeps some episodes to show;
    `notes` are of what was done while the episodes were read.
    """
    actions, rewards, returns, lengths = [], [], [], []
    terminates: list[bool] = []
    short = done = 0
    odd: list[str] = []
    by_kind: dict[str, list[str]] = {}
    seen: dict[bytes, str] = {}
    names: list[str] = []
    compared: list[NDArray[np.float32]] = []
    for where, episode in episodes:
        name = where.rsplit("/", 1)[-1]
        names.append(name)
        if (vectors := vectors_of(episode)) is not None:
            compared.append(vectors)
        actions.append(episode.action[1:])
        rewards.append(episode.reward[1:])
        returns.append(episode.episode_return)
        lengths.append(episode.length)
        terminates.append(bool(episode.is_terminal[-1]))
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
    action, reward, terminals = np.concatenate(actions), np.concatenate(rewards), sum(terminates)
    for found, those in by_kind.items():
        if len(those) <= MAX_EPISODES_NAMED:
            odd += [f"{name}: {found}" for name in those]
        else:
            odd.append(f"{those[0]} and {len(those) - 1} others: {found}")
    odd += _jumps(names, compared)
    remarks = (
        equal_rewards(reward, bool(terminals)),
        endings_at_the_limit(np.array(lengths), np.array(terminates), int(about["horizon"])),
    )
    odd += [remark for remark in remarks if remark is not None]
    odd += [] if notes is None else notes.lines()
    if short:
        odd.append(f"{short} episodes end neither at the horizon of {about['horizon']} nor by the task")
    elif len(set(lengths)) > 1 and not terminals:
        odd.append(f"episodes are of uneven length, {min(lengths)} to {max(lengths)}")
    at_bound = (np.abs(action) >= AT_BOUND).mean(axis=0)
    odd += [
        f"action {dimension} is at a bound in {share:.0%} of the steps"
        for dimension, share in enumerate(at_bound)
        if share >= MIN_BOUND_SHARE
    ]
    counts, edges = np.histogram(returns, BINS)
    bins = np.stack([np.histogram(dimension, ACTION_BINS, (-1.0, 1.0))[0] for dimension in action.T])
    known = find_task(str(about["task"]))
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
        action_coverage=(bins >= MIN_BIN_SHARE * len(action)).mean(axis=1).tolist(),
        oddities=odd,
    )


def _jumps(names: list[str], compared: list[NDArray[np.float32]]) -> list[str]:
    """Lines about pairs of consecutive observations, of episodes (T+1, S), that are no step of the others' kind."""
    if len(compared) != len(names) or len({vectors.shape[1] for vectors in compared}) != 1:
        return []
    found = jumps(
        np.concatenate([vectors[:-1] for vectors in compared]), np.concatenate([vectors[1:] for vectors in compared])
    )
    stops = np.cumsum([len(vectors) - 1 for vectors in compared])
    by_episode = np.split(np.flatnonzero(found), np.searchsorted(np.flatnonzero(found), stops[:-1]))
    lines = [
        f"{name}: the observations jump in {len(rows)} {'step' if len(rows) == 1 else 'steps'}, first in step "
        f"{rows[0] - stop + len(vectors)} of {len(vectors) - 1}: an end may not be marked"
        for name, vectors, stop, rows in zip(names, compared, stops, by_episode, strict=True)
        if len(rows)
    ]
    return (
        lines
        if len(lines) <= MAX_EPISODES_NAMED
        else [*lines[:MAX_EPISODES_NAMED], f"{len(lines) - MAX_EPISODES_NAMED} more episodes jump, too"]
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
