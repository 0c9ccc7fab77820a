"""Ctrl-C that waits for the step in progress."""

import signal
import sys
import threading
from types import FrameType, TracebackType


class Interrupt:
    """Within the body, the first Ctrl-C only sets `requested`; a second one stops at once.

    Ctrl-C reaches the main thread alone, so that elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "Interrupt":
        self._hears = threading.current_thread() is threading.main_thread()
        if self._hears:
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hears:
            signal.signal(signal.SIGINT, self._previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("\nstopping when this step is done and saved; Ctrl-C once more stops at once", file=sys.stderr)
