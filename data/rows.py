"""Where episodes end in rows of transitions that lie one after another, as D4RL's columns and those from Python.

A row is an observation, an action, what it paid, and flags; `next_observations`, where there are any, are what the
actions led to. Symbols: M rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from data.jumps import coarse, jumps, unusual
from data.notes import Notes

APART = 1e-3
"""Share by which an observation differs from what the row before says follows, if they are of two episodes."""


@dataclass(frozen=True)
class Rows:
    """Columns of transitions that are to be cut into episodes."""

    where: str
    """What errors call them."""
    observation: NDArray[Any]
    """(M, ...)."""
    next_observations: NDArray[Any] | None
    """(M, ...): next observations, where they are known."""
    terminal: NDArray[np.bool_]
    """(M,): whether the task ended an episode with this row."""
    timeout: NDArray[np.bool_] | None
    """(M,): whether something else did, where that was written down."""


@dataclass(frozen=True)
class Cut:
    """Where the episodes end, and of which it is known in what."""

    end: NDArray[np.bool_]
    """(M,): the last row of each."""
    known: NDArray[np.bool_]
    """(M,): whether `next_observations` says what the row led to; it does in all rows that are no end."""


def cut(rows: Rows, horizon: int | None, task: str, notes: Notes) -> Cut:
    """Find where episodes of at most `horizon` steps end; None for any number of them.

    Flags end an episode, and so does a row whose next observation is not the following row. Where no time limit is
    marked at all, rows that go on for longer are cut after every `horizon`, as D4RL's own reader does. A next
    observation that is the next episode's first does not say what a last step led to. Whatever is done is noted.
    Raises UserError where nothing tells the ends, or what is marked is longer.
    """
    next_observations, timeout = rows.next_observations, rows.timeout
    end = rows.terminal.copy() if timeout is None else rows.terminal | timeout
    end[-1] = True
    if next_observations is not None:
        _check_moves(rows, next_observations)
        apart = _apart(next_observations[:-1], rows.observation[1:]) & ~end[:-1]
        if apart.any():
            notes.add(
                f"{int(apart.sum())} next observations are not the following row, though no flag marks an end "
                f"(first in row {int(apart.argmax())}): cut there"
            )
        end[:-1] |= apart
    moved = np.zeros(len(end), bool) if next_observations is None else _moved_up(rows, next_observations, end)
    if timeout is None and (next_observations is None or (moved.any() and moved.sum() == end.sum())):
        raise UserError(
            f"{rows.where}: without `timeouts` and sound `next_observations` no one can tell where its episodes end; "
            "add `timeouts`, or use version 2 of the dataset"
        )
    if moved.any():
        notes.add(
            f"in {int(moved.sum())} last rows `next_observations` is not what the step led to but where the next "
            "episode starts, as in rows moved up by one; those steps are left out, but for terminal ones, whose end is "
            "unknown"
        )
    if horizon is not None and (lengths := np.diff(np.flatnonzero(end), prepend=-1)).max() > horizon:
        if timeout is not None and timeout.any():
            stop = int(np.flatnonzero(end)[lengths.argmax()])
            raise UserError(
                f"{rows.where}: an episode has {lengths.max()} steps (rows {stop - lengths.max() + 1} to {stop}), but "
                f"episodes of {task} have {horizon} at most; mark all time limits in `timeouts`, or name the --task"
            )
        whole = _cut_by_number(rows, end, horizon, task, notes)
        moved |= whole & ~end
        end = whole
    if next_observations is None:
        pairs, seen = np.flatnonzero(~end[:-1]), coarse(rows.observation)
        if (found := pairs[jumps(seen[pairs], seen[pairs + 1])]).size:
            notes.add(
                f"within episodes the observations jump ({found.size} times, first after row {found[0]}), as they do "
                "where one ends; mark where episodes end in `timeouts`"
            )
    known = np.full(len(end), next_observations is not None)
    return Cut(end, known & ~moved)


def _check_moves(rows: Rows, next_observations: NDArray[Any]) -> None:
    """Raise UserError where most next observations are the observations themselves, though these move."""
    stays = _same(next_observations, rows.observation).mean()
    if stays > 0.5 and (~_same(rows.observation[1:], rows.observation[:-1])).mean() > 0.5:
        raise UserError(
            f"{rows.where}: `next_observations` is the row's own observation in {stays:.0%} of the rows; write what "
            "each action led to, or leave the column out"
        )


def _moved_up(rows: Rows, next_observations: NDArray[Any], end: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which last rows have the first observation of the next episode as their next one, (M,).

    A step there that is as far as any other is one: a long run was cut into pieces. Of terminations it counts where
    most are so: what goes on after one may have been made an episode of its own. The last row of all is held against
    what such a column is filled up with: the first row, the same row, or zeros.
    """
    observation = rows.observation
    moved = np.zeros(len(end), bool)
    ends = np.flatnonzero(end[:-1])
    ends = ends[_same(next_observations[ends], observation[ends + 1])]
    if len(ends):
        seen, within = coarse(observation), np.flatnonzero(~end)
        moved[ends] = unusual(seen[within], seen[within + 1], seen[ends], seen[ends + 1])
    terminations = np.flatnonzero(rows.terminal[:-1])
    if len(terminations) and moved[terminations].mean() <= 0.5:
        moved[terminations] = False
    last = next_observations[-1:]
    moved[-1] = any(bool(_same(last, other)[0]) for other in (observation[:1], observation[-1:], np.zeros_like(last)))
    return moved


def _cut_by_number(rows: Rows, end: NDArray[np.bool_], horizon: int, task: str, notes: Notes) -> NDArray[np.bool_]:
    """Ends with those after every `horizon` rows. Raises UserError where something within does not go on."""
    number = np.arange(len(end))
    begins = np.concatenate([[True], end[:-1]])
    since = number - np.maximum.accumulate(np.where(begins, number, 0))
    whole = end.copy()
    whole |= (since + 1) % horizon == 0
    within = ~whole[:-1]
    pairs = np.flatnonzero(within)
    seen = coarse(rows.observation)
    found = pairs[jumps(seen[pairs], seen[pairs + 1])]
    ends = np.flatnonzero(end)
    lengths = np.diff(ends, prepend=-1)
    too_long = np.repeat(lengths > horizon, lengths)
    if (found := found[too_long[found]]).size:
        raise UserError(
            f"{rows.where}: no time limits are marked, and within what would be episodes of {horizon} steps the "
            f"observations jump ({found.size} times, first after row {found[0]}); mark where episodes end in "
            "`timeouts`"
        )
    added = int((whole & ~end).sum())
    notes.add(
        f"no time limits are marked, and up to {int(np.diff(np.flatnonzero(end), prepend=-1).max())} rows follow one "
        f"another where episodes of {task} have {horizon} steps: cut after every {horizon}, {added} times"
    )
    return whole


def _apart(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows differ by more than rounding."""
    if one.dtype.kind != "f":
        return ~_same(one, other)
    apart: NDArray[np.bool_] = (np.abs(one - other) > APART * (1.0 + np.abs(one))).any(axis=tuple(range(1, one.ndim)))
    return apart


def _same(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows are the same, bit for bit."""
    same: NDArray[np.bool_] = (one == other).all(axis=tuple(range(1, one.ndim)))
    return same
