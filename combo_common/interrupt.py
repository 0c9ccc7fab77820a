"""Ctrl-C, and other requests to end: where they wait for the step in progress, and where they stop it at once."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, and what batch systems send before they end a process (SIGUSR1: Slurm, where it is asked for it)."""
AGAIN = 0.25
"""Seconds within which signals are one request: a terminal's group gets it, and what forwards it does so again."""
SAVING = b"\nstopping when this step is done and saved; Ctrl-C once more stops at once\n"

_within = list["Interrupt"]()
"""Those that hear signals; the last one does."""


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
        if self._hears:
            _within.append(self)
            self._previous: list[Any] = [signal.signal(number, self._handle) for number in SIGNALS]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hears:
            for number, previous in zip(SIGNALS, self._previous, strict=True):
                signal.signal(number, previous)
            _within.remove(self)

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
        now = time.monotonic()
        first, before = not self.requested, self._heard
        if not first and now - before < AGAIN:
            return
        self.requested, self._heard = True, now
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
    interrupt._held += 1
    try:
        yield
    finally:
        interrupt._held -= 1
    if interrupt._due and not interrupt._held:
        interrupt._due = False
        raise KeyboardInterrupt


def end_at_once(code: int) -> None:
    """From now on signals end this process with a line and an exit code: it has done nothing yet."""
    for number in SIGNALS:
        signal.signal(number, _ender(code))


def _ender(code: int) -> Callable[[int, FrameType | None], None]:
    def end(number: int, frame: FrameType | None) -> None:
        _say(b"interrupted\n")
        os._exit(code)

    return end


def _say(line: bytes) -> None:
    """Write to the standard error stream, past its buffer: what is interrupted may be writing to that."""
    with suppress(OSError):
        os.write(2, line)
