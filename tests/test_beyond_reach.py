"""Values that no rewards like the dataset's could come to are noticed, and said once."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from small_agents import SMALL, dataset, make_agent
from toy_results import a_result

from latent_combo.agent.measures import BEYOND, validation_metrics
from latent_combo.config.schema import Config
from latent_combo.pipeline.beyond import BeyondReach


def test_the_highest_value_is_the_best_reward_for_ever() -> None:
    data = dataset(episodes=4, rows=7)  # rewards 1 to 27, of which 7, 14 and 21 lead to no row
    assert data.most_reward == 27.0 and data.least_reward == 1.0
    assert data.highest_value(0.9) == pytest.approx(270.0)
    assert data.highest_value(1.0) == math.inf


@pytest.mark.parametrize(("ends", "highest"), [(False, -20.0), (True, -2.0)])
def test_where_every_step_costs_the_end_is_the_best_there_is(ends: bool, highest: float) -> None:
    data = dataclasses.replace(dataset(terminal=ends), most_reward=-2.0)
    assert data.highest_value(0.9) == pytest.approx(highest)


def test_the_share_of_held_out_pairs_above_it_is_measured_of_each_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, data = make_agent(SMALL, SMALL), dataset()
    # an agent's values are 10 everywhere, the other's their row
    of_row = torch.stack([torch.full((), 0.0), torch.full((), 1.0)])[None, :, None, None]
    monkeypatch.setattr(agent.critic, "forward", lambda f, a: (10.0 + of_row * f[None, :, :, :1]).expand(2, -1, -1, -1))
    found = validation_metrics(agent, data, 0, highest=23.5)[BEYOND]
    assert float(found[0]) == 0.0
    rows = [row for row in range(28) if row % 7 < 6]  # which start a transition
    assert float(found[1]) == pytest.approx(np.mean([row > 13 for row in rows]), abs=0.05)
    assert validation_metrics(agent, data, 0)[BEYOND].tolist() == [0.0, 0.0]


def test_it_is_said_once_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    beyond = BeyondReach(Config(), dataclasses.replace(dataset(), most_reward=2.0))
    assert beyond.highest == pytest.approx(200.0)
    beyond.look({BEYOND: torch.tensor([0.0, 0.05])})
    assert not capsys.readouterr().err and beyond.shares == pytest.approx([0.0, 0.05])
    for _ in range(2):
        beyond.look({BEYOND: torch.tensor([0.0, 0.63])})
    said = capsys.readouterr().err
    assert said.count("agent 1: the values of 63% of held-out pairs are above 200") == 1
    assert "--agent.rollout_actions policy" in said


def test_a_result_says_it() -> None:
    result = a_result()
    assert "values" not in str(result).split()
    agents = [
        dataclasses.replace(agent, values_beyond_reach=share)
        for agent, share in zip(result.agents, (0.0, 0.3), strict=True)
    ]
    told = str(dataclasses.replace(result, agents=agents))
    assert "values      above what rewards can come to in 0%, 30% of held-out pairs" in told
