"""What an update is made of: how many rows are the dataset's, which are drawn, and its random numbers."""

import dataclasses

import pytest
import torch
from small_agents import SMALL, A, draws, make_agent

from latent_combo.agent.batch import Noise, draw_by_weight
from latent_combo.agent.replay import real_share
from latent_combo.agent.settings import real_rows
from latent_combo.agent.stack import penalised_rows


def test_the_random_numbers_of_an_update_are_uniform_where_eq_29_says_so_and_each_its_own() -> None:
    noise = Noise.draw(2, dataclasses.replace(SMALL, batch=256, num_sampled_actions=8, softmax_draws=2), A, draws())
    for numbers, low, high in ((noise.uniform, -1.0, 1.0), (noise.softmax, 0.0, 1.0)):
        assert low <= float(numbers.min()) < low + 0.01 and high - 0.01 < float(numbers.max()) <= high
        assert abs(float(numbers.mean()) - (low + high) / 2.0) < 0.02
    normal = {"policy": noise.policy, "next_action": noise.next_action, "actor": noise.actor}
    for name, numbers in normal.items():
        assert abs(float(numbers.mean())) < 0.1 and abs(float(numbers.std()) - 1.0) < 0.1, name
    drawn = torch.stack([noise.next_action, noise.actor, noise.policy[:, :, 0], noise.policy[:, :, 1]]).flatten(1)
    assert float((drawn.corrcoef() - torch.eye(4)).abs().max()) < 0.2


@pytest.mark.parametrize(("f", "rows"), [(0.7, 90), (0.8, 102), (0.5, 64), (1.0, 128), (1 / 256, 0), (3 / 256, 2)])
def test_the_datasets_rows_of_128_are_the_nearest_number(f: float, rows: int) -> None:
    """89.6 and 102.4, and a half goes to the even number."""
    assert real_rows(f, 128) == rows


def test_one_rounding_decides_which_rows_are_the_datasets() -> None:
    for batch in (64, 100, 128, 256):
        for thousandths in range(1, 1001):
            rows = real_rows(thousandths / 1000.0, batch)
            if rows == 0 or (thousandths + batch) % 7:  # every seventh is made
                continue
            config = dataclasses.replace(
                SMALL, real_ratio=thousandths / 1000.0, batch=batch, penalty_states="dataset", beta=1.0
            )
            assert penalised_rows([config]) == slice(0, rows)
            assert float(real_share([rows], batch, torch.device("cpu")).sum()) == rows
    agent = make_agent(dataclasses.replace(SMALL, real_ratio=0.575, batch=100, penalty_states="dataset"))
    assert agent.real_rows == [agent.penalised.stop]


def test_pairs_are_drawn_in_proportion_to_their_weights() -> None:
    weight = torch.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 0.0]])
    uniform = ((torch.arange(4000) + 0.5) / 4000).expand(2, -1).contiguous()
    drawn = draw_by_weight(weight.cumsum(-1), uniform)
    assert torch.bincount(drawn[0], minlength=3).tolist() == [1000, 0, 3000]
    assert drawn[1].unique().tolist() == [1]
    assert draw_by_weight(weight.cumsum(-1), torch.tensor([[0.0], [0.0]])).tolist() == [[0], [1]]
