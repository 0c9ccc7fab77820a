"""A run's result that no run came to, for the tests of what is read from one."""

from typing import Any

import numpy as np

from envs.registry import get_task
from latent_combo.evaluation.interim import InterimScores
from latent_combo.evaluation.result import Result
from latent_combo.evaluation.result_parts import (
    AgentResult,
    DatasetReturns,
    Setting,
    WorldModelResult,
)
from latent_combo.evaluation.score import PlayedEpisode, Score

TASK = get_task("walker-walk")
RETURNS = np.array([[700.0, 40.0, 650.0], [500.0, 510.0, 30.0]])
"""Of two agents, three episodes each; both fail once."""


def a_result(returns: np.ndarray[Any, np.dtype[np.float64]] = RETURNS) -> Result:
    """A result of agents with the given returns (S, E), before the last views."""
    states = np.zeros((2, 18))
    setting = Setting(
        obs="pixels",
        dataset="tiny",
        algorithm="combo",
        preset="quickstart",
        seed=3,
        agent={"beta": 0.5},
        pretrained_world_model=None,
    )
    agents = [AgentResult.of(TASK, own, f"{number}", {}, None, -1.5) for number, own in enumerate(returns)]
    psnr = {name: {1: 20.0, 5: 15.0} for name in ("open_loop_psnr", "copy_last_psnr", "mean_observation_psnr")}
    return Result.of(
        TASK,
        setting,
        Score(returns, PlayedEpisode(0, states), PlayedEpisode(0, states), np.zeros_like(returns)),
        agents,
        DatasetReturns(mean=300.0, most=800.0, drawn=350.0),
        evaluations=InterimScores(steps=[4, 8], returns=[[10.0, 20.0], [30.0, 40.0]]),
        world_model=WorldModelResult(
            open_loop=psnr, one_step={"explained": 0.9}, features={"real_vs_imagined_accuracy": 0.7}
        ),
        rates={"model_frames_per_s": None, "agent_updates_per_s": 90.0},
        share_of_matmul={"world_model": None, "agent": 0.2},
        seconds={"agent": 12.0},
    )
