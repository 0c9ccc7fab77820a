"""The training loop of both phases."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from combo_common.interrupt import held
from latent_combo.pipeline.session import Session
from latent_combo.runtime.speed import Meter

T = TypeVar("T")

DRAWING = "views"
"""The section of callbacks that draw."""


class Fit(Protocol):
    """A fit in progress: `world_model.fit.Fit` and `agent.fit.AgentFit`."""

    step: int

    @property
    def capture_seconds(self) -> float:
        """What recording CUDA graphs took so far."""

    def take_step(self, report: bool = True) -> Mapping[str, Tensor]:
        """Take one step; without `report`, its metrics may be fewer."""

    def check(self) -> None:
        """Wait for the device. Raises NonFiniteError for a loss or gradient that was not finite."""

    def done(self) -> bool:
        """Whether no step is left."""

    def state_dict(self) -> dict[str, object]:
        """All that is needed to continue exactly."""


@dataclass(frozen=True)
class Callback(Generic[T]):
    """Something that is done now and then while a `T` is trained, and that training does not depend on.

    Where it takes long, it does that within `Interrupt.at_once`, before it has any effect that must not come twice:
    what a signal has kept from being done is done when the run goes on.
    """

    due: Callable[[int], bool]
    """Whether it is due after so many steps."""
    call: Callable[[T, int], None]
    """What is done, given what is trained and the number of steps."""
    section: str
    """The section of the run's timer that its seconds count for."""


def _nothing() -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Phase(Generic[T]):
    """What a phase of training consists of, beside its loop."""

    name: str
    """Of its log rows, its checkpoint and its section of the run's timer."""
    title: str
    """On the progress bar."""
    subject: T
    """What is trained."""
    fit: Fit
    steps: int
    """The last step."""
    meter: Meter
    shown: str
    """The metric on the progress bar."""
    callbacks: Sequence[Callback[T]] = ()
    measure: Callable[[], Mapping[str, Tensor]] = _nothing
    """Metrics that are logged beside those of a step, where a row is due."""
    finish: Callable[[], None] = lambda: None
    """Called once after the last step, before its checkpoint."""
    state: Callable[[], dict[str, Any]] = field(default=_nothing)
    """What its checkpoints hold beside the fit."""


def train_phase(session: Session, phase: Phase[T]) -> None:
    """Step the fit until it is done: log, call back and save when it is time.

    Raises UserError when stopped by Ctrl-C, after saving, and NonFiniteError for a loss or gradient that is not finite.
    """
    fit, clocks = phase.fit, session.clocks(phase.steps)
    left: Sequence[Callback[T]] = [phase.callbacks[index] for index in session.left(phase.name)]
    bar = session.progress(phase.title, phase.steps, fit.step)
    with bar, session.keeping_bad_batches(), session.interrupt.waiting():
        while left or not fit.done():
            due, save = left, bool(left)
            if not left:
                with session.timer.section(phase.name), phase.meter.step():
                    metrics = fit.take_step(report=clocks["log"](fit.step + 1))
                bar.update(1)
                log, save = (clocks[name](fit.step) for name in ("log", "save"))
                due = [callback for callback in phase.callbacks if callback.due(fit.step)]
                if log or save or due or fit.done() or session.interrupt.requested:
                    with session.timer.section(phase.name):
                        phase.meter.wait(fit.capture_seconds)
                    fit.check()
                if log:
                    session.report(phase.name, fit.step, {**metrics, **phase.measure()}, phase.meter, bar, phase.shown)
            left = call_back(session, phase, due)
            ended = fit.done() and not left
            if ended:
                phase.finish()
            if save or ended or session.interrupt.requested:
                indices = [phase.callbacks.index(callback) for callback in left]
                to_draw = any(callback.section == DRAWING for callback in left)
                undone = {"left": indices, "to_draw": to_draw}
                own = phase.state()  # which may draw by the fit's generator
                state = {"fit": fit.state_dict(), "meter": phase.meter.state_dict(), **undone, **own}
                session.save(phase.name, fit.step, state, wait=ended or session.interrupt.requested)
            session.stop_if_asked()


def call_back(session: Session, phase: Phase[T], due: Sequence[Callback[T]]) -> Sequence[Callback[T]]:
    """Do what is due, in its order; returns what of it a signal has kept from being done to its end."""
    for place, callback in enumerate(due):
        if session.interrupt.requested:
            return due[place:]
        with session.timer.section(callback.section), held():
            try:
                callback.call(phase.subject, phase.fit.step)
            except KeyboardInterrupt:
                return due[place:]
    return []
