"""What agents are fed: batches, n-step outcomes, and the ring of imagined transitions."""

import dataclasses

import pytest
import torch
from small_agents import SMALL, A, F, dataset, draws
from torch import Tensor

from latent_combo.agent import offline
from latent_combo.agent.batch import Transitions
from latent_combo.agent.offline import NStepReturn, trajectory_weights, weighted_return
from latent_combo.agent.replay import EncodedDataset, ModelBuffer, mixed_batch, real_share

CPU = torch.device("cpu")


def test_the_buffer_is_a_ring() -> None:
    buffer = ModelBuffer(1, 4, 1, 1, CPU)
    for value in (1.0, 2.0, 3.0):
        rows = torch.full((1, 2, 1), value)
        buffer.add(Transitions(rows, rows, rows[..., 0], rows, rows[..., 0]))
    assert buffer.feature.flatten().tolist() == [3.0, 3.0, 2.0, 2.0]
    with pytest.raises(ValueError, match="divide"):
        rows = torch.zeros(1, 3, 1)
        buffer.add(Transitions(rows, rows, rows[..., 0], rows, rows[..., 0]))


def test_each_agent_samples_its_own_part_of_the_buffer() -> None:
    buffer = ModelBuffer(3, 4, F, A, CPU)
    own = torch.arange(3.0)[:, None]
    features = own[..., None].expand(3, 4, F)
    buffer.add(
        Transitions(features, own[..., None].expand(3, 4, A), own.expand(3, 4), features, own.expand(3, 4)),
    )
    for column in buffer.sample(10, draws()):
        assert bool((column.reshape(3, -1) == own).all())


def test_a_batch_is_f_real_and_its_transitions_are_rows_that_follow_each_other() -> None:
    data, buffer = dataset(), ModelBuffer(2, 4, F, A, CPU)
    fake = torch.full((2, 4, F), -1.0)
    buffer.add(Transitions(fake, torch.zeros(2, 4, A), torch.zeros(2, 4), fake, torch.zeros(2, 4)))
    batch = mixed_batch(data, buffer, real_share([5, 8], 10, CPU), draws())
    assert batch.real.sum(1).tolist() == [5.0, 8.0]
    real = batch.real.bool()
    row = batch.feature[..., 0][real]
    torch.testing.assert_close(batch.next_feature[..., 0][real], row + 1)
    torch.testing.assert_close(batch.reward[real], row + 1)  # reward[t+1] belongs to the step from t
    torch.testing.assert_close(batch.action[..., 0][real], (row + 1) / 100.0)
    assert not bool((row % 7 == 6).any())  # never from one episode into the next
    assert bool((batch.feature[~real] == -1.0).all())


def test_n_step_targets_stop_at_the_end_of_an_episode() -> None:
    data = dataset(steps=3, terminal=True)
    index = torch.tensor([0, 4, 5, 6])  # rows 0, 4 and 5 of the first episode, row 0 of the second (row 7)
    feature, _, reward, following, discount = data.transitions(
        index, torch.zeros(4, dtype=torch.int64), data.td_returns
    )
    assert feature[:, 0].tolist() == [0.0, 4.0, 5.0, 7.0]
    assert reward.tolist() == [1 + 0.5 * 2 + 0.25 * 3, 5 + 0.5 * 6, 6.0, 8 + 0.5 * 9 + 0.25 * 10]
    assert following[:, 0].tolist() == [3.0, 6.0, 6.0, 10.0]
    assert discount.tolist() == [0.125, 0.0, 0.0, 0.125]
    timed_out = dataset(steps=3).td_returns.discount[index]
    assert timed_out.tolist() == [0.125, 0.25, 0.5, 0.125]  # a time limit is bootstrapped through


def test_a_transition_is_seen_in_one_view_from_its_start_to_its_end() -> None:
    views, rows = torch.meshgrid(torch.arange(3.0), torch.arange(14.0), indexing="ij")
    data = EncodedDataset.from_rows(
        feature=torch.stack([views, rows], -1),
        action=torch.zeros(14, A),
        reward=torch.zeros(14),
        terminal=torch.zeros(14),
        is_first=torch.arange(14) % 7 == 0,
        config=dataclasses.replace(SMALL, target_steps=2),
    )
    for whole, steps in ((False, 2), (True, 6)):
        batch = mixed_batch(data, None, torch.ones(2, 200), draws(), whole)
        view, row = batch.feature.unbind(-1)
        end = torch.minimum(row + steps, row - row % 7 + 6)
        assert view.unique().tolist() == [0.0, 1.0, 2.0]
        assert torch.equal(batch.next_feature, torch.stack([view, end], -1))
    index, number = torch.arange(3), torch.tensor([2, 0, 1])
    assert data.states(index, number).tolist() == [[2.0, 0.0], [0.0, 1.0], [1.0, 2.0]]


def test_trajectory_weights_by_hand() -> None:
    reward = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0, 4.0, 0.0, -1.0, 1.0])  # returns 2, 4 and 0
    first = torch.tensor([1, 0, 0, 1, 0, 0, 1, 0, 0]).bool()
    weight = trajectory_weights(reward, first, 0.25)
    expected = torch.tensor([-2.0, 0.0, -4.0], dtype=torch.float64).exp().repeat_interleave(3)
    torch.testing.assert_close(weight, expected)
    assert trajectory_weights(reward, first, None).tolist() == [1.0] * 9
    assert trajectory_weights(reward[:3], first[:3], 1e-3).tolist() == [1.0] * 3  # all alike, none lost


LENGTHS, RETURNS = torch.tensor([3, 8, 5]), torch.tensor([0.0, 1.0, 4.0])


def three_episodes(temperature: float | None, from_first: float = 0.0) -> tuple[EncodedDataset, Tensor]:
    """Episodes of LENGTHS rows and of RETURNS, drawn by the latter, and which episode each row (16,) is of."""
    first = torch.tensor([0, 3, 11])
    reward = torch.zeros(16)
    reward[first + 1] = RETURNS
    data = EncodedDataset.from_rows(
        feature=torch.arange(16.0)[None, :, None],
        action=torch.zeros(16, A),
        reward=reward,
        terminal=torch.zeros(16),
        is_first=torch.zeros(16).index_fill(0, first, 1.0).bool(),
        config=dataclasses.replace(SMALL, trajectory_temperature=temperature, episode_start_fraction=from_first),
    )
    return data, torch.arange(3).repeat_interleave(LENGTHS)


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_rows_are_drawn_alike_or_by_the_returns_of_their_episodes(temperature: float | None) -> None:
    """For critics, policy and the starts of rollouts alike (Hong et al., 2023)."""
    data, episode = three_episodes(temperature)

    def shares(feature: Tensor) -> Tensor:
        return torch.bincount(episode[feature[0, :, 0].long()], minlength=3) / feature.shape[1]

    weight = (LENGTHS - 1).float()
    if temperature is not None:
        weight = weight * (torch.tensor([0.0, 0.25, 1.0]) / temperature).exp()  # each by its own episode's return
    batch = mixed_batch(data, None, torch.ones(1, 6000), draws())
    starts = data.states(*data.draw((1, 6000), draws()))
    for drawn in (batch.feature, starts):
        torch.testing.assert_close(shares(drawn), weight / weight.sum(), atol=0.03, rtol=0.0)
    left = data.monte_carlo_returns.reward[:, None]  # what each transition's episode had left
    share = (weight / weight.sum() / (LENGTHS - 1))[episode[data.source]]
    mean = float((share * left[:, 0]).sum())
    assert data.value_scale()[0] == pytest.approx(mean, rel=1e-5)
    assert data.value_scale()[1] == pytest.approx(float((share * (left[:, 0] - mean).square()).sum().sqrt()), rel=1e-5)


@pytest.mark.parametrize("temperature", [None, 0.1, 0.5])
@pytest.mark.parametrize("from_first", [0.0, 0.4])
def test_the_return_of_what_is_drawn_is_that_of_the_rows_drawn(
    temperature: float | None, from_first: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "FIRST_ROWS", 3)  # of episodes of 2, 7 and 4 transitions
    data, episode = three_episodes(temperature, from_first)
    config = dataclasses.replace(SMALL, trajectory_temperature=temperature, episode_start_fraction=from_first)
    share = data.cumulative_weight.diff(prepend=torch.zeros(1, dtype=torch.float64)) / data.cumulative_weight[-1]
    drawn = float((share * RETURNS[episode[data.source]]).sum())
    assert weighted_return(RETURNS.double().numpy(), (LENGTHS - 1).numpy(), config) == pytest.approx(drawn)


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_a_share_of_the_draws_falls_on_the_first_rows_of_episodes(temperature: float | None) -> None:
    lengths = torch.tensor([40, 100, 10])
    is_first = torch.cat([torch.arange(int(n)) == 0 for n in lengths])
    row = torch.cat([torch.arange(int(n)) for n in lengths])
    reward = torch.linspace(0.0, 1.0, len(row))
    config = dataclasses.replace(SMALL, trajectory_temperature=temperature)
    given = (torch.zeros(1, len(row), 1), torch.zeros(len(row), A), reward, torch.zeros(len(row)), is_first)
    before, after = (
        EncodedDataset.from_rows(*given, config=dataclasses.replace(config, episode_start_fraction=share))
        for share in (0.0, 0.3)
    )
    weights = [data.cumulative_weight.diff(prepend=torch.zeros(1, dtype=torch.float64)) for data in (before, after)]
    usual, found = (weight / weight.sum() for weight in weights)
    first = row[before.source] < 25
    assert float(found[first].sum()) == pytest.approx(0.3 + 0.7 * float(usual[first].sum()))
    torch.testing.assert_close(found[~first], 0.7 * usual[~first])
    torch.testing.assert_close(found[first] / found[first].sum(), usual[first] / usual[first].sum())
    index, _ = after.draw((20_000,), draws())
    assert float(first[index].float().mean()) == pytest.approx(float(found[first].sum()), abs=0.02)


def test_returns_to_the_end_are_those_of_adding_up_backwards() -> None:
    draws = torch.Generator().manual_seed(0)
    lengths, ends = (1, 9, 2, 30), (False, True, False, False)
    is_first = torch.cat([torch.arange(n) == 0 for n in lengths])
    last = torch.cat([is_first[1:], torch.ones(1, dtype=torch.bool)])
    reward = torch.randn(len(is_first), generator=draws)
    terminal = torch.zeros(len(is_first))
    terminal[last.nonzero().squeeze(-1)] = torch.tensor(ends).float()
    source = (~last).nonzero().squeeze(-1)
    whole = NStepReturn.monte_carlo(source, reward, terminal, last, 0.9)
    for position, row in enumerate(source.tolist()):
        end = next(r for r in range(row, len(last)) if last[r])
        summed = sum(0.9**k * float(reward[row + 1 + k]) for k in range(end - row))
        assert float(whole.reward[position]) == pytest.approx(summed, abs=1e-5)
        assert int(whole.row[position]) == end
        left = 0.0 if terminal[end] else 0.9 ** (end - row)
        assert float(whole.discount[position]) == pytest.approx(left, abs=1e-6)


def test_a_ring_is_drawn_from_as_far_as_it_is_filled_and_forgets_the_oldest() -> None:
    buffer, g = ModelBuffer(1, 6, F, A, CPU), draws()

    def add(value: float) -> None:
        part = torch.full((1, 2, F), value)
        buffer.add(Transitions(part, torch.zeros(1, 2, A), torch.full((1, 2), value), part, torch.zeros(1, 2)))

    seen = []
    for value in (1.0, 2.0, 3.0, 4.0, 5.0):
        add(value)
        seen.append(sorted(buffer.sample(200, g)[2].unique().tolist()))
    assert seen == [[1.0], [1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [3.0, 4.0, 5.0]]
    assert int(buffer.size) == 6 and int(buffer.position) == 4
