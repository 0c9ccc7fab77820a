"""Ctrl-C, and a request to end, that wait for the step in progress."""

import signal
import sys
import threading
from types import FrameType, TracebackType


class Interrupt:
    """Within the body, the first Ctrl-C only sets `requested`; a second one stops at once. SIGTERM does the same.

    Signals reach the main thread alone, so that elsewhere this does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    """Ctrl-C, and what batch systems send before they end a process."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "Interrupt":
        self._hears = threading.current_thread() is threading.main_thread()
        if self._hears:
            self._previous = [signal.signal(number, self._handle) for number in self.SIGNALS]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hears:
            for number, previous in zip(self.SIGNALS, self._previous, strict=True):
                signal.signal(number, previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("\nstopping when this step is done and saved; Ctrl-C once more stops at once", file=sys.stderr)
