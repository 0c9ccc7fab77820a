"""Datasets from Python: read by their names, or made of arrays and written where training finds them."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from combo_common.errors import UserError
from combo_common.paths import given_path
from data.actions import bounded_actions
from data.dataset import TrajectoryDataset
from data.episode import Episode, validate
from data.formats.d4rl import write_d4rl
from data.formats.hdf5_file import is_hdf5
from data.formats.manifest import describe
from data.formats.native import write_dataset
from data.load import load
from data.locate import default_data_dir
from data.notes import Notes
from data.reference import resolve
from data.rows import Rows, cut
from data.rules import admitted, check_sizes, equal_rewards
from envs.registry import get_task
from envs.task import LOOKS, OBSERVATIONS, ObservationSpec, Task

IMAGE_AXES = 4
"""Of images (T, H, W, 3); vectors (T, S) have two."""


def load_dataset(
    name: str | Path,
    obs: str = "pixels",
    task: str | None = None,
    look: str = "fast",
    image_size: int | None = None,
    data_dir: str | Path | None = None,
    skip_corrupt: bool = False,
    vectors: Sequence[str] | str = (),
) -> TrajectoryDataset:
    """Read a dataset as training does: rows of all episodes end to end.

    `name` is whatever the setting `dataset` takes; `task` is needed only where it does not tell. Images are
    `image_size` pixels square (None: as it holds them; a recording, as the task has them); a recording is drawn the
    first time. `vectors` are what is to be had beside images, as in the setting of that name. Raises UserError where
    there is no such dataset, or it does not fit.
    """
    _require("obs", obs, OBSERVATIONS)
    _require("look", look, LOOKS)
    folder = default_data_dir() if data_dir is None else given_path(data_dir)
    reference = resolve(str(name), None, folder)
    told = task or reference.task
    if told is None:
        raise reference.without_task("give its task")
    beside = (vectors,) if isinstance(vectors, str) else tuple(vectors)
    seen = ObservationSpec(obs, look, image_size, beside)
    return load(str(name), get_task(told), seen, folder, skip_corrupt=skip_corrupt)


def make_episode(
    observations: ArrayLike,
    actions: ArrayLike,
    rewards: ArrayLike,
    terminated: bool = False,
    physics: ArrayLike | None = None,
    task: str | None = None,
    state: ArrayLike | None = None,
) -> Episode:
    """Make an episode of T steps from T + 1 observations, T actions (T, A) in [-1, 1] and T rewards.

    Observations are images (T+1, H, W, 3) uint8 or vectors (T+1, S); `actions[t]` led from `observations[t]` to the
    next. `terminated` says that the task ended the episode, not a time limit; `physics` (T+1, P) are the simulator's
    states, which views and rewards of one's own use; `state` (T+1, S) is the task's vector observation beside images.
    With a `task`, actions are in the bounds of its simulator, and are rescaled to [-1, 1]. Raises UserError where
    arrays do not go together.
    """
    seen, action = _column("observations", observations), _column("actions", actions)
    reward = _column("rewards", rewards)
    if action.ndim != 2 or reward.shape != (len(action),) or len(seen) != len(action) + 1:
        raise UserError(
            f"an episode of T steps has T + 1 observations, actions (T, A) and rewards (T,), but these are of shapes "
            f"{seen.shape}, {action.shape} and {reward.shape}"
        )
    images = seen.ndim == IMAGE_AXES
    if state is not None and not images:
        raise UserError("the observations are vectors, and state another; give images, or the vectors alone")
    action = bounded_actions("the episode", "actions", action, None if task is None else get_task(task))
    episode = Episode.from_transitions(
        action,
        reward,
        None if physics is None else _column("physics", physics),
        state=(None if state is None else _column("state", state)) if images else seen,
        image=seen if images else None,
        terminal=terminated,
    )
    validate(episode, "the episode")
    return episode


def episodes_from_arrays(
    observations: ArrayLike,
    actions: ArrayLike,
    rewards: ArrayLike,
    terminals: ArrayLike,
    timeouts: ArrayLike,
    next_observations: ArrayLike | None = None,
    task: str | None = None,
) -> list[Episode]:
    """Cut columns of N steps, as D4RL has them, into episodes.

    Row t is an observation (N, ...), the action (N, A) taken there, what it paid (N,), and whether the episode ended
    with it: by the task (`terminals`) or for another reason (`timeouts`). The last row ends an episode, too. Without
    `next_observations` nobody knows what the last step of an episode led to, so that step is left out, as it is where
    they are the observations moved up by a row. With a `task`, actions are in the bounds of its simulator, as D4RL's
    are, and are rescaled to [-1, 1], and rows without any mark of a time limit are cut where its episodes end. Without
    one, actions are in [-1, 1]. What is done is said on the standard error. Raises UserError where columns do not go
    together, and for `terminals` without sound `next_observations`.
    """
    seen, action = _column("observations", observations), _column("actions", actions)
    reward, terminal, timeout = (
        _column("rewards", rewards),
        _flags("terminals", terminals),
        _flags("timeouts", timeouts),
    )
    columns = {"actions": action, "rewards": reward, "terminals": terminal, "timeouts": timeout}
    if next_observations is not None:
        next_observations = columns["next_observations"] = _column("next_observations", next_observations)
        if next_observations.shape[1:] != seen.shape[1:]:
            raise UserError(f"next_observations is of shape {next_observations.shape}, observations of {seen.shape}")
    for name, column in columns.items():
        if len(column) != len(seen):
            raise UserError(f"{name} has {len(column)} rows where observations has {len(seen)}")
    if not len(seen):
        raise UserError("observations has no rows; give those of an episode or more")
    if next_observations is None and terminal.any():
        raise UserError(
            "some rows are terminal, and what was observed after them is not given; give next_observations, "
            "or make_episode each episode with its last observation"
        )
    of, notes = None if task is None else get_task(task), Notes()
    if of is not None and action.ndim == 2:
        action = bounded_actions("the arrays", "actions", action, of, notes)
    rows = Rows("the arrays", seen, next_observations, terminal, timeout)
    found = cut(rows, None if of is None else of.horizon, "" if of is None else of.name, notes)
    if (unseen := found.end & terminal & ~found.known).any():
        raise UserError(
            f"row {unseen.argmax()} is terminal, but its next observation is where the next episode starts; give what "
            "was observed after the last action"
        )
    notes.report("the arrays")
    made = []
    for piece in _between(found.end):
        if next_observations is not None and found.known[piece.stop - 1]:
            whole = np.concatenate([seen[piece], next_observations[piece.stop - 1 : piece.stop]])
            made.append(make_episode(whole, action[piece], reward[piece], bool(terminal[piece.stop - 1])))
        elif piece.stop - piece.start > 1:
            steps = slice(piece.start, piece.stop - 1)
            made.append(make_episode(seen[piece], action[steps], reward[steps]))
    return made


def _column(name: str, given: ArrayLike) -> NDArray[Any]:
    """An array of numbers with rows. Raises UserError for what is none."""
    try:
        column = np.asarray(given)
    except (TypeError, ValueError) as error:  # rows of several lengths
        raise UserError(f"{name} is no array ({error}); give rows of equal shapes") from error
    if column.dtype.kind not in "biuf" or not column.ndim:
        what = f"of type {column.dtype} and shape {column.shape}"
        raise UserError(f"{name} is {what}; give an array of numbers, a row a step")
    return column


def _flags(name: str, given: ArrayLike) -> NDArray[np.bool_]:
    """Flags (N,), which may be numbers. Raises UserError for what is none."""
    column = _column(name, given)
    if column.ndim != 1 or not np.isfinite(column).all():
        raise UserError(f"{name} is of shape {column.shape}, or not finite; give a flag for each row")
    return column.astype(bool)


def save_dataset(
    path: str | Path, episodes: Sequence[Episode], task: str, look: str = "fast", split: str = "own"
) -> str:
    """Write episodes where training finds them, and return the path, which the setting `dataset` takes.

    A path that ends in .hdf5 is one file of vectors in D4RL's layout; any other is a folder in the project's own, of
    images or vectors. `look` says how images were drawn; policies are scored on images that are drawn so. Raises
    UserError where the path is taken, and for episodes that do not fit the task.
    """
    out, of, notes = given_path(path), get_task(task), Notes()
    _require("look", look, LOOKS)
    if not episodes:
        raise UserError(f"there are no episodes to write to {out}")
    named = ((f"episode {number}", episode) for number, episode in enumerate(episodes))
    episodes = [_that_fits(where, episode, of) for where, episode in admitted(named, of, notes)]
    notes.report(str(out))
    if same := equal_rewards(
        np.concatenate([e.reward[1:] for e in episodes]), any(e.is_terminal[-1] for e in episodes)
    ):
        print(f"{out}: {same}", file=sys.stderr, flush=True)
    if is_hdf5(out):
        write_d4rl(out, episodes, of, {"task": task, "split": split})
        return str(out)
    image = episodes[0].image
    described = describe(of, split, seed=0, behaviour={})
    if image is not None:
        described = replace(described, image_size=image.shape[1], look=look)
    write_dataset(out, episodes, described, progress=False)
    return str(out)


def decoded(episodes: Sequence[Episode], vectors: Sequence[int] = ()) -> TrajectoryDataset:
    """Episodes as rows end to end, with these numbers of their states beside images.

    Raises UserError where some have images and others vectors only, or no states that hold such numbers.
    """
    images = [episode.image for episode in episodes if episode.image is not None]
    if not images:
        return TrajectoryDataset.of_states(list(episodes))
    if len(images) != len(episodes):
        raise UserError(f"{len(images)} of {len(episodes)} episodes have images; give episodes of one kind")
    bare = [replace(episode, state=np.zeros((episode.length + 1, 1), np.float32)) for episode in episodes]
    states = [episode.state for episode in episodes if episode.state is not None]
    if vectors and (len(states) != len(episodes) or any(max(vectors) >= state.shape[1] for state in states)):
        raise UserError("the run sees vectors beside images, which not all episodes have; give their state")
    beside = np.concatenate(states)[:, list(vectors)] if vectors else None
    rows = TrajectoryDataset.of_states(bare)
    return replace(rows, observation=np.concatenate(images), endings_seen=True, vector=beside)


def _that_fits(where: str, episode: Episode, task: Task) -> Episode:
    """An episode whose sizes are the task's. Raises UserError for others."""
    vectors = {} if episode.state is None else {"state": episode.state}
    check_sizes(where, task, action=episode.action, **vectors)
    return episode


def _require(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{name} is {value!r}; it is one of {', '.join(known)}")


def _between(end: NDArray[np.bool_]) -> Iterator[slice]:
    """The rows of each episode, the last of which are ends (N,)."""
    stops: list[Any] = (np.flatnonzero(end) + 1).tolist()
    if not stops or stops[-1] != len(end):
        stops.append(len(end))
    start = 0
    for stop in stops:
        yield slice(start, stop)
        start = stop
