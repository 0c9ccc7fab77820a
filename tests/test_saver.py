"""A checkpoint is on the disk when what was due before it is; of a run that is stopped it does not wait for long."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latent_combo.pipeline.session import Session
from latent_combo.runtime import checkpoint
from latent_combo.runtime.clocks import Timer
from latent_combo.runtime.media import MediaWriter
from latent_combo.runtime.metrics import MetricsLog
from latent_combo.runtime.saver import Saver


def test_a_checkpoint_appears_when_what_was_due_before_it_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a run that is killed then, and goes on from it, would lack the pictures."""
    drawing, order = threading.Event(), list[str]()
    monkeypatch.setattr(checkpoint, "save", lambda *given: order.append("saved"))
    log = MetricsLog(tmp_path)
    gallery, saver = MediaWriter(tmp_path, log.board), Saver(kept=2)

    def draw() -> None:
        drawing.wait()
        order.append("drawn")

    gallery._submit(draw)
    unlocked, interrupt = SimpleNamespace(require_held=lambda: None), SimpleNamespace(requested=False)
    session: Any = SimpleNamespace(
        out=tmp_path, timer=Timer(), log=log, gallery=gallery, saver=saver, _lock=unlocked, interrupt=interrupt
    )
    session._leave_pictures = partial(Session._leave_pictures, session)
    Session.save(session, "agent", 3, {"fit": {"step": 3}})
    assert saver._waiting is not None
    with pytest.raises(TimeoutError):
        saver._waiting.result(timeout=0.1)
    drawing.set()
    saver.close()
    assert order == ["drawn", "saved"]
    # where the run is stopped, pictures have a second, and the checkpoint does not wait for more
    monkeypatch.setattr(gallery, "cut_off", lambda seconds: order.append("cut off") or 0)
    session.saver, interrupt.requested = Saver(kept=2), True
    Session.save(session, "agent", 4, {"fit": {"step": 4}}, wait=True)
    assert order == ["drawn", "saved", "cut off", "saved"]
    session.saver.close()
    gallery.close()
    log.close()


@dataclass
class Waiting:
    """A saver, and a gallery whose pictures are not ready before the test ends; what is saved is noted alone."""

    gallery: MediaWriter
    saver: Saver
    folder: Path
    go_on: threading.Event
    saved: list[int]
    """Steps."""

    def draw(self, count: int) -> None:
        """Have pictures drawn, by code that no exception ends; the first has begun."""
        began = threading.Event()

        def work() -> None:
            began.set()
            self.go_on.wait()

        for _ in range(count):
            self.gallery._submit(work)
        assert began.wait(60)

    def save(self, step: int, *meanwhile: Callable[[], object]) -> None:
        """Have a checkpoint saved, which waits for the pictures."""
        self.saver.save(self.folder, step, {}, self.gallery.pending(), *meanwhile)


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Waiting]:
    saved = list[int]()
    monkeypatch.setattr(checkpoint, "save", lambda path, step, *given: saved.append(step))
    monkeypatch.setattr("latent_combo.runtime.media.TO_END", 0.01)
    monkeypatch.setattr("latent_combo.runtime.saver.POLL", 0.01)
    log = MetricsLog(tmp_path)
    gallery, saver = MediaWriter(tmp_path, log.board), Saver(kept=2)
    there = Waiting(gallery, saver, tmp_path / "agent", threading.Event(), saved)
    yield there
    there.go_on.set()
    saver.close()
    gallery.close()
    log.close()


def test_a_checkpoint_that_waits_for_pictures_is_saved_when_these_are_left_out(waiting: Waiting) -> None:
    """A save is due, and waits for two pictures; a stop leaves them out, one in the middle, and saves once more."""
    waiting.draw(2)
    waiting.save(3)
    assert waiting.gallery.cut_off(0.0) == 2
    waiting.save(4)
    assert waiting.saver._waiting is not None
    waiting.saver._waiting.result(timeout=60)
    assert waiting.saved == [3, 4]


def test_a_stop_while_a_save_waits_for_the_pictures_of_the_one_before_leaves_them_out(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a second signal, which comes while pictures have their time to be drawn, ends that."""

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    def stopped() -> None:
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr("latent_combo.runtime.media.wait", interrupted)
            waiting.gallery.cut_off(60.0)

    waiting.draw(1)
    waiting.save(3)
    waiting.save(4, stopped)
    waiting.saver.wait(stopped)
    assert waiting.saved == [3, 4]
