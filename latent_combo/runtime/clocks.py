"""Clocks that drive a training loop."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Every:
    """True at every n-th step, and at the last one."""

    def __init__(self, steps: int, last: int) -> None:
        self.steps, self.last = max(1, steps), last

    def __call__(self, step: int) -> bool:
        """Whether something is due after `step` steps."""
        return step % self.steps == 0 or step == self.last


class Timer:
    """Seconds spent in named sections; sections don't nest."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.latest: str | None = None
        """The section that was entered last."""

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Add the time that the body takes to `name`."""
        started, self.latest = time.perf_counter(), name
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started
