"""Many copies of one environment stepped in lockstep, here or in processes of their own."""

import multiprocessing
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from combo_common.child_process import begin_child, deaf_children, end_child, killed_if_interrupted
from combo_common.errors import UserError
from envs.base import TaskEnv
from envs.make import make
from envs.task import ObservationSpec, Task

Started = tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float64], NDArray[np.object_]]
"""Observations (N, ...), vectors that are seen beside images (N, V), where V is 0 for none, physics (N, P), and what
went wrong in each copy (N,), empty where nothing did."""
Stepped = tuple[
    NDArray[Any],
    NDArray[np.float32],
    NDArray[np.float64],
    NDArray[np.bool_],
    NDArray[np.bool_],
    NDArray[np.float64],
    NDArray[np.object_],
]
"""Observations (N, ...), vectors (N, V), rewards (N,), whether the task (N,) or a time limit (N,) ended the episode,
physics (N, P), and what went wrong (N,)."""
CRASHED = "its worker process crashed; see the output above, or set --score.processes 1"


class SyncVectorEnv:
    """N copies of an environment in this process.

    A copy that raises, or returns what is no observation or reward of its space, is left alone until the next reset: it
    says what went wrong, stays where it was and gets nothing, while the others go on. So does a copy whose episode is
    over: many environments must not be stepped then.
    """

    def __init__(self, task: Task, observation_spec: ObservationSpec, count: int) -> None:
        self.envs = [
            make(task, observation_spec.observation, observation_spec.look, observation_spec.image_size)
            for _ in range(count)
        ]
        for env in self.envs[1:] if observation_spec.pixels else ():
            env.draw_with(self.envs[0])
        self._vector = list(task.vector_indices(observation_spec.vectors))
        space = self.envs[0].observation_space
        nothing = np.zeros(space.shape or (), space.dtype)
        beside = np.zeros(len(self._vector), np.float32)
        self._last = [_Moment(nothing, beside, 0.0, False, False, np.zeros(task.physics_dim))] * count
        self._failed = [""] * count

    def reset(self, seeds: list[int]) -> Started:
        """Start an episode in each of the first len(seeds) copies."""
        self._failed = [""] * len(self.envs)
        for i, seed in enumerate(seeds):
            self._try(i, partial(_started, seed=seed))
        observation, vector, _, _, _, physics, failed = self._stacked(len(seeds))
        return observation, vector, physics, failed

    def step(self, actions: NDArray[np.float32]) -> Stepped:
        """Take N actions (N, A) in the first N copies."""
        for i, action in enumerate(actions):
            last = self._last[i]
            if last.terminated or last.truncated:
                self._last[i] = replace(last, reward=0.0)
            elif not self._failed[i]:
                self._try(i, partial(_stepped, action=action))
        return self._stacked(len(actions))

    def _try(self, i: int, play: Callable[[TaskEnv], tuple[Any, Any, Any, Any, Any]]) -> None:
        """Have a copy play, and note what came of it."""
        env, last = self.envs[i], self._last[i]
        try:
            observation, info, reward, terminated, truncated = play(env)
            ends = bool(terminated), bool(truncated)
            vector = self._seen_beside(env, info)
            self._last[i] = _checked(observation, vector, info["physics"], reward, ends, last)
        except Exception as error:  # an environment is anybody's code
            self._failed[i] = described(error)
            self._last[i] = replace(last, reward=0.0, terminated=True)

    def _seen_beside(self, env: TaskEnv, info: dict[str, Any]) -> NDArray[np.float32]:
        """What is seen beside images, (V,). Raises ValueError for a state that is not the task's, or not finite."""
        if not self._vector:
            return np.zeros(0, np.float32)
        state = np.asarray(info["state"], np.float32)
        if state.shape != (env.task.state_dim,):
            raise ValueError(
                f"the state is of shape {state.shape}, and {env.task.name} has {env.task.state_dim} numbers"
            )
        vector = state[self._vector]
        if not np.isfinite(vector).all():
            raise ValueError("the state is not finite")
        return vector

    def _stacked(self, count: int) -> Stepped:
        moments = self._last[:count]
        return (
            np.stack([moment.observation for moment in moments]),
            np.stack([moment.vector for moment in moments]),
            np.array([moment.reward for moment in moments], np.float64),
            np.array([moment.terminated for moment in moments]),
            np.array([moment.truncated for moment in moments]),
            np.stack([moment.physics for moment in moments]),
            np.array(self._failed[:count], object),
        )

    def close(self) -> None:
        """Free all GL contexts."""
        for env in self.envs:
            env.close()


@dataclass(frozen=True)
class _Moment:
    """Where a copy is."""

    observation: NDArray[Any]
    vector: NDArray[np.float32]
    reward: float
    terminated: bool
    truncated: bool
    physics: NDArray[np.float64]


def _started(env: TaskEnv, seed: int) -> tuple[Any, Any, Any, Any, Any]:
    observation, info = env.reset(seed=seed)
    return observation, info, 0.0, False, False


def _stepped(env: TaskEnv, action: NDArray[np.float32]) -> tuple[Any, Any, Any, Any, Any]:
    observation, reward, terminated, truncated, info = env.step(action)
    return observation, info, reward, terminated, truncated


def _checked(
    observation: Any, vector: NDArray[np.float32], physics: Any, reward: Any, ends: tuple[bool, bool], last: _Moment
) -> _Moment:
    """What a copy returned; `last` is of the sizes that all have. Raises ValueError for what is none."""
    seen, expected = np.asarray(observation), last.observation
    if seen.shape != expected.shape:
        raise ValueError(f"the observation is of shape {seen.shape}, and that of the space {expected.shape}")
    if not np.can_cast(seen.dtype, expected.dtype, "same_kind"):
        raise ValueError(f"the observation is of {seen.dtype}, and the space of {expected.dtype}")
    if not np.isfinite(seen).all():
        raise ValueError("the observation is not finite")
    paid = float(reward)
    if not np.isfinite(paid):
        raise ValueError(f"the reward is {paid}")
    moved = np.asarray(physics, np.float64)
    if moved.shape != last.physics.shape:
        raise ValueError(f"the physics are of shape {moved.shape}, and the task's of {last.physics.shape}")
    return _Moment(seen.astype(expected.dtype, copy=False), vector, paid, *ends, moved)


@contextmanager
def an_environment_may_raise() -> Iterator[None]:
    """Turn whatever an environment raises in the body into a UserError of one line."""
    try:
        yield
    except Exception as error:
        raise UserError(described(error)) from error


def described(error: Exception) -> str:
    """An error of anybody's code on one line: its kind, what it says, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    said = " ".join(str(error).split())
    if isinstance(error, UserError) or not frames:
        return said or type(error).__name__
    return f"{type(error).__name__}: {said} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def _end(workers: list[tuple[Any, Connection]]) -> None:
    """End processes, and forget them."""
    with killed_if_interrupted(lambda: (worker for worker, _ in workers)):
        for _, pipe in workers:
            pipe.close()  # which ends what reads from it
        for worker, _ in workers:
            end_child(worker)
    workers.clear()


class SubprocessVectorEnv:
    """N copies in P processes, in turns; what they return is the same as that of `SyncVectorEnv`, in the same order.

    The processes are started afresh, not forked: threads and GL contexts of this one do not follow.
    """

    def __init__(self, task: Task, observation_spec: ObservationSpec, count: int, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._workers: list[tuple[Any, Connection]] = []
        # Where nobody closes them, too: multiprocessing waits for all processes at the end of this one
        self._end = Finalize(self, _end, (self._workers,), exitpriority=10)
        shares = [len(range(p, count, processes)) for p in range(min(processes, count))]
        try:
            for share in shares:
                ours, theirs = context.Pipe()
                worker = context.Process(target=_work, args=(theirs, task, observation_spec, share), daemon=True)
                with deaf_children():
                    worker.start()
                    self._workers.append((worker, ours))
                theirs.close()
        except BaseException:
            self.close()
            raise

    def reset(self, seeds: list[int]) -> Started:
        """See `SyncVectorEnv.reset`."""
        started: Started = self._ask("reset", seeds, len(seeds))
        return started

    def step(self, actions: NDArray[np.float32]) -> Stepped:
        """See `SyncVectorEnv.step`."""
        stepped: Stepped = self._ask("step", actions, len(actions))
        return stepped

    def close(self) -> None:
        """End the processes."""
        self._end()

    def _ask(self, what: str, argument: Any, count: int) -> Any:
        """Give each process its part, and put the answers together in the order of the copies.

        Raises UserError where a process can not make its environments, or all have crashed.
        """
        processes = len(self._workers)
        asked = self._workers[: min(processes, count)]
        for p, (_, pipe) in enumerate(asked):
            with suppress(OSError):  # of a process that has crashed, which does not answer
                pipe.send((what, argument[p::processes]))
        answers = [_received(pipe) for _, pipe in asked]
        if refused := [answer for answer in answers if isinstance(answer, str)]:
            raise UserError(refused[0])
        alike = next((answer for answer in answers if answer is not None), None)
        if alike is None:
            raise UserError(CRASHED)
        together = []
        for index, part in enumerate(alike):
            whole = np.zeros((count, *part.shape[1:]), part.dtype)
            for p, answer in enumerate(answers):
                if answer is not None:
                    whole[p::processes] = answer[index]
                elif part.dtype == object:  # what went wrong
                    whole[p::processes] = CRASHED
            together.append(whole)
        return tuple(together)


def _received(pipe: Connection) -> Any:
    """What a process answers; None of one that has crashed."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None


def make_vector_env(
    task: Task, observation_spec: ObservationSpec, count: int, processes: int
) -> SyncVectorEnv | SubprocessVectorEnv:
    """N copies of a task's environment, in this process for `processes` = 1."""
    return (
        SyncVectorEnv(task, observation_spec, count)
        if processes == 1
        else SubprocessVectorEnv(task, observation_spec, count, processes)
    )


def _work(pipe: Connection, task: Task, observation_spec: ObservationSpec, count: int) -> None:
    """What a process does: it answers until the other end is closed."""
    begin_child()
    copies: SyncVectorEnv | None = None
    try:
        while True:
            what, argument = pipe.recv()
            try:
                copies = copies or SyncVectorEnv(task, observation_spec, count)
                pipe.send(copies.reset(argument) if what == "reset" else copies.step(argument))
            except UserError as error:
                pipe.send(str(error))
    except (EOFError, OSError):
        pass  # the other end is closed
    finally:
        if copies is not None:
            copies.close()
