"""Checkpoints that are written beside the training, which waits for a copy in memory alone."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from torch import Tensor

from latent_combo.runtime import checkpoint

POLL = 0.2
"""Seconds between two calls of what is done while one waits."""


class Saver:
    """Writes one checkpoint at a time; what goes wrong is raised by the next call."""

    def __init__(self, kept: int) -> None:
        """Leave the last `kept` checkpoints of each phase."""
        self.kept = kept
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._waiting: Future[int] | None = None

    def save(
        self,
        path: Path,
        step: int,
        state: Mapping[str, Any],
        first: Callable[[], object] = lambda: None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        """Copy a state as it is now, and write it as `checkpoint.save` does, once the one before is written.

        `first` is called before, beside the training: for what must be on the disk when the checkpoint is. `meanwhile`
        is of `wait`, for the one before. Raises what went wrong with that.
        """
        self.wait(meanwhile)
        copied = _copied(state)

        def work() -> int:
            first()
            return checkpoint.save(path, step, copied, self.kept)

        self._waiting = self._worker.submit(work)

    def wait(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait until all is on the disk. Raises UserError where it can't be written.

        `meanwhile` is called now and then: it may end what the checkpoint waits for.
        """
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        while not wait([waiting], POLL).done:
            meanwhile()
        waiting.result()

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            self._worker.shutdown()


def _copied(value: Any) -> Any:
    """The same, whose tensors are copies on the host."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return type(value)(_copied(item) for item in value) if isinstance(value, (list, tuple)) else value
