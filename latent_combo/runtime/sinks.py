"""Where a run's scalars go besides its own files: Trackio and Weights & Biases, imported where they are asked for.

Neither can take back what it was given. A resumed run therefore gives them no step again that its metrics.csv had.
"""

import importlib
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from combo_common.errors import UserError
from combo_common.files import write_atomically

TENSORBOARD = "tensorboard"
EXTERNAL = {"trackio": "Trackio", "wandb": "Weights & Biases"}
"""By the words of `log`, which are the names of their packages and of our extras, too."""
PROJECT = "latent-combo"
"""The project of all runs, unless $TRACKIO_PROJECT or $WANDB_PROJECT names another."""
IDENTITY = "log_id.txt"
"""The file in a run's folder by which it is known there, however often it is resumed."""


class Sink(Protocol):
    """What takes scalars."""

    def scalars(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Take values by their names, such as `loss` or `q/0`, of a step of a phase."""

    def flush(self) -> None:
        """Write what is waiting, as far as it can be asked to."""

    def close(self) -> None:
        """Write what is waiting, and end."""


class TrackioSink:
    """A run of Trackio, in a database below $TRACKIO_DIR on this machine (or in the Space of $TRACKIO_SPACE_ID)."""

    def __init__(self, module: Any, run: Path, identity: str, settings: Mapping[str, Any]) -> None:
        self._run = module.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=f"{name_of(run)}-{identity}",
            config=dict(settings),
            resume="allow",
            space_id=os.environ.get("TRACKIO_SPACE_ID"),
        )

    def scalars(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """See `Sink`. Steps of phases overlap; tags keep them apart."""
        self._run.log({f"{phase}/{name}": value for name, value in values.items()}, step=step)

    def flush(self) -> None:
        """Trackio writes twice per second by itself."""

    def close(self) -> None:
        """See `Sink`."""
        self._run.finish()


class WandbSink:
    """A run of Weights & Biases, in RUN/wandb; online where $WANDB_MODE says so, or where there is an API key."""

    def __init__(self, module: Any, run: Path, identity: str, settings: Mapping[str, Any]) -> None:
        keyed = bool(getattr(getattr(module, "api", None), "api_key", None))
        self._run = module.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=identity,
            name=name_of(run),
            dir=str(run),
            config=dict(settings),
            resume="allow",
            mode=os.environ.get("WANDB_MODE") or ("online" if keyed else "offline"),
        )
        self._phases = set[str]()

    def scalars(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """See `Sink`. Its own step counts calls, and a phase that begins at 0 again has an axis of its own for that."""
        if phase not in self._phases:
            self._run.define_metric(f"{phase}/step")
            self._run.define_metric(f"{phase}/*", step_metric=f"{phase}/step")
            self._phases.add(phase)
        self._run.log({f"{phase}/step": step, **{f"{phase}/{name}": value for name, value in values.items()}})

    def flush(self) -> None:
        """Weights & Biases writes by a process of its own."""

    def close(self) -> None:
        """See `Sink`."""
        self._run.finish()


class Careful:
    """A sink that is given no step twice, and whose failures end no run: it is left out from then on, with a line."""

    def __init__(self, name: str, sink: Sink, had: Mapping[str, int]) -> None:
        """`had` are the last steps that it was given before a resume, by phase."""
        self.name, self.had = name, had
        self._sink: Sink | None = sink

    def scalars(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """See `Sink`."""
        if step > self.had.get(phase, -1):
            self._try("scalars", phase, step, values)

    def flush(self) -> None:
        """See `Sink`."""
        self._try("flush")

    def close(self) -> None:
        """See `Sink`."""
        self._try("close")

    def _try(self, method: str, *given: Any) -> None:
        if self._sink is None:
            return
        try:
            getattr(self._sink, method)(*given)
        except Exception as error:
            self._sink = None
            said = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            print(f"warning: {EXTERNAL[self.name]} takes no more scalars of this run ({said})", file=sys.stderr)


def name_of(run: Path) -> str:
    """A run's name for people: its folder's last parts, which in a comparison are dataset, algorithm and seed."""
    return "-".join(part for part in run.parts[-3:] if part not in ("/", ".", ".."))


def require_installed(names: Sequence[str]) -> None:
    """Raise UserError for a sink of `log` whose package is not installed; call it before anything is trained."""
    for name in names:
        if name in EXTERNAL:
            _module(name)


def open_sinks(
    names: Sequence[str], run: Path, settings: Mapping[str, Any], had: Mapping[str, int] | None = None
) -> list[Careful]:
    """The external ones among the sinks of `log`, for the run in a folder; `had` as in `Careful`.

    Raises UserError where one can't be opened.
    """
    sinks = list[Careful]()
    for name in names:
        if name not in EXTERNAL:
            continue
        kind: type[TrackioSink] | type[WandbSink] = TrackioSink if name == "trackio" else WandbSink
        module = _module(name)
        try:
            sinks.append(Careful(name, kind(module, run, _identity(run), settings), had or {}))
        except UserError:
            raise
        except Exception as error:  # of theirs: each has many kinds
            reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            remedy = "set WANDB_MODE=offline, or" if name == "wandb" else "mend that, or"
            raise UserError(f"log has {name}, which can not be opened ({reason}); {remedy} leave it out") from error
    return sinks


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f'log has {name}, which is not installed: pip install "latent-combo[{name}]"') from error


def _identity(run: Path) -> str:
    """What a run is known by to all sinks; it is made when it is first asked for."""
    path = run / IDENTITY
    try:
        known = path.read_text().strip()
    except FileNotFoundError:
        known = ""
    except (OSError, ValueError) as error:
        raise UserError(f"{path} can not be read ({error}); restore it, or delete it to begin another log") from error
    if not known:
        known = uuid.uuid4().hex[:8]
        write_atomically(path, f"{known}\n".encode())
    return known
