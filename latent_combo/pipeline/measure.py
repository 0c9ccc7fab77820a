"""What a run measures and draws of its model and its agents, in callbacks of its phases and after them."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from combo_common.files import write_atomically
from combo_common.seeding import generator, numpy_generator
from data.dataset import TrajectoryDataset
from data.split import Split
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.frames import FrameStack
from latent_combo.agent.offline import OfflineDataset
from latent_combo.diagnostics.agent import AgentViews, show_films, show_values
from latent_combo.diagnostics.curves import CURVES, draw_curves, joined
from latent_combo.diagnostics.model import DiagnosticsContext, ModelViews
from latent_combo.diagnostics.page import write_report
from latent_combo.evaluation.result_parts import WorldModelResult
from latent_combo.evaluation.score import Score
from latent_combo.latents.segments import SegmentSampler
from latent_combo.pipeline.loop import Callback
from latent_combo.pipeline.session import Session
from latent_combo.runtime.clocks import Every
from latent_combo.runtime.run_folder import REPORT
from latent_combo.world_model.base import Segment, WorldModel
from latent_combo.world_model.open_loop import OpenLoop

TRANSITIONS = 5000
"""Held-out ones that a model of single steps is measured on."""


def context_of(session: Session, data: TrajectoryDataset, split: Split) -> DiagnosticsContext:
    """What all views of a run draw on."""
    config = session.config
    return DiagnosticsContext.choose(
        session.task, data, split, session.gallery, config.views, config.encode, config.seed, session.device
    )


def model_callbacks(session: Session, views: ModelViews) -> list[Callback[WorldModel]]:
    """While a world model is fitted: note its latents at every validation, and draw it when views are due."""
    config = session.config

    def draw(model: WorldModel, step: int) -> None:
        with session.interrupt.at_once():
            predictions = views.during(model, step)
        log_open_loop(session, predictions, step)

    return [
        Callback(
            Every(config.world_model_fit.validate_every, config.world_model_fit.steps), views.note_latents, "views"
        ),
        Callback(session.view_clock(config.world_model_fit.steps), draw, "views"),
    ]


def agent_callbacks(
    session: Session, model: WorldModel | FrameStack, dataset: OfflineDataset
) -> list[Callback[ConservativeActorCritic]]:
    """While agents are trained: show the distributions of their values when views are due."""
    config = session.config

    def draw(agent: ConservativeActorCritic, step: int) -> None:
        draws = generator(config.seed, session.device, "views, values")
        with session.interrupt.at_once():
            show_values(session.log.board, agent, model, dataset, config.agent_fit.rollout_length, step, draws)

    return [Callback(session.view_clock(config.agent_fit.updates), draw, "views")]


def measure_model(
    session: Session, views: ModelViews, model: WorldModel, steps: int, data: TrajectoryDataset, split: Split
) -> WorldModelResult:
    """Draw a fitted world model, and return how well it predicts held-out episodes."""
    with session.timer.section("views"):
        predictions = views.after(model, steps)
        log_open_loop(session, predictions, steps)
        one_step = model.one_step_metrics(
            lambda: transitions(data, split.validation, session.config.seed, session.device)
        )
    return WorldModelResult(open_loop=predictions.figures(), one_step=one_step, features=views.figures)


def show(
    session: Session,
    shown: DiagnosticsContext,
    model: WorldModel | FrameStack,
    agent: ConservativeActorCritic,
    dataset: OfflineDataset,
    score: Score,
) -> dict[str, float]:
    """Draw the trained agents and the first one's film; returns the figures that sum the views up."""
    config, updates = session.config, session.config.agent_fit.updates
    with session.timer.section("views"):
        views = AgentViews(shown, model, agent, config.observation_spec, simulate=config.score.episodes > 0)
        found = views.after(dataset, config.agent_fit.rollout_length, score.recorded, updates)
        show_films(session.gallery, session.task, config.look, score, updates)
        session.gallery.wait()
    return found


def write_pages(run: Path) -> None:
    """Write the learning curves and the report of a run whose result is written."""
    curves = draw_curves(run)
    write_atomically(run / CURVES, joined(curves))
    write_atomically(run / REPORT, write_report(run, curves).encode())


def transitions(data: TrajectoryDataset, episodes: NDArray[np.int64], seed: int, device: torch.device) -> Segment:
    """At most TRANSITIONS of the given episodes, all different, (B, 2, ...)."""
    sampler = SegmentSampler(data, episodes, 2)
    return sampler.at(sampler.distinct_rows(TRANSITIONS, numpy_generator(seed, "transitions"))).to(device)


def log_open_loop(session: Session, predictions: OpenLoop, step: int) -> None:
    """Log how well the model predicts, a value for each figure and horizon."""
    figures = {f"{name}_{k}": value for name, values in predictions.figures().items() for k, value in values.items()}
    session.log.write("open_loop", step, figures)
