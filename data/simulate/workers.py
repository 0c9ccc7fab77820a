"""Work that is shared among processes, whose results come in order and are those of one process."""

import contextlib
import multiprocessing
import os
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from multiprocessing.util import Finalize
from queue import SimpleQueue
from typing import Any, TypeVar

from combo_common.child_process import begin_child, deaf_children, end_child, killed_if_interrupted
from combo_common.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

ITEMS_PER_PROCESS = 2
"""Items a process that are begun before the first result is taken: memory holds no more results than these."""


def default_processes() -> int:
    """As many as there are cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes_for(asked: int | None, work: int, worthwhile: int) -> int:
    """How many processes share work of some size: as many as were asked for, or one a core where that is worthwhile.

    Raises UserError when fewer than one are asked for.
    """
    if asked is None:
        return default_processes() if work >= worthwhile else 1
    if asked < 1:
        raise UserError(f"--processes is {asked}; it is at least 1")
    return asked


def in_order(
    prepare: Callable[[], Callable[[Item], Result]], items: Iterable[Item], processes: int
) -> Generator[Result, None, None]:
    """Yield what a function makes of each item, in the order of the items, which may have no end.

    `prepare` makes that function once in each process, which is started afresh, not forked: whatever draws has its own
    GL context, made there. It, the items and the results are pickled on their way between the processes. With one
    process nothing is started, and what `prepare` made is closed at the end, if it can be. Raises UserError as these
    functions do, and when a process ends by itself.
    """
    if processes == 1:
        work = prepare()
        try:
            yield from map(work, items)
        finally:
            getattr(work, "close", lambda: None)()
        return
    with _Pool(prepare, processes) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(item))
            if len(waiting) >= ITEMS_PER_PROCESS * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class _Pool:
    """Processes, each with a pipe of its own and a thread here that waits for its answers.

    A process may be killed at any moment, while it answers as well: nothing is shared that it could hold, and the end
    of its pipe ends the wait. (`concurrent.futures` waits for ever for the rest of an answer.)
    """

    def __init__(self, prepare: Callable[[], Callable[[Any], Any]], processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes: list[BaseProcess] = []
        self._idle = SimpleQueue[Connection]()
        self._threads = ThreadPoolExecutor(processes, "worker")
        # Where nobody leaves the body: multiprocessing waits for all processes at the end of this one
        self._at_exit = Finalize(None, self._end, (True,), exitpriority=10)
        try:
            with _one_thread_each(), deaf_children():
                for _ in range(processes):
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_work, args=(theirs, prepare))
                    process.start()
                    self._processes.append(process)
                    theirs.close()  # theirs alone, so that it is closed when they end
                    self._idle.put(ours)
        except BaseException:
            self._end(at_once=True)
            raise

    def submit(self, item: Any) -> "Future[Any]":
        """What a process makes of an item, once one is free. It raises what that raised, or UserError."""
        return self._threads.submit(self._ask, item)

    def _ask(self, item: Any) -> Any:
        pipe = self._idle.get()
        try:
            pipe.send(item)
            result, error = pipe.recv()
        except (EOFError, OSError) as ended:
            raise UserError("a worker process crashed; see its output above, or set --processes 1") from ended
        finally:
            self._idle.put(pipe)
        if error is not None:
            raise error
        return result

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._end(at_once=kind is not None)

    def _end(self, at_once: bool) -> None:
        """End the processes and their threads, `at_once` where nobody takes what they still do."""
        with killed_if_interrupted(lambda: self._processes):
            if at_once:
                for process in self._processes:
                    process.kill()
            self._threads.shutdown(wait=True, cancel_futures=True)
            while not self._idle.empty():
                self._idle.get().close()  # which ends a process that reads from it
            for process in self._processes:
                end_child(process)
        self._at_exit.cancel()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let processes that are started now draw and compute in one thread each: there is one a core already."""
    wanted = {"LP_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update({name: value for name, value in wanted.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _work(pipe: Connection, prepare: Callable[[], Callable[[Any], Any]]) -> None:
    """What a process does: it answers each item by its result, or an error, until the other end is closed."""
    begin_child()
    work: Callable[[Any], Any] | None = None
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody asks any more
        while True:
            item = pipe.recv()
            try:
                work = prepare() if work is None else work
                answer = ForkingPickler.dumps((work(item), None))
            except Exception as error:
                answer = ForkingPickler.dumps((None, _told(error)))
            pipe.send_bytes(answer)


def _told(error: Exception) -> Exception:
    """An error as another process can read it, with the lines where it was raised, which do not follow by themselves.

    One of a class that is neither Python's nor this program's may not be known there, or not be made of its message: it
    becomes a RuntimeError that names the class.
    """
    if isinstance(error, UserError):
        return UserError(str(error))
    told = error if type(error).__module__ == "builtins" else RuntimeError(f"{type(error).__name__}: {error}")
    told.add_note(traceback.format_exc())
    return told
