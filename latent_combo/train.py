"""`python -m latent_combo.train`: dataset -> world model -> latents -> policy -> score."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import latent_combo.own_packages  # noqa: F401
from combo_common.cli import run_cli
from combo_common.commands import command
from combo_common.errors import UserError
from combo_common.files import write_atomically
from combo_common.memory import keep_freed_memory
from combo_common.seeding import generator
from combo_common.versions import versions
from data.dataset import Decoded
from data.load import Storage, load
from data.split import split_episodes
from envs.tasks import Task
from latent_combo.agent.replay import weighted_return
from latent_combo.config.command_line import parse, settings_files
from latent_combo.config.fitted import Recipe
from latent_combo.config.saved import flat_settings
from latent_combo.config.schema import Config
from latent_combo.diagnostics.agent import AgentViews, show_film
from latent_combo.diagnostics.curves import draw_curves
from latent_combo.diagnostics.model import Exhibits, ModelViews
from latent_combo.diagnostics.page import REPORT, write_report
from latent_combo.evaluation.evaluator import Score, Scorer
from latent_combo.evaluation.result import RESULT, read_result
from latent_combo.latents.encode import encode_dataset
from latent_combo.pipeline.agent_phase import Looks, fit_agent, play
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
from latent_combo.runtime.interrupt import Interrupt
from latent_combo.runtime.metrics import MetricsLog
from latent_combo.runtime.run_folder import WORLD_MODEL
from latent_combo.runtime.speed import Meter
from latent_combo.world_model.base import WorldModel

STORAGE: dict[bool | None, Storage] = {None: "auto", True: "memmap", False: "memory"}
"""Where the setting `mapped` leaves images."""
LEAST_LENGTH = 2
"""Rows of an episode that agents can be trained on."""


def train(config: Config, resume: bool = False) -> dict[str, Any]:
    """Run all phases, or those that a stopped run has left, and return what `result.json` holds.

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
) -> dict[str, Any]:
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
    most = max(config.score.episodes, config.score.episodes_during_training)
    scorer = Scorer(task, config.seen, config.agent.stack, most, config.score.processes)
    agent, agent_meter, looks = fit_agent(session, model, encoded, encoded_held_out, scorer)
    with timer.section("score"):
        score = play(session, model, agent, scorer)
    scorer.close()
    result = summarise(
        session,
        data,
        train_episodes,
        {**vars(quality), **one_step, **model_views.figures},
        score,
        looks,
        (model_meter, agent_meter),
    )
    write_result(session, result)  # before the last views, so that none of them can cost a score
    log_result(session.log, config, result)
    with timer.section("views"):
        views = AgentViews(exhibits, model, agent, config.seen)
        updates = config.agent_fit.updates
        result["beliefs"] = views.after(encoded, config.agent_fit.horizon, score.recorded, updates)
        show_film(session.gallery, task, config.look, score, updates)
        session.gallery.wait()
    write_result(session, result)
    curves = draw_curves(session.out)
    write_atomically(session.out / "curves.png", curves)
    write_atomically(session.out / REPORT, write_report(session.out, curves).encode())
    return result


def write_result(session: Session, result: dict[str, Any]) -> None:
    """Write `result.json`, with the time that was spent so far."""
    result["seconds"] = {**session.timer.seconds, "views_in_background": session.gallery.seconds}
    write_atomically(session.out / RESULT, json.dumps(result, indent=2).encode())


def log_result(log: MetricsLog, config: Config, result: dict[str, Any]) -> None:
    """Put the final figures into the log, and with the settings into TensorBoard's HParams tab."""
    scores = {name: float(result[name]) for name in ("return_mean", "return_std", "normalised_score")}
    log.write("result", config.agent_fit.updates, scores)
    log.board.hyperparameters(flat_settings(config), {f"result/{name}": value for name, value in scores.items()})


def summarise(
    session: Session,
    data: Decoded,
    train_episodes: NDArray[np.int64],
    quality: dict[str, Any],
    score: Score,
    looks: Looks,
    meters: tuple[Meter | None, Meter],
) -> dict[str, Any]:
    """What a run came to: the contents of `result.json`, its times and what the views found apart."""
    config, task = session.config, session.task
    returns, (model_meter, agent_meter) = score.returns, meters  # no model's where it was fitted already
    return {
        **{name: getattr(config, name) for name in ("task", "obs", "dataset", "algorithm", "preset", "seed")},
        "agent": {
            name: getattr(config.agent, name)
            for name in (
                *("beta", "f", "rho", "mu", "extraction", "anchor", "backup"),
                *("trajectory_temperature", "from_first", "bfloat16"),
            )
        },
        "episodes": int(returns.size),
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
        "normalised_score": task.normalised_score(float(returns.mean())),
        "success_rate": success_rate(task, score),
        "dataset_return_mean": float(data.episode_returns.mean()),
        "dataset_return_max": float(data.episode_returns.max()),
        "dataset_return_drawn": weighted_return(
            data.episode_returns[train_episodes],
            data.lengths[train_episodes] - 1,
            config.agent,
        ),
        "random_return": task.random_return,
        "expert_return": task.expert_return,
        "agents": [
            {
                "label": label,
                "settings": own,
                "returns": [float(value) for value in of_agent],
                "return_mean": float(of_agent.mean()),
                "return_std": float(of_agent.std()),
                "normalised_score": task.normalised_score(float(of_agent.mean())),
                "last_fifth_std_over_mean": swing,
                "regulariser": regulariser,
            }
            for label, own, regulariser, of_agent, swing in zip(
                config.agent.labels(),
                config.agent.differences(),
                looks.regularisers,
                returns,
                looks.swing(config.agent_fit.updates, len(returns)),
                strict=True,
            )
        ],
        "looks": {"steps": looks.steps, "returns": looks.returns},
        "world_model": quality,
        "beliefs": {},
        "fitted": config.fitted,
        "rates": {"model_frames_per_s": model_meter and model_meter.rate, "agent_updates_per_s": agent_meter.rate},
        "share_of_matmul": {"world_model": model_meter and model_meter.share, "agent": agent_meter.share},
        "versions": versions(),
    }


def success_rate(task: Task, score: Score) -> float | None:
    """The share of episodes that end with the task done; None for a task whose reward does not tell."""
    return float((score.last_rewards >= 1.0).mean()) if task.rewards_success else None


def describe(result: dict[str, Any], out: str) -> str:
    """A result for people, in a few lines."""
    differ = any(agent["settings"] for agent in result["agents"])
    agents = ", ".join(
        f"{agent['return_mean']:.1f}" + (f" ({agent['label']})" if differ else "") for agent in result["agents"]
    )
    model = result["world_model"]
    psnr = ", ".join(
        f"{k} steps {model['open_loop_psnr'][k]:.1f} (copy {model['copy_last_psnr'][k]:.1f}, "
        f"mean {model['mean_observation_psnr'][k]:.1f})"
        for k in model["open_loop_psnr"]
    )
    weighted = result["agent"]["trajectory_temperature"] is not None or result["agent"].get("from_first")
    drawn = f"; as its rows are drawn {result['dataset_return_drawn']:.1f}" if weighted else ""
    return "\n".join(
        [
            f"return      {result['return_mean']:.1f} +- {result['return_std']:.1f} over {result['episodes']} episodes "
            f"({'of different settings' if differ else 'each agent'}: {agents})",
            f"dataset     {result['dataset_return_mean']:.1f} (at most {result['dataset_return_max']:.1f}{drawn})   "
            f"random {result['random_return']:.1f}   "
            f"expert {result['expert_return']:.1f}",
            f"normalised  {result['normalised_score']:.1f}"
            + ("" if result["success_rate"] is None else f"   success {result['success_rate']:.0%}"),
            f"prediction  PSNR in dB at {psnr}",
            f"time        {', '.join(f'{name} {s:.0f} s' for name, s in result['seconds'].items())}",
            f"files       {out}/{REPORT} (all of it on a page), {out}/result.json, {out}/videos; "
            f"tensorboard --logdir {shlex.quote(out)}",
        ]
    )


def finished(out: Path) -> dict[str, Any] | None:
    """What a run came to whose last phase is done, views included; None for any other, or where it can't be read."""
    try:
        result = read_result(out)
    except UserError:  # whose remedy is to go on
        return None
    return result if result and result.get("beliefs") else None


def main() -> None:
    """Read the command line and train."""
    config, resume = parse(sys.argv[1:])
    if resume and (result := finished(Path(config.out))) is not None:
        print(f"{config.out} is finished, and stays as it is; score it again with: {command('evaluate', config.out)}")
        print(describe(result, config.out))
        return
    if not resume:
        print(f"dataset     {config.dataset} ({config.task})")
        print(f"settings    {', '.join(map(str, settings_files(sys.argv[1:])))}", flush=True)
    result = train(config, resume)
    print(describe(result, config.out))


if __name__ == "__main__":
    run_cli(main)
