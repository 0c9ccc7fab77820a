"""Processes that help this one: deaf to the signals of its terminal, and ended when it ends, however it does."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

from combo_common.interrupt import SIGNALS

DEAF_TO = SIGNALS
"""What reaches a whole group the first process hears. It ends the others: by a pipe, or it kills them."""
PR_SET_PDEATHSIG = 1
"""Of prctl(2)."""
OURS = ("latent_combo", "data", "envs")
"""Packages with commands (`python -m`)."""
PATIENCE = 2.0
"""Seconds that a process has to end by itself, before it is killed."""


@contextmanager
def deaf_children() -> Iterator[None]:
    """Processes that are started in the body are deaf to DEAF_TO from their first instruction on.

    They inherit what this thread blocks; what arrives here meanwhile is heard after the body, or by another thread.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)
    try:
        resource_tracker.ensure_running()  # multiprocessing's own: starting it later would unblock SIGINT
        signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)
        with _without_this_command():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_this_command() -> Iterator[None]:
    """Keep multiprocessing from importing the module of this process's command, with all that it imports, in others.

    It does so for what is pickled of that module, and nothing of ours is; a script of somebody else is left alone.
    """
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is None or spec.name.partition(".")[0] not in OURS:
        yield
        return
    hidden: dict[str, Any] = {name: vars(main).pop(name) for name in ("__spec__", "__file__") if name in vars(main)}
    main.__spec__ = None
    try:
        yield
    finally:
        vars(main).update(hidden)


def begin_child() -> None:
    """What a process that multiprocessing has started does first: it stays deaf, and watches the one that started it.

    The other end of a pipe is held by that one, and the kernel closes it, even for SIGKILL.
    """
    for number in DEAF_TO:  # not SIG_IGN, which what an environment starts in its turn would inherit
        signal.signal(number, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, DEAF_TO)
    if hasattr(os, "register_at_fork"):  # what it forks hears SIGTERM, by which `multiprocessing` ends it
        os.register_at_fork(before=_hold_back, after_in_parent=_let_through, after_in_child=_hear_sigterm)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True, name="end with parent").start()


def _hold_back() -> None:
    """Have SIGTERM wait, so that a fork that gets it at once does not hear it as deafly as this process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _let_through() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _hear_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _let_through()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


@contextmanager
def killed_if_interrupted(processes: Callable[[], Iterable[BaseProcess]]) -> Iterator[None]:
    """Kill processes where the body, which ends them, is itself cut short: they hear of no other end."""
    try:
        yield
    except BaseException:
        for process in processes():
            process.kill()
        raise


def hear_of_parents_end(number: int) -> None:
    """Let this process get a signal when the thread that started it ends, however it does; Linux alone can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def end_child(process: BaseProcess) -> None:
    """Wait for a process that has been told to end; after a while, it is killed."""
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        process.join()
