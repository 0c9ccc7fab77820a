"""Where pictures go: into TensorBoard, and into a run's folder; they are drawn and encoded in the background."""

import ctypes
import io
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from combo_common.files import write_atomically
from latent_combo.runtime.run_folder import CLIPS, PICTURES
from latent_combo.runtime.tensorboard import TensorBoardLog
from latent_combo.runtime.video import encode_gif, write_mp4

Frames = NDArray[np.uint8]
Numbers = Mapping[str, NDArray[Any]]


TO_END = 2.0
"""Seconds in which a function that draws ends when it is cut off, or else is not waited for."""


class CutOffError(BaseException):
    """Raised in a function that draws, where it is not to go on."""


@dataclass(frozen=True)
class _Drawing:
    """Something that is to be drawn."""

    future: Future[None]
    settled: threading.Event
    """Set when it is drawn, has failed, or is left out. (`concurrent.futures.wait` waits for ever for what was
    cancelled with the end of its pool.)"""


class MediaWriter:
    """Takes functions that draw, so that neither drawing nor encoding holds the training loop up."""

    def __init__(self, run: Path, board: TensorBoardLog, exact: Sequence[tuple[int, int, int]] = ()) -> None:
        """Write below the folder `run`; `exact` are the colours that a GIF must keep."""
        self.run, self.board, self.exact = run, board, exact
        self.seconds = 0.0
        """Processor time that the background took."""
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="gallery", initializer=_step_back)
        self._waiting: list[_Drawing] = []
        self._drawing: int | None = None
        """The background's thread, while it draws."""

    def clip(
        self,
        tag: str,
        step: int,
        draw: Callable[[], Frames],
        fps: int,
        name: str | None = None,
        numbers: Numbers | None = None,
        preview: Callable[[Frames], Frames] = lambda frames: frames,
    ) -> None:
        """Show frames (T, H, W, 3), or a `preview` of them, as a GIF of as many frames a second.

        With a `name`, all of them are kept as mp4, and the numbers shown as npz.
        """

        def work() -> None:
            frames = draw()
            shown = preview(frames)
            self.board.image(tag, encode_gif(shown, fps, self.exact), (shown.shape[1], shown.shape[2]), step)
            if name is not None:
                write_mp4(self.run / CLIPS / f"{name}.mp4", even(frames), fps)
                self._keep(CLIPS, name, numbers)

        self._submit(work)

    def picture(
        self, tag: str, step: int, draw: Callable[[], bytes], name: str | None = None, numbers: Numbers | None = None
    ) -> None:
        """Show a PNG; with a `name`, keep it, and the numbers shown as npz."""

        def work() -> None:
            encoded = draw()
            width, height = Image.open(io.BytesIO(encoded)).size
            self.board.image(tag, encoded, (height, width), step)
            if name is not None:
                write_atomically(self.run / PICTURES / f"{name}.png", encoded)
                self._keep(PICTURES, name, numbers)

        self._submit(work)

    def _keep(self, folder: str, name: str, numbers: Numbers | None) -> None:
        if numbers:
            buffer, named = io.BytesIO(), dict[str, Any](numbers)
            np.savez_compressed(buffer, **named)
            write_atomically(self.run / folder / f"{name}.npz", buffer.getvalue())

    def _submit(self, work: Callable[[], None]) -> None:
        def timed() -> None:
            started, self._drawing = time.thread_time(), threading.get_ident()
            try:
                work()
            finally:
                self._drawing = None
                self.seconds += time.thread_time() - started

        self._waiting = [each for each in self._waiting if not each.future.done() or each.future.exception()]
        drawing = _Drawing(self._worker.submit(timed), threading.Event())
        drawing.future.add_done_callback(lambda _: drawing.settled.set())
        self._waiting.append(drawing)

    def pending(self) -> Callable[[], object]:
        """What waits for all that is to be drawn at the moment, in any thread, unless it is left out by `cut_off`.

        What goes wrong there `wait` raises.
        """
        waiting = list(self._waiting)
        return lambda: [each.settled.wait() for each in waiting]

    def wait(self) -> None:
        """Wait until all is drawn and written. Raises what went wrong with the first that failed."""
        waiting, self._waiting = self._waiting, []
        for drawing in waiting:
            drawing.future.result()

    def cut_off(self, seconds: float) -> int:
        """Wait so long, and then have nothing more drawn; returns how much is left out, with what has failed."""
        try:
            wait([drawing.future for drawing in self._waiting], seconds)
        finally:  # a second Ctrl-C does not wait so long
            self._worker.shutdown(wait=False, cancel_futures=True)
            waiting, self._waiting = self._waiting, []
            for drawing in waiting:
                drawing.settled.set()
        futures = [drawing.future for drawing in waiting]
        thread = self._drawing
        if thread is not None:  # Python code ends at its next instruction, and what it writes is removed
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(CutOffError))
            wait([future for future in futures if not future.cancelled()], TO_END)
        return sum(future.cancelled() or not future.done() or future.exception() is not None for future in futures)

    def close(self) -> None:
        """Wait, and end the background."""
        try:
            self.wait()
        finally:
            self._worker.shutdown(cancel_futures=True)


def _step_back() -> None:
    """Leave most of the processor to the training where both want it, on systems that rank threads.

    At the lowest rank, 19, a seventieth would be left: on a busy machine runs would wait for their pictures at the end.
    """
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)


def even(frames: Frames) -> Frames:
    """Repeat the last row or column where their number is odd, as H.264 needs."""
    _, height, width, _ = frames.shape
    return np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
