"""What a run came to, put together from what its phases gave."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.dataset import TrajectoryDataset
from latent_combo.agent.offline import weighted_return
from latent_combo.agent.selection import rank_correlation
from latent_combo.config.saved import flat_settings
from latent_combo.config.schema import Config
from latent_combo.evaluation.result import Result
from latent_combo.evaluation.result_parts import AgentResult, DatasetReturns, Setting, WorldModelResult
from latent_combo.evaluation.score import Score
from latent_combo.pipeline.agent_phase import Trained
from latent_combo.pipeline.session import Session
from latent_combo.runtime.metrics import MetricsLog
from latent_combo.runtime.speed import Meter

AGENT_SETTINGS = (
    *("beta", "real_ratio", "penalty_states", "rollout_actions", "extraction", "anchor", "backup"),
    *("anchor_by", "scale_beta", "trajectory_temperature", "episode_start_fraction"),
    *("policy_average", "batch", "bfloat16"),
)
"""The agent's settings that a result says."""
FIRST = ("seed", "algorithm", "agent.beta")
"""The columns that the HParams tab begins with."""


def summarise(
    session: Session,
    dataset: DatasetReturns,
    world_model: WorldModelResult,
    score: Score,
    trained: Trained,
    model_meter: Meter | None,
    selected: int | None = None,
) -> Result:
    """A run's result but for what the last views find.

    The score is of all agents, or of the one that was `selected`; the others then have none.
    `model_meter` is the speed of the first phase, None for a world model that was fitted elsewhere, or is none.
    """
    config, evaluations, agent_meter = session.config, trained.evaluations, trained.meter
    returns = list(score.returns)
    if selected is not None:
        returns = [np.empty(0)] * config.agent.num_agents
        returns[selected] = score.returns[0]
    last = evaluations.returns[-1] if evaluations.returns else [None] * len(returns)
    agents = zip(
        returns,
        config.agent.labels(),
        config.agent.differences(),
        evaluations.coefficient_of_variation(config.agent_fit.updates, len(returns)),
        trained.regularisers,
        trained.beyond_reach,
        trained.minus_returns,
        strict=True,
    )
    return Result.of(
        session.task,
        setting_of(config),
        score,
        [AgentResult.of(session.task, *agent) for agent in agents],
        dataset,
        selected=selected,
        rank_correlation=None if selected is None else rank_correlation(trained.regularisers, last),
        evaluations=evaluations,
        world_model=world_model,
        rates={
            "model_frames_per_s": None if model_meter is None else model_meter.rate,
            "agent_updates_per_s": agent_meter.rate,
        },
        share_of_matmul={
            "world_model": None if model_meter is None else model_meter.share,
            "agent": agent_meter.share,
        },
        seconds=seconds_of(session),
        resumed=0 if session.history is None else len(session.history.resumptions),
        changes=() if session.history is None else session.history.changes,
    )


def setting_of(config: Config) -> Setting:
    """What the result says of the settings."""
    return Setting(
        **{name: getattr(config, name) for name in ("obs", "dataset", "algorithm", "preset", "seed")},
        pretrained_world_model=config.world_model,
        agent={name: getattr(config.agent, name) for name in AGENT_SETTINGS},
    )


def dataset_returns(data: TrajectoryDataset, train: NDArray[np.int64], config: Config) -> DatasetReturns:
    """Returns of all episodes, and of the training ones as the agent draws their rows."""
    returns = data.episode_returns
    drawn = weighted_return(returns[train], data.lengths[train] - 1, config.agent)
    return DatasetReturns(mean=float(returns.mean()), most=float(returns.max()), drawn=drawn)


def seconds_of(session: Session) -> dict[str, float]:
    """The time that was spent so far, by part of the run; pictures are drawn beside it."""
    return {**session.timer.seconds, "views_in_background": session.gallery.seconds}


def log_result(log: MetricsLog, config: Config, result: Result) -> None:
    """Put the final figures into the log, and with the settings into TensorBoard's HParams tab."""
    scores = result.scores()
    log.write("result", config.agent_fit.updates, scores)
    settings: dict[str, Any] = flat_settings(config)
    settings = {name: settings[name] for name in FIRST} | settings  # the tab has them in this order
    log.board.hyperparameters(settings, {f"result/{name}": value for name, value in scores.items()})
