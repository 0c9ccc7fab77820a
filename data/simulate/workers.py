"""Work that is shared among processes, whose results come in order and are those of one process."""

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, TypeVar

from combo_common.child_process import begin_child, deaf_children
from combo_common.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

ITEMS_PER_PROCESS = 2
"""Items a process that are begun before the first result is taken: memory holds no more results than these."""

_work: Callable[[Any], Any] | None = None
"""What a worker process does with an item."""


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
) -> Iterator[Result]:
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
    context = multiprocessing.get_context("spawn")
    waiting: deque[Future[Result]] = deque()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_one_thread_each())
        with deaf_children():
            pool = ProcessPoolExecutor(processes, context, _prepare, (prepare,))
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        try:
            for item in items:
                with deaf_children():
                    waiting.append(pool.submit(_do, item))
                if len(waiting) >= ITEMS_PER_PROCESS * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError("a worker process crashed; see its output above, or set --processes 1") from error
        except (GeneratorExit, KeyboardInterrupt):  # nobody takes the results of what is still being done
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise


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


def _prepare(prepare: Callable[[], Callable[[Any], Any]]) -> None:
    global _work
    begin_child()
    try:
        _work = prepare()
    except UserError as error:  # raised here, it would end the process; raised by the first item, it is told as it is
        _work = partial(_raise, error)


def _raise(error: UserError, _: Any) -> None:
    raise error


def _do(item: Any) -> Any:
    assert _work is not None, "the pool prepares its processes"
    return _work(item)
