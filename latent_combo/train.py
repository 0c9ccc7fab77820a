"""`python -m latent_combo.train`: dataset -> world model -> latents -> policy -> score."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from combo_common.cli import run_cli
from combo_common.commands import command
from combo_common.files import write_atomically
from combo_common.memory import keep_freed_memory
from combo_common.seeding import generator
from data.dataset import Decoded
from data.load import Storage, load
from data.split import split_episodes
from latent_combo.config.command_line import parse, settings_files
from latent_combo.config.fitted import Recipe
from latent_combo.config.schema import Config
from latent_combo.diagnostics.agent import AgentViews, show_films
from latent_combo.diagnostics.curves import CURVES, draw_curves, joined
from latent_combo.diagnostics.model import Exhibits, ModelViews
from latent_combo.diagnostics.page import write_report
from latent_combo.evaluation.evaluator import Evaluator
from latent_combo.evaluation.result import Result, finished
from latent_combo.evaluation.result_parts import WorldModelResult
from latent_combo.latents.encode import encode_dataset
from latent_combo.pipeline.agent_phase import fit_agent, policy_of
from latent_combo.pipeline.load_run import load_fitted
from latent_combo.pipeline.model_phase import (
    check_endings,
    check_lengths,
    fit_world_model,
    keep_fitted,
    log_open_loop,
    transitions,
)
from latent_combo.pipeline.session import Session
from latent_combo.pipeline.summary import dataset_returns, log_result, seconds_of, summarise
from latent_combo.runtime.interrupt import Interrupt
from latent_combo.runtime.run_folder import REPORT, WORLD_MODEL
from latent_combo.runtime.speed import Meter
from latent_combo.world_model.base import WorldModel

STORAGE: dict[bool | None, Storage] = {None: "auto", True: "memmap", False: "memory"}
"""Where the setting `mapped` leaves images."""
LEAST_LENGTH = 2
"""Rows of an episode that agents can be trained on."""


def train(config: Config, resume: bool = False) -> Result:
    """Run all phases, or those that a stopped run has left, and return what they came to.

    Raises UserError for a dataset or setting that does not fit, when stopped by Ctrl-C (after saving), and for a loss
    or gradient that is not finite (before it is used).
    """
    keep_freed_memory()
    with Interrupt() as interrupt:
        session = Session(config, interrupt, resume)
        with session.timer.section("data"):
            data = load(
                config.dataset,
                session.task,
                config.seen,
                config.data_folder,
                STORAGE[config.mapped],
                config.skip_corrupt,
            )
        check_endings(data, session.task, config.dataset, config.seen.pixels and config.world_model.discount_head)
        train_episodes, held_out = split_episodes(len(data.lengths), config.held_out, config.seed_of_split)
        fitted = None
        if config.fitted is not None:  # and all that may be wrong with it is found before anything is written
            own = resume and (session.out / WORLD_MODEL).exists()
            source = session.out if own else Path(config.fitted)
            fitted = load_fitted(source, session.config, session.task, session.device)
        check_lengths(data, train_episodes, held_out, config.fit.length if fitted is None else LEAST_LENGTH)
        session.open()
        try:
            return _train(session, data, train_episodes, held_out, fitted)
        finally:
            session.close()


def _train(
    session: Session,
    data: Decoded,
    train_episodes: NDArray[np.int64],
    held_out: NDArray[np.int64],
    fitted: tuple[WorldModel, Recipe] | None,
) -> Result:
    """The phases, from the world model on."""
    config, task, timer = session.config, session.task, session.timer
    split = (train_episodes, held_out)
    exhibits = Exhibits.choose(
        task, data, split, session.gallery, config.views, config.encode, config.seed, session.device
    )
    model_views = ModelViews(exhibits)
    model_meter: Meter | None = None
    if fitted is None:
        steps = config.fit.steps
        model, model_meter = fit_world_model(session, data, train_episodes, held_out, model_views)
    else:
        model, steps = fitted[0], keep_fitted(session, *fitted)
    with timer.section("views"):
        quality = model_views.after(model, steps)
        log_open_loop(session, quality, steps)
        one_step = model.quality(lambda: transitions(data, held_out, config.seed, session.device))
    with timer.section("latents"):
        draws = generator(config.seed, session.device, "latents")
        encoded = encode_dataset(model, data, train_episodes, config.encode, config.agent, draws)
        alike = replace(config.agent, from_first=0.0)  # what is measured on held-out pairs is of all rows
        encoded_held_out = encode_dataset(model, data, held_out, config.encode, alike, draws)
    evaluator = Evaluator(task, config.seen, config.agent.stack, config.score)
    agent, agent_meter, looks = fit_agent(session, model, encoded, encoded_held_out, evaluator)
    with timer.section("score"):
        score = evaluator.final(policy_of(session, model, agent), record=config.views.episodes)
    evaluator.close()
    figures = WorldModelResult(open_loop=vars(quality), one_step=one_step, features=model_views.figures)
    returns = dataset_returns(data, train_episodes, config)
    result = summarise(session, returns, figures, score, looks, (model_meter, agent_meter))
    result.write(session.out)  # before the last views, so that none of them can cost a score
    log_result(session.log, config, result)
    with timer.section("views"):
        views = AgentViews(exhibits, model, agent, config.seen)
        updates = config.agent_fit.updates
        beliefs = views.after(encoded, config.agent_fit.horizon, score.recorded, updates)
        show_films(session.gallery, task, config.look, score, updates)
        session.gallery.wait()
    result = result.with_diagnostics(beliefs, seconds_of(session))
    result.write(session.out)
    curves = draw_curves(session.out)
    write_atomically(session.out / CURVES, joined(curves))
    write_atomically(session.out / REPORT, write_report(session.out, curves).encode())
    return result


def main() -> None:
    """Read the command line and train."""
    config, resume = parse(sys.argv[1:])
    if resume and (result := finished(Path(config.out))) is not None:
        print(f"{config.out} is finished, and stays as it is; score it again with: {command('evaluate', config.out)}")
        print(result.describe(config.out))
        return
    if not resume:
        print(f"dataset     {config.dataset} ({config.task})")
        print(f"settings    {', '.join(map(str, settings_files(sys.argv[1:])))}", flush=True)
    result = train(config, resume)
    print(result.describe(config.out))


if __name__ == "__main__":
    run_cli(main)
