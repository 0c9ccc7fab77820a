"""One training run in progress: its folder, its log, its checkpoints, and how it is interrupted."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from combo_common.commands import command
from combo_common.errors import StoppedError, UserError
from combo_common.files import write_atomically
from combo_common.lock import Lock
from combo_common.progress import progress_bar
from envs import gl
from envs.registry import get_task, names_module
from latent_combo.agent.fit import AgentFit
from latent_combo.config.saved import flat_settings, save_config
from latent_combo.config.schema import Config
from latent_combo.diagnostics.style import EXACT
from latent_combo.numerics.choices import machine
from latent_combo.numerics.finite import NonFiniteError
from latent_combo.numerics.precision import set_precision
from latent_combo.pipeline.build import choose_device, use, with_machine_choices, with_precision
from latent_combo.pipeline.history import ChangedError, History, require_same_settings
from latent_combo.pipeline.origin import Origin
from latent_combo.runtime import checkpoint
from latent_combo.runtime.clocks import Every, Timer
from latent_combo.runtime.interrupt import Interrupt
from latent_combo.runtime.media import MediaWriter
from latent_combo.runtime.metrics import NOTHING, Kept, MetricsLog
from latent_combo.runtime.renamed import result_now
from latent_combo.runtime.run_folder import AGENT, BAD_BATCH, LOCK, WORLD_MODEL, require_new_run
from latent_combo.runtime.saver import Saver
from latent_combo.runtime.sinks import require_installed
from latent_combo.runtime.speed import Meter
from latent_combo.world_model.fit import Fit

PHASES = {"world_model": WORLD_MODEL, "agent": AGENT}
"""The phases that are trained, and their checkpoints."""


class Session:
    """What the phases of a run share."""

    def __init__(
        self, config: Config, interrupt: Interrupt, resume: bool = False, accept_changes: bool = False
    ) -> None:
        """A new run, or one that goes on; with `accept_changes`, of settings and data, too, which are noted.

        Nothing is written yet. Raises UserError for a run that can't be begun, and for changes that are not accepted.
        """
        require_installed(config.log)
        gl.chosen_by_user()  # which raises before the hours of training, not at the first score
        self.interrupt = interrupt
        self.task, self.task_name = get_task(config.task), config.task
        self.task.vector_indices(config.observation_spec.vectors)  # which raises for unknown names
        self.device = choose_device(config.device)
        self.out = Path(config.out)
        self.timer = Timer()
        self.saved: dict[str, dict[str, Any]] = {}
        self.resumes, self.accepts_changes = resume, accept_changes
        self.changes: list[str] = []
        """Of a run that goes on: what is not as it was."""
        self.history: History | None = None
        self._lock = Lock(self.out / LOCK, str(self.out))
        if resume:
            self.history = History.read(self.out)
            with self.noting_changes():
                require_same_settings(self.history, config)
        else:
            require_new_run(self.out)
        set_precision(self.device, config.tf32)  # before anything is measured
        if resume and self.device.type != "cuda" and config.cuda_graphs == "on":  # begun on a machine that had a GPU
            config = replace(config, cuda_graphs="auto")
        self.config = with_precision(config, self.device) if resume else with_machine_choices(config, self.device)
        use(self.config, self.device)

    def __enter__(self) -> "Session":
        """Keep other processes out of the folder of a run that goes on, or raise UserError that says who is in it."""
        if self.resumes:
            self._lock.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let others into the folder."""
        self._lock.__exit__(kind, error, trace)

    def open(self) -> None:
        """Make the run's folder, which is locked, and its log, or read its checkpoints; before, nothing is written.

        Raises UserError where the folder can't be written, or is in use, or no checkpoint is whole.
        """
        self._prepare()
        if self.resumes:
            steps = self._reached()
            model = f"world model at step {steps['world_model']}, " if self.config.has_world_model else ""
            reached = f"{model}agent at update {steps['agent']}"
            print(f"resuming      {self.out}: {reached}", flush=True)
        kept, labels = self._kept() if self.resumes else None, self.config.agent.labels()
        self.log = MetricsLog(self.out, kept, labels, self.config.log, flat_settings(self.config))
        self.gallery = MediaWriter(self.out, self.log.board, EXACT)
        self.saver = Saver(self.config.keep_checkpoints)

    @contextmanager
    def noting_changes(self) -> Iterator[None]:
        """Note what the body finds changed of a run that goes on, where that is accepted.

        Raises UserError, with the remedy, where it is not.
        """
        try:
            yield
        except ChangedError as change:
            if not self.resumes:
                raise
            if not self.accepts_changes:
                accepting = command("train", *self.resume_words, "--accept-changes")
                raise UserError(f"{change}, or take the change knowingly: {accepting}") from change
            print(f"note: {self.out} goes on with a change of its {change.what}", file=sys.stderr)
            self.changes.append(change.what)

    def keep_history(self, data: str) -> None:
        """Write what the run is made by, its data being known by `data`; of a run that goes on, that it does.

        A line says in what program and machine are not as they were: numbers may then be others than in one go.
        """
        now = Origin.of(self.config, data, machine(self.device))
        if not self.resumes:
            self.history = History(now)
        else:
            before = self.history or History(now)
            if other := list(now.otherwise(before.origin)):
                told = "; ".join(other)
                print(f"note: {self.out} goes on by {told}; numbers may differ from those of one go", file=sys.stderr)
            self.history = before.resumed(now, self._reached(), [*self.changes, *other])
        self.history.write(self.out)

    def _reached(self) -> dict[str, int]:
        return {phase: int(self.saved[phase]["fit"]["step"]) if phase in self.saved else 0 for phase in PHASES}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """`open`, and `close` after the body."""
        self.open()
        try:
            yield
        finally:
            self.close()

    def _prepare(self) -> None:
        """Make the run's folder, or read its checkpoints."""
        if self.resumes:
            for phase, name in PHASES.items():
                found = None
                if checkpoint.exists(self.out / name):
                    found = checkpoint.find(self.out / name, torch.device("cpu"))
                    self.saved[phase] = found.state
                    self.timer.seconds.update(result_now(found.state["seconds"]))
                checkpoint.sweep(self.out / name, found)
            return
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self._lock.__enter__()
            require_new_run(self.out)  # another process may have begun it meanwhile
            save_config(self.config, self.out / "config.yaml")
        except OSError as error:
            raise UserError(f"cannot write to {self.out}: {error.strerror}; choose another --out") from error

    def _kept(self) -> Kept:
        """What has been logged up to the checkpoints, but for what is measured after a phase: that is done anew."""
        saved = {phase: int(self.saved[phase]["fit"]["step"]) if phase in self.saved else NOTHING for phase in PHASES}
        model, agent = saved["world_model"], saved["agent"]
        taken_over = "recipe" in self.saved.get("world_model", {})  # and so nothing was logged while it was fitted
        model_before_end = NOTHING if taken_over else min(model, self.config.world_model_fit.steps - 1)
        agent_before_end = min(agent, self.config.agent_fit.updates - 1)
        return Kept(
            scalars={**saved, "open_loop": model_before_end, "result": NOTHING},
            drawn={"world_model": model_before_end, "agent": agent_before_end, "values": agent_before_end},
        )

    def restore(self, phase: str, fit: Fit | AgentFit) -> dict[str, Any] | None:
        """Let a fit go on where the checkpoint of its phase stands, and return that; None where there is none.

        Raises UserError for a checkpoint of another version of the program.
        """
        saved = self.saved.get(phase)
        if saved is None:
            return None
        try:
            fit.load_state_dict(saved["fit"])
            saved["fit"] = {"step": saved["fit"]["step"]}  # the rest is the fit's now, and large
        except (KeyError, AssertionError, RuntimeError, ValueError) as error:
            path = self.out / PHASES[phase]
            raise UserError(
                f"{path}-* is not of this version of the program, or not of these settings: go on with those that "
                "wrote it, or train anew"
            ) from error
        return saved

    def save(self, phase: str, step: int, state: Mapping[str, Any], wait: bool = False) -> None:
        """Write a phase's checkpoint, with the time that was spent so far; first, what was logged until then.

        It is written beside the training; `wait` until it is on the disk. Raises UserError where it can't be written,
        or the one before could not.
        """
        with self.timer.section("checkpoints"):
            self._lock.require_held()
            self.log.flush()
            self.saver.save(self.out / PHASES[phase], step, {**state, "seconds": dict(self.timer.seconds)})
            if wait:
                self.saver.wait()

    @contextmanager
    def keeping_bad_batches(self) -> Iterator[None]:
        """Write the batch of a loss or gradient that was not finite into the run's folder, and say so."""
        try:
            yield
        except NonFiniteError as error:
            path = self.out / BAD_BATCH
            tensors = {name: tensor.cpu().contiguous() for name, tensor in error.batch.items()}
            write_atomically(path, safetensors.torch.save(tensors))
            raise NonFiniteError(f"{error}; what that step was given is in {path}", error.step) from error

    @property
    def resume_words(self) -> tuple[object, ...]:
        """The arguments of `train` that go on with this run; its module has to be named by a user."""
        return "--resume", self.out, *(("--task", self.task_name) if names_module(self.task_name) else ())

    def stop_if_asked(self) -> None:
        """Raise StoppedError if Ctrl-C was pressed or the process was asked to end; call it when all is saved."""
        if self.interrupt.requested:
            raise StoppedError(f"stopped and saved; continue with: {command('train', *self.resume_words)}")

    def clocks(self, steps: int, **every: int) -> dict[str, Every]:
        """Clocks for a loop of `steps` steps: "log" and "save" from the config, and the named ones."""
        return {
            name: Every(interval, steps)
            for name, interval in {"log": self.config.log_every, "save": self.config.save_every, **every}.items()
        }

    def view_clock(self, steps: int) -> Callable[[int], bool]:
        """When to draw views in a loop of `steps` steps; its end has views of its own."""
        every = self.config.views.every
        return lambda step: every > 0 and step % every == 0 and step < steps

    def close(self) -> None:
        """Wait for checkpoints and pictures, and close the log."""
        with ExitStack() as closing:
            closing.callback(self.log.close)
            closing.callback(self.gallery.close)
            closing.callback(self.saver.close)

    def progress(self, phase: str, steps: int, done: int) -> "tqdm[Any]":
        """A progress bar with rate and remaining time."""
        return progress_bar(total=steps, initial=done, desc=phase, unit="step", smoothing=0.05, dynamic_ncols=True)

    def report(
        self, phase: str, step: int, metrics: Mapping[str, Tensor | float], meter: Meter, bar: "tqdm[Any]", show: str
    ) -> None:
        """Log a row of metrics with the achieved speed, and show one of them on the bar."""
        speed = {f"{meter.unit}_per_s": meter.rate, "share_of_matmul": meter.share}
        read = self.log.write(phase, step, {**metrics, **speed})
        shown = [f"{value:.3g}" for name, value in read.items() if name.split("/")[0] == show]
        bar.set_postfix_str(f"{show} {' '.join(shown)}, {meter}", refresh=False)
