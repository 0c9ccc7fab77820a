"""The training loop of both phases."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from latent_combo.pipeline.session import Session
from latent_combo.runtime.speed import Meter

T = TypeVar("T")


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
    """Something that is done now and then while a `T` is trained, and that training does not depend on."""

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
    with session.progress(phase.title, phase.steps, fit.step) as bar, session.keeping_bad_batches():
        while not fit.done():
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
            for callback in due:
                with session.timer.section(callback.section):
                    callback.call(phase.subject, fit.step)
            if fit.done():
                phase.finish()
            if save or fit.done() or session.interrupt.requested:
                state = {"fit": fit.state_dict(), "meter": phase.meter.state_dict(), **phase.state()}
                session.save(phase.name, fit.step, state, wait=fit.done() or session.interrupt.requested)
            session.stop_if_asked()
