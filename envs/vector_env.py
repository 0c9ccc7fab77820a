"""Many copies of one environment stepped in lockstep, here or in processes of their own."""

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from combo_common.errors import UserError
from envs.make import make
from envs.task import ObservationSpec, Task

Stepped = tuple[NDArray[Any], NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]
"""Observations (N, ...), rewards (N,), whether the task ended the episode (N,), and physics (N, P)."""


class SyncVectorEnv:
    """N copies of an environment in this process."""

    def __init__(self, task: Task, observation_spec: ObservationSpec, count: int) -> None:
        self.envs = [
            make(task, observation_spec.observation, observation_spec.look, observation_spec.image_size)
            for _ in range(count)
        ]
        for env in self.envs[1:] if observation_spec.pixels else ():
            env.draw_with(self.envs[0])

    def reset(self, seeds: list[int]) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Start an episode in each of the first len(seeds) copies: observations (N, ...) and physics (N, P)."""
        started = [env.reset(seed=seed) for env, seed in zip(self.envs, seeds, strict=False)]
        return np.stack([seen for seen, _ in started]), np.stack([info["physics"] for _, info in started])

    def step(self, actions: NDArray[np.float32]) -> Stepped:
        """Take N actions (N, A) in the first N copies."""
        taken = [env.step(action) for env, action in zip(self.envs, actions, strict=False)]
        return (
            np.stack([step[0] for step in taken]),
            np.array([step[1] for step in taken], np.float64),
            np.array([step[2] for step in taken]),
            np.stack([step[4]["physics"] for step in taken]),
        )

    def close(self) -> None:
        """Free all GL contexts."""
        for env in self.envs:
            env.close()


class SubprocessVectorEnv:
    """N copies in P processes, in turns; what they return is the same as that of `SyncVectorEnv`, in the same order.

    The processes are started afresh, not forked: threads and GL contexts of this one do not follow.
    """

    def __init__(self, task: Task, observation_spec: ObservationSpec, count: int, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._workers: list[tuple[Any, Connection]] = []
        shares = [len(range(p, count, processes)) for p in range(min(processes, count))]
        for share in shares:
            ours, theirs = context.Pipe()
            worker = context.Process(target=_work, args=(theirs, task, observation_spec, share), daemon=True)
            worker.start()
            theirs.close()
            self._workers.append((worker, ours))

    def reset(self, seeds: list[int]) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """See `SyncVectorEnv.reset`."""
        observation, physics = self._ask("reset", seeds, len(seeds))
        return observation, physics

    def step(self, actions: NDArray[np.float32]) -> Stepped:
        """See `SyncVectorEnv.step`."""
        stepped: Stepped = self._ask("step", actions, len(actions))
        return stepped

    def close(self) -> None:
        """End the processes."""
        for worker, pipe in self._workers:
            pipe.close()  # which ends what reads from it
            worker.join()
        self._workers.clear()

    def _ask(self, what: str, argument: Any, count: int) -> Any:
        """Give each process its part, and put the answers together in the order of the copies."""
        processes = len(self._workers)
        busy = min(processes, count)
        try:
            for p, (_, pipe) in enumerate(self._workers[:busy]):
                pipe.send((what, argument[p::processes]))
            answers = [pipe.recv() for _, pipe in self._workers[:busy]]
        except (EOFError, OSError) as error:
            raise UserError("a worker process crashed; see its output above, or set --score.processes 1") from error
        if failed := [answer for answer in answers if isinstance(answer, str)]:
            raise UserError(failed[0])
        together = []
        for parts in zip(*answers, strict=True):
            whole = np.empty((count, *parts[0].shape[1:]), parts[0].dtype)
            for p, part in enumerate(parts):
                whole[p::processes] = part
            together.append(whole)
        return tuple(together)


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
    copies: SyncVectorEnv | None = None
    try:
        while True:
            what, argument = pipe.recv()
            try:
                copies = copies or SyncVectorEnv(task, observation_spec, count)
                pipe.send(copies.reset(argument) if what == "reset" else copies.step(argument))
            except UserError as error:
                pipe.send(str(error))
    except (EOFError, KeyboardInterrupt):
        pass  # the other end is closed, or Ctrl-C reached all processes of the terminal: the first one speaks of it
    finally:
        if copies is not None:
            copies.close()
