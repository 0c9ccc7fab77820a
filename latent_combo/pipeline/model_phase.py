"""The first phase: fitting the world model, and measuring it on held-out episodes."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from combo_common.errors import UserError
from combo_common.seeding import generator, numpy_generator
from data.dataset import Decoded
from envs.tasks import Task
from latent_combo.config.fitted import Recipe
from latent_combo.diagnostics.held_out import LEAST
from latent_combo.diagnostics.model import ModelViews
from latent_combo.latents.encode import rows_of
from latent_combo.latents.feed import SegmentFeed
from latent_combo.latents.segments import SegmentSampler
from latent_combo.pipeline.load_run import build_world_model
from latent_combo.pipeline.session import Session
from latent_combo.runtime.speed import Meter
from latent_combo.world_model.base import Segment, WorldModel
from latent_combo.world_model.fit import Fit
from latent_combo.world_model.normaliser import Scales
from latent_combo.world_model.open_loop import OpenLoop
from latent_combo.world_model.termination_fns import ENDINGS

PHASE = "world_model"
LEAST_KNOWN_ENDINGS = 0.9
"""Share of a dataset's terminal states that the task's rule must call so."""
TRANSITIONS = 5000
"""Held-out ones that a model of single steps is measured on."""


def check_lengths(data: Decoded, train: NDArray[np.int64], held_out: NDArray[np.int64], length: int) -> None:
    """Raise UserError where no episode is long enough to train on, or to measure on, before anything is written."""
    SegmentSampler(data, train, length)
    SegmentSampler(data, held_out, max(length, LEAST))


def check_endings(data: Decoded, task: Task, name: str, model_learns_them: bool) -> None:
    """Raise UserError where episodes of a dataset end in a way that the model of it would not know."""
    if not data.is_terminal.any() or model_learns_them:
        return
    if data.observation.ndim == 4:
        raise UserError(
            f"episodes of {name} terminate, and a model without endings imagines on; "
            "set --world_model.discount_head true"
        )
    if not data.endings_seen and task.termination != "none":
        return  # the rows that would tell are not there
    known = ENDINGS[task.termination](torch.from_numpy(data.observation[data.is_terminal])).float().mean()
    if float(known) < LEAST_KNOWN_ENDINGS:
        raise UserError(
            f"episodes of {name} terminate, but {float(known):.0%} of their last states end {task.name} by the rule "
            f"that is known of it ({task.termination}); name the --task that the data are of"
        )


def fit_world_model(
    session: Session, data: Decoded, train: NDArray[np.int64], held_out: NDArray[np.int64], views: ModelViews
) -> tuple[WorldModel, Meter]:
    """Fit to the training episodes, or go on where a checkpoint stands. Returns the frozen model and its speed."""
    config, device, seed = session.config.fit, session.device, session.config.seed
    model = build_world_model(session.config, session.task, device)
    sampler = SegmentSampler(data, train, config.length, config.from_first)
    draws = generator(seed, device, "world model")
    feed = SegmentFeed(sampler, config.batch, seed, config.shift, draws)
    fit = Fit(model, config, feed, draws, feed.prepare, session.config.cuda_graphs)
    model.scale_by(lambda: scales_of(data, train))
    session.restore(PHASE, fit)
    held = (
        SegmentSampler(data, held_out, config.length)
        .sample(2 * config.batch, numpy_generator(seed, "held out"))
        .to(device)
    )
    meter = Meter(
        "frames", config.batch * config.length, model.operations(held, generator(seed, device, "flops")) / 2, device
    )
    clocks = session.clocks(config.steps, look=config.held_out_every)
    view = session.view_clock(config.steps)
    try:
        with session.progress("world model", config.steps, fit.step) as bar, session.keeping_bad_batches():
            while not fit.done():
                with session.timer.section(PHASE), meter.step():
                    metrics = fit.take_step()
                bar.update(1)
                log, look, save = (clocks[name](fit.step) for name in ("log", "look", "save"))
                draw = view(fit.step)
                if log or look or save or draw or fit.done() or session.interrupt.requested:
                    with session.timer.section(PHASE):
                        meter.wait(fit.capture_seconds)
                    fit.check()
                if log:
                    session.report(PHASE, fit.step, metrics, meter, bar, "loss")
                if look:
                    session.log.write(PHASE, fit.step, _held_out_loss(model, held, seed))
                    fit.look(held)
                    with session.timer.section("views"):
                        views.note_latents(model, fit.step)
                if draw:
                    with session.timer.section("views"):
                        log_open_loop(session, views.during(model, fit.step), fit.step)
                if fit.done():
                    model.settle()
                if save or fit.done() or session.interrupt.requested:
                    session.save(PHASE, {"fit": fit.state_dict()})
                session.stop_if_asked()
    finally:
        feed.close()
        fit.close()
    return model.requires_grad_(False), meter


def keep_fitted(session: Session, model: WorldModel, recipe: Recipe) -> int:
    """Make a fitted world model the run's own, so that all that reads runs finds it. Returns the steps of its fit."""
    steps = recipe.steps or 0
    if PHASE not in session.saved:
        fit = {"model": model.state_dict(), "step": steps, "stopped": True}
        session.save(PHASE, {"fit": fit, "recipe": recipe.to_json()})
    return steps


def scales_of(data: Decoded, episodes: NDArray[np.int64]) -> Scales:
    """The units of the given episodes' transitions; for vector observations."""
    rows = np.concatenate([np.arange(row.start, row.stop - 1) for row in rows_of(data, episodes)])
    if not data.endings_seen:
        rows = rows[~data.is_terminal[rows + 1]]
    before, after, reward = data.observation[rows], data.observation[rows + 1], data.reward[rows + 1]
    return Scales.of(*(torch.from_numpy(column) for column in (before, after, reward)))


def transitions(data: Decoded, episodes: NDArray[np.int64], seed: int, device: torch.device) -> Segment:
    """At most TRANSITIONS of the given episodes, all different, (B, 2, ...)."""
    sampler = SegmentSampler(data, episodes, 2)
    return sampler.at(sampler.distinct_rows(TRANSITIONS, numpy_generator(seed, "transitions"))).to(device)


def log_open_loop(session: Session, quality: OpenLoop, step: int) -> None:
    """Log how well the model predicts, a value for each figure and horizon."""
    figures = {f"{name}_{k}": value for name, values in vars(quality).items() for k, value in values.items()}
    session.log.write("open_loop", step, figures)


@torch.no_grad()
def _held_out_loss(model: WorldModel, segment: Segment, seed: int) -> dict[str, Tensor]:
    """The training loss of held-out segments, always with the same noise."""
    _, metrics = model.loss(segment, generator(seed, segment.action.device, "held out"))
    return {f"held_out_{name}": value for name, value in metrics.items()}
