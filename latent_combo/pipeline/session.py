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
from combo_common.files import sweep_files, write_atomically
from combo_common.interrupt import Interrupt, held
from combo_common.progress import progress_bar
from envs import gl
from envs.registry import get_task
from latent_combo.agent.fit import AgentFit
from latent_combo.config.saved import flat_settings, save_config
from latent_combo.config.schema import Config
from latent_combo.diagnostics.style import EXACT
from latent_combo.numerics.choices import machine
from latent_combo.numerics.finite import NonFiniteError
from latent_combo.numerics.precision import set_precision
from latent_combo.pipeline.build import choose_device, use, with_machine_choices, with_precision
from latent_combo.pipeline.changes import Changes
from latent_combo.pipeline.history import History, require_same_settings
from latent_combo.pipeline.origin import Origin
from latent_combo.runtime import checkpoint
from latent_combo.runtime.clocks import Every, Timer
from latent_combo.runtime.media import MediaWriter
from latent_combo.runtime.metrics import NOTHING, Kept, MetricsLog
from latent_combo.runtime.new_run import require_new_run
from latent_combo.runtime.renamed import result_now
from latent_combo.runtime.run_command import run_words
from latent_combo.runtime.run_folder import AGENT, BAD_BATCH, WORLD_MODEL, lock_of
from latent_combo.runtime.saver import Saver
from latent_combo.runtime.sinks import require_installed
from latent_combo.runtime.speed import Meter
from latent_combo.world_model.fit import Fit

PHASES = {"world_model": WORLD_MODEL, "agent": AGENT}
"""The phases that are trained, and their checkpoints."""
GRACE = 1.0
"""Seconds that pictures in the background have, where a run is stopped."""


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
        self.resumes = resume
        self.changes = Changes(self.out, resume, accept_changes, self.resume_words)
        self.history: History | None = None
        self._lock = lock_of(self.out)
        if resume:
            with self.changes.noting():
                require_same_settings(History.read(self.out), config)
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
        sweep_files(self.out)
        kept, labels = self._kept() if self.resumes else None, self.config.agent.labels()
        self.log = MetricsLog(self.out, kept, labels, self.config.log, flat_settings(self.config))
        self.gallery = MediaWriter(self.out, self.log.board, EXACT)
        self.saver = Saver(self.config.keep_checkpoints)

    def keep_history(self, data: str) -> None:
        """Write what the run is made by, its data being known by `data`; of a run that goes on, that it does."""
        self.history = self.changes.keep(Origin.of(self.config, data, machine(self.device)), self._reached())

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
                    self._take(phase, found)
                checkpoint.sweep(self.out / name, found, self.config.keep_checkpoints)
            return
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self._lock.__enter__()
            require_new_run(self.out)  # another process may have begun it meanwhile
            save_config(self.config, self.out / "config.yaml")
        except OSError as error:
            raise UserError(f"cannot write to {self.out}: {error.strerror}; choose another --out") from error

    def _take(self, phase: str, found: checkpoint.Found) -> None:
        """Go on from a checkpoint. Raises UserError for one without a step or times."""
        try:
            int(found.state["fit"]["step"])
            self.timer.seconds.update({name: float(s) for name, s in result_now(found.state["seconds"]).items()})
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{found.place} is not of this version of the program; train that part anew") from error
        self.saved[phase] = found.state

    def _kept(self) -> Kept:
        """What has been logged up to the checkpoints, but for what is measured after a phase: that is done anew."""
        saved = {phase: int(self.saved[phase]["fit"]["step"]) if phase in self.saved else NOTHING for phase in PHASES}
        model, agent = saved["world_model"], saved["agent"]
        taken_over = "recipe" in self.saved.get("world_model", {})  # and so nothing was logged while it was fitted
        model_before_end = NOTHING if taken_over else min(model, self.config.world_model_fit.steps - 1)
        agent_before_end = min(agent, self.config.agent_fit.updates - 1)
        undrawn = {phase: bool(self.saved.get(phase, {}).get("to_draw")) for phase in PHASES}  # at their last step
        return Kept(
            scalars={**saved, "open_loop": model_before_end, "result": NOTHING},
            drawn={
                "world_model": min(model_before_end, model - undrawn["world_model"]),
                **dict.fromkeys(("agent", "values"), min(agent_before_end, agent - undrawn["agent"])),
            },
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

    def left(self, phase: str) -> list[int]:
        """Which callbacks a signal has left undone at the step of a phase's checkpoint, by their numbers."""
        return list(self.saved.get(phase, {}).get("left", []))

    def save(self, phase: str, step: int, state: Mapping[str, Any], wait: bool = False) -> None:
        """Write a phase's checkpoint, with the time that was spent so far; first, what was logged and drawn until then.

        It is written beside the training; `wait` until it is on the disk. Raises UserError where it can't be written,
        or the one before could not.
        """
        with self.timer.section("checkpoints"), held():
            self._lock.require_held()
            self._leave_pictures()
            self.log.flush()
            drawn = self.gallery.pending()

            def first() -> None:  # a run that goes on draws nothing again that was due before its checkpoint
                drawn()
                self.log.sync()

            known = {**state, "seconds": dict(self.timer.seconds)}
            # A signal that comes while this waits leaves out the pictures that an earlier checkpoint waits for
            self.saver.save(self.out / PHASES[phase], step, known, first, self._leave_pictures)
            if wait:
                self.saver.wait(self._leave_pictures)

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
    def resume_words(self) -> tuple[str, ...]:
        """The arguments of `train` that go on with this run; its module has to be named by a user."""
        return run_words("train", self.out, self.task_name)

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
        """Wait for checkpoints and pictures, these for `GRACE` at most where the run is stopped, and close the log."""
        with ExitStack() as closing:
            closing.callback(self.log.close)
            closing.callback(self.gallery.close)
            closing.callback(self.saver.close)
            self._leave_pictures()

    def _leave_pictures(self) -> None:
        """Where the run is stopped, give pictures `GRACE` to be drawn: a checkpoint would wait for all of them."""
        undrawn = self.gallery.cut_off(GRACE) if self.interrupt.requested else 0
        if undrawn:
            print(f"{undrawn} pictures that were waiting to be drawn are left out", file=sys.stderr)

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
