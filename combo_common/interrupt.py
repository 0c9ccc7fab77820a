"""Ctrl-C, and other requests to end: where they wait for the step in progress, and where they stop it at once."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from combo_common.streams import UnreadIsNoError

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, what batch systems send before they end a process (SIGUSR1: Slurm, where it is asked for it), and a closed
terminal; that is not heard where it is ignored, as under `nohup`."""
HANGUP = getattr(signal, "SIGHUP", None)
AGAIN = 0.25
"""Seconds within which signals are one request: a terminal's group gets it, and what forwards it does so again."""
SAVING = b"\nstopping when this step is done and saved; Ctrl-C once more stops at once\n"

_within = list["Interrupt"]()
"""Those that hear signals; the last one does."""
_asked = False
"""Whether one of them has heard any."""


class Interrupt:
    """Within the body, signals set `requested`; where they don't wait, they raise KeyboardInterrupt as well.

    Where they wait, a second one does not. Signals reach the main thread alone, so that elsewhere this does nothing.
    """

    def __init__(self, at_once: bool = False) -> None:
        """Signals wait, or stop what is being done `at_once`."""
        self.requested = False
        self._at_once, self._held, self._due = at_once, 0, False
        self._heard = 0.0

    def __enter__(self) -> "Interrupt":
        self._hears = threading.current_thread() is threading.main_thread()
        self._previous: dict[int, Any] = {}
        self._streams = UnreadIsNoError(lambda: _asked)
        if self._hears:
            try:
                with _later():
                    _within.append(self)
                    for number in heard():
                        self._previous[number] = signal.signal(number, self._handle)
                self._streams.begin()
            except BaseException:  # a signal that came meanwhile
                self._leave(failed=True)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hears:
            self._leave(failed=kind is not None)

    def _leave(self, failed: bool) -> None:
        global _asked
        try:
            with _later():
                for number, previous in self._previous.items():
                    signal.signal(number, previous)
                _within.remove(self)
                _asked = _asked and bool(_within)
        finally:
            self._streams.end(failed)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within the body signals wait: whoever takes its steps looks at `requested`."""
        before, self._at_once = self._at_once, False
        try:
            yield
        finally:
            self._at_once = before

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the body signals stop it: for what takes long, and has no effect before its end.

        Raises KeyboardInterrupt, also where one was heard before.
        """
        before = self._at_once, self._held
        self._at_once, self._held = True, 0
        try:
            if self.requested:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once, self._held = before

    def _handle(self, number: int, frame: FrameType | None) -> None:
        global _asked
        now = time.monotonic()
        first, before = not self.requested, self._heard
        if not first and now - before < AGAIN:
            return
        self.requested, self._heard, _asked = True, now, True
        if first and not self._at_once:
            _say(SAVING)
        elif self._held:
            self._due = True
        else:
            raise KeyboardInterrupt


@contextmanager
def held() -> Iterator[None]:
    """Within the body no signal raises anything: for what must not be done by half. The end of the body raises it.

    It says nothing of parts of the body that are within `Interrupt.at_once`.
    """
    interrupt = _within[-1] if _within and threading.current_thread() is threading.main_thread() else None
    if interrupt is None:
        yield
        return
    before = interrupt._held
    interrupt._held = before + 1
    try:
        yield
    finally:
        interrupt._held = before
    if interrupt._due and not interrupt._held:
        interrupt._due = False
        raise KeyboardInterrupt


def end_at_once(code: int, line: str = "interrupted\n") -> None:
    """From now on signals end this process with an exit code and a line: it has done nothing yet, or all is done.

    It does nothing in other threads than the main one, which do not hear signals.
    """
    if threading.current_thread() is threading.main_thread():
        for number in heard():
            signal.signal(number, _ender(code, line.encode()))


def ignore_but_ctrl_c() -> None:
    """From now on no signal ends this process but Ctrl-C, and that at once: it ends by itself."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGINT else signal.SIG_IGN)


def heard() -> list[signal.Signals]:
    """Those of SIGNALS that this process is to hear."""
    return [number for number in SIGNALS if number != HANGUP or signal.getsignal(number) is not signal.SIG_IGN]


def _ender(code: int, line: bytes) -> Callable[[int, FrameType | None], None]:
    def end(number: int, frame: FrameType | None) -> None:
        _say(line)
        os._exit(code)

    return end


@contextmanager
def _later() -> Iterator[None]:
    """Signals that come within the body are heard after it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _say(line: bytes) -> None:
    """Write to the standard error stream, past its buffer: what is interrupted may be writing to that."""
    with suppress(OSError):
        os.write(2, line)
