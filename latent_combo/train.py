"""`python -m latent_combo.train`: dataset -> world model -> latents -> policy -> score."""

import json
import shlex
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from combo_common.cli import run_cli
from combo_common.commands import command
from combo_common.errors import UserError
from combo_common.files import write_atomically
from combo_common.memory import keep_freed_memory
from combo_common.versions import versions
from data.dataset import Decoded
from data.split import Split
from envs.tasks import Task
from latent_combo.agent.replay import weighted_return
from latent_combo.config.command_line import flat_settings, parse, settings_files
from latent_combo.config.schema import Config
from latent_combo.diagnostics.model import ModelViews
from latent_combo.diagnostics.page import REPORT
from latent_combo.evaluation.evaluator import Score
from latent_combo.evaluation.result import RESULT, read_result
from latent_combo.pipeline.agent_phase import Trained, fit_agent
from latent_combo.pipeline.encode_phase import encode
from latent_combo.pipeline.measure import (
    agent_callbacks,
    exhibits_of,
    measure_model,
    model_callbacks,
    play,
    scorer_of,
    show,
    write_pages,
)
from latent_combo.pipeline.model_phase import fit_world_model, keep_fitted
from latent_combo.pipeline.prepare import prepare
from latent_combo.pipeline.session import Session
from latent_combo.runtime.interrupt import Interrupt
from latent_combo.runtime.metrics import MetricsLog
from latent_combo.runtime.speed import Meter


def train(config: Config, resume: bool = False) -> dict[str, Any]:
    """Run all phases, or those that a stopped run has left, and return what `result.json` holds.

    Raises UserError for a dataset or setting that does not fit, when stopped by Ctrl-C (after saving), and for a loss
    or gradient that is not finite (before it is used).
    """
    keep_freed_memory()
    with Interrupt() as interrupt:
        session = Session(config, interrupt, resume)
        data, split, fitted = prepare(session)
        with session.opened():
            shown = exhibits_of(session, data, split)
            # A world model of the dataset (eq. 27), or one that is fitted already
            views = ModelViews(shown)
            if fitted is None:
                steps = session.config.fit.steps
                model, meter = fit_world_model(session, data, split, model_callbacks(session, views))
            else:
                model, steps, meter = fitted[0], keep_fitted(session, *fitted), None
            quality = measure_model(session, views, model, steps, data, split)
            # The dataset in its latents
            dataset, held_out = encode(session, model, data, split)
            # Conservative agents on these and on rollouts of the model (algorithm 1)
            with closing(scorer_of(session)) as scorer:
                evaluate = partial(play, session, model, scorer)
                callbacks = agent_callbacks(session, model, dataset)
                trained = fit_agent(session, model, dataset, held_out, evaluate, callbacks)
                with session.timer.section("score"):
                    score = evaluate(trained.agent)
            # What it came to, written before the last views, so that none of them can cost a score
            result = summarise(session, data, split, quality, score, trained, meter)
            write_result(session, result)
            log_result(session.log, session.config, result)
            result["beliefs"] = show(session, shown, model, trained.agent, dataset, score)
            write_result(session, result)
            write_pages(session)
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
    split: Split,
    quality: dict[str, Any],
    score: Score,
    trained: Trained,
    model_meter: Meter | None,
) -> dict[str, Any]:
    """What a run came to: the contents of `result.json`, its times and what the views found apart."""
    config, task = session.config, session.task
    returns, looks, agent_meter = score.returns, trained.looks, trained.meter
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
            data.episode_returns[split.train],
            data.lengths[split.train] - 1,
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
                trained.regularisers,
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


class _CallableModule(ModuleType):
    """A module that is called as its function of the same name, however `latent_combo.train` was reached."""

    def __call__(self, config: Config, resume: bool = False) -> dict[str, Any]:
        """See `train`."""
        return train(config, resume)


sys.modules[__name__].__class__ = _CallableModule

if __name__ == "__main__":
    run_cli(main)
