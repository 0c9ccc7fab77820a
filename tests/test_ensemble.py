"""The ensemble world model: its likelihood, its elites, its units, its endings."""

import math

import numpy as np
import pytest
import torch
from small_agents import SMALL
from toy_models import segment_of_states

from envs.builtin import BUILTIN as TASKS
from envs.make import make
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.replay import EncodedDataset, ModelBuffer
from latent_combo.agent.rollout import rollout
from latent_combo.world_model.base import Segment
from latent_combo.world_model.ensemble import EnsembleWorldModel, GaussianNetworks
from latent_combo.world_model.fit import Fit
from latent_combo.world_model.normaliser import Normaliser
from latent_combo.world_model.settings import EnsembleConfig, FitConfig
from latent_combo.world_model.termination_fns import TERMINATION_FNS

S, A = 3, 2
TINY = EnsembleConfig(members=4, elites=2, hidden=16, weight_decay=(1e-3, 2e-3, 4e-3))


def tiny(config: EnsembleConfig = TINY, ending: str = "none", seed: int = 0) -> EnsembleWorldModel:
    torch.manual_seed(seed)
    return EnsembleWorldModel(config, S, A, ending)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def segment(batch: int = 8, length: int = 2, seed: int = 0) -> Segment:
    return segment_of_states(batch, length, S, A, seed)


def scaled(model: EnsembleWorldModel) -> EnsembleWorldModel:
    """With units that are not 1."""
    model.set_normaliser(
        lambda: Normaliser(
            torch.tensor([1.0, -2.0, 0.5]), torch.tensor([2.0, 0.5, 1.5]),
            torch.tensor([0.1, 0.0, -0.2, 0.3]), torch.tensor([0.5, 2.0, 0.25, 3.0]),
        )
    )  # fmt: skip
    return model


def test_the_loss_is_the_likelihood_in_closed_form_and_the_decay_of_each_layer() -> None:
    model, data = scaled(tiny()), segment(8)
    loss, metrics = model.loss(data, draws())
    x = torch.cat([(data.observation[:, 0] - model.observation_mean) / model.observation_std, data.action[:, 1]], -1)
    change = torch.cat([data.observation[:, 1] - data.observation[:, 0], data.reward[:, 1:]], -1)
    y = (change - model.change_mean) / model.change_std
    expected = torch.zeros(())
    for k in range(4):
        own = slice(2 * k, 2 * k + 2)  # eight transitions are dealt out to four networks
        mean, log_variance = model.networks(x[own][None], torch.tensor([k]))
        normal = torch.distributions.Normal(mean[0], (0.5 * log_variance[0]).exp())
        expected = expected - (normal.log_prob(y[own]) + 0.5 * math.log(2.0 * math.pi)).mean()
    torch.testing.assert_close(metrics["nll"] * 4, expected.detach())
    decay = sum(0.5 * d * (w**2).sum() for d, w in zip(TINY.weight_decay, model.networks.weight, strict=True))
    bounds = 0.01 * (0.5 - -10.0) * (S + 1)
    torch.testing.assert_close(loss, 2.0 * expected + decay + bounds)  # as MOPO weighs them


def test_no_two_networks_see_the_same_transitions_or_start_alike() -> None:
    model, data = tiny(), segment(8)
    first = model.networks.weight[0]
    assert all(not torch.equal(first[0], first[k]) for k in range(1, 4))

    def gradients(of: Segment) -> torch.Tensor:
        return torch.autograd.grad(model.loss(of, draws())[0], model.networks.weight[0])[0]

    before = gradients(data)
    data.reward[2:4] += 5.0  # those of the second network
    changed = (gradients(data) != before).flatten(1).any(1)
    assert changed.tolist() == [False, True, False, False]


def test_log_variances_stay_within_soft_bounds() -> None:
    networks = GaussianNetworks(TINY, S + A, S + 1)
    with torch.no_grad():
        for extreme in (-1e3, 1e3):
            networks.bias[-1][..., S + 1 :] = extreme
            _, log_variance = networks(torch.randn(4, 10, S + A))
            assert log_variance.min() >= -10.0 - 1e-4 and log_variance.max() <= 0.5 + 1e-3


def test_units_come_from_the_transitions_and_what_never_changes_has_unit_1() -> None:
    rng = np.random.default_rng(0)
    before, after = (torch.from_numpy(rng.normal(3.0, 2.0, (50, 2)).astype(np.float32)) for _ in range(2))
    before[:, 1] = after[:, 1] = 7.0
    reward = torch.arange(50.0)
    scales = Normaliser.of(before, after, reward)
    torch.testing.assert_close(scales.observation_mean, torch.tensor([before[:, 0].mean(), 7.0]))
    torch.testing.assert_close(scales.observation_std, torch.tensor([before[:, 0].std(correction=0), 1.0]))
    torch.testing.assert_close(scales.change_mean[0], (after - before)[:, 0].mean())
    torch.testing.assert_close(scales.change_std[1:], torch.tensor([1.0, float(np.arange(50).std())]))


def test_each_network_keeps_its_best_weights_and_the_best_networks_are_the_elites(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, data = tiny(), segment()
    looks = iter([[4.0, 3.0, 2.0, 1.0], [1.0, 2.99, 2.5, 0.5], [1.5, 2.5, 1.99, 0.499]])
    monkeypatch.setattr(model, "errors", lambda _: torch.tensor(next(looks)))
    bias = model.networks.bias[0]
    with torch.no_grad():
        for look in range(3):
            bias.fill_(float(look))
            assert not model.validate(data, patience=2)
        model.restore_best()
    # the second look bettered the first and the last network, the third only the second: the rest is less than 1%
    assert bias[:, 0, 0].tolist() == [1.0, 2.0, 0.0, 1.0]
    assert model.best_error.tolist() == [1.0, 2.5, 2.0, 0.5]
    assert model.elite.tolist() == [3, 0]


def test_the_fit_ends_when_no_network_gets_better(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = tiny(), segment()
    fit = Fit(model, FitConfig(steps=100, patience=2), lambda: data, draws())
    errors = iter([1.0, 0.5, 0.499, 0.498, 0.1])
    monkeypatch.setattr(model, "errors", lambda _: torch.full((4,), next(errors)))
    looks = 0
    while not fit.done():
        fit.take_step()
        fit.validate(data)
        looks += 1
    assert looks == 4
    again = Fit(tiny(), FitConfig(steps=100, patience=2), lambda: data, draws())
    again.load_state_dict(fit.state_dict())
    assert again.done() and again.step == 4


def constant(model: EnsembleWorldModel) -> None:
    """Network k predicts k + 1 for everything, with hardly any variance."""
    with torch.no_grad():
        for weight in model.networks.weight:
            weight.zero_()
        model.networks.bias[-1][..., : S + 1] = torch.arange(1.0, 5.0)[:, None, None]
        model.networks.bias[-1][..., S + 1 :] = -30.0


def test_a_rollout_takes_one_elite_for_each_sample_and_moves_relative_to_the_state() -> None:
    model = tiny()
    constant(model)
    model.elite.copy_(torch.tensor([1, 3]))
    feature = torch.arange(21.0)[:, None].expand(21, S).contiguous()
    chosen = []
    for seed in range(40):
        step = model.imagine_step(feature, torch.zeros(21, A), draws(seed))
        member = step.reward.round()
        torch.testing.assert_close(step.feature, feature + step.reward[:, None], atol=0.1, rtol=0.0)
        assert set(member.tolist()) == {2.0, 4.0}
        assert 10 <= int((member == 2.0).sum()) <= 11  # dealt out evenly
        chosen.append(member == 2.0)
    share = torch.stack(chosen).float().mean(0)
    assert share.min() > 0.2 and share.max() < 0.8  # every sample meets both


def test_an_imagined_step_is_drawn_with_the_predicted_variance() -> None:
    model = scaled(tiny())
    constant(model)
    std = torch.tensor([0.5, 1.0, 2.0, 3.0])  # of the changes and of the reward, standardised
    with torch.no_grad():
        model.networks.bias[-1][..., : S + 1] = 1.0
        model.networks.bias[-1][..., S + 1 :] = 2.0 * std.log()
        model.networks.highest.fill_(50.0)  # bounds so far off leave log-variances as they are
        model.networks.lowest.fill_(-50.0)
        step = model.imagine_step(torch.full((20_000, S), 7.0), torch.zeros(20_000, A), draws())
    drawn = torch.cat([(step.feature - 7.0) * model.observation_std, step.reward[:, None]], 1)
    standardised = (drawn - model.change_mean) / model.change_std
    torch.testing.assert_close(standardised.std(0), std, rtol=0.03, atol=0.0)
    torch.testing.assert_close((standardised.mean(0) - 1.0) / std, torch.zeros(S + 1), rtol=0.0, atol=0.03)
    correlation = torch.corrcoef(standardised.T) - torch.eye(S + 1)
    assert float(correlation.abs().max()) < 0.03  # each number has noise of its own
    assert len(step.reward.unique()) > 19_000  # and so has each state


def test_the_held_out_error_of_each_network_is_its_own() -> None:
    model = scaled(tiny())
    constant(model)  # 1, 2, 3 and 4 for everything
    data = segment(10)
    truth = 2.8 * model.change_std + model.change_mean
    data.observation[:, 1] = data.observation[:, 0] + truth[:S]
    data.reward[:, 1] = truth[S]
    torch.testing.assert_close(model.errors(data), torch.tensor([1.8, 0.8, 0.2, 1.2]).square())
    model.validate(data, patience=0)
    model.restore_best()
    assert model.elite.tolist() == [2, 1]


def test_predictions_are_in_the_datasets_units() -> None:
    model = scaled(tiny())
    constant(model)
    model.elite.copy_(torch.tensor([0, 2]))
    observation = torch.tensor([[4.0, 5.0, 6.0]])
    feature = model.encode(observation[:, None], torch.zeros(1, 1, A), None)[:, 0]
    torch.testing.assert_close(model.decode(feature), observation)
    steps = model.predict_per_member(feature.expand(2, 1, S), torch.zeros(1, A))
    for k, standardised in enumerate((1.0, 3.0)):
        moved = observation + standardised * model.change_std[:S] + model.change_mean[:S]
        torch.testing.assert_close(model.decode(steps.feature[k]), moved)
        torch.testing.assert_close(steps.reward[k], (standardised * model.change_std[S] + model.change_mean[S])[None])
    torch.testing.assert_close(steps.prior.mean, steps.feature)
    filtered = model.filter_step(torch.full((1, S), 9.0), observation, torch.zeros(1, A), None)
    torch.testing.assert_close(filtered, feature)  # a state needs no memory


def test_the_quality_is_that_of_the_elites_mean_and_mixture() -> None:
    model = scaled(tiny())
    constant(model)
    with torch.no_grad():
        model.networks.bias[-1][..., S + 1 :] = 0.0
    model.elite.copy_(torch.tensor([0, 2]))  # they predict 1 and 3: together 2
    data = segment(40)
    found = model.one_step_metrics(lambda: data)
    change = torch.cat([data.observation[:, 1] - data.observation[:, 0], data.reward[:, 1:]], -1)
    together = 2.0 * model.change_std + model.change_mean
    rmse = (change - together).square().mean(0).sqrt()
    assert found["one_step_rmse"] == pytest.approx(rmse[:S].tolist(), rel=1e-4)
    assert found["reward_rmse"] == pytest.approx(float(rmse[S]), rel=1e-4)
    assert found["copy_rmse"] == pytest.approx(change[:, :S].square().mean(0).sqrt().tolist(), rel=1e-4)
    _, log_variance = model.networks(torch.zeros(4, 1, S + A))
    std = (0.5 * log_variance[0, 0]).exp() * model.change_std
    logs = [
        torch.distributions.Normal(k * model.change_std + model.change_mean, std).log_prob(change).sum(-1)
        for k in (1.0, 3.0)
    ]
    mixture = torch.stack(logs).double().exp().mean(0).log().mean()
    assert found["log_likelihood"] == pytest.approx(float(mixture), rel=1e-4)


@pytest.mark.parametrize("name", sorted(name for name, task in TASKS.items() if task.termination != "none"))
def test_robots_fall_in_the_model_when_they_fall_in_the_simulator(name: str) -> None:
    task = TASKS[name]
    env, rng = make(name, "state"), np.random.default_rng(0)
    seen, ended = [], []
    for seed in range(12):
        env.reset(seed=seed)
        for _ in range(200):
            state, _, terminated, _, _ = env.step(rng.uniform(-1, 1, task.action_dim).astype(np.float32))
            seen.append(state)
            ended.append(terminated)
            if terminated and rng.random() < 0.2:  # now and then, go on after the fall
                break
    said = TERMINATION_FNS[task.termination](torch.from_numpy(np.stack(seen)))
    assert any(ended) and not all(ended)
    # the simulator decides in float64: a state within rounding of a bound may differ
    assert (said.numpy() != np.array(ended)).mean() <= 1e-3


def test_a_task_without_falls_never_ends() -> None:
    assert not TERMINATION_FNS["none"](torch.full((5, 3), torch.nan)).any()


def test_a_rollout_that_falls_is_not_continued() -> None:
    """Without terminations, values of fallen states are bootstrapped: hopper learns to fall."""
    config = EnsembleConfig(members=4, elites=2, hidden=16, weight_decay=(0.0, 0.0))
    torch.manual_seed(0)
    model = EnsembleWorldModel(config, 11, 3, "hopper")
    with torch.no_grad():
        for weight in model.networks.weight:
            weight.zero_()
        model.networks.bias[-1][..., :12] = 0.0
        model.networks.bias[-1][..., 0] = -0.2  # falls by 0.2 m a step
        model.networks.bias[-1][..., 12:] = -30.0
    standing = torch.zeros(1, 20, 11)
    standing[..., 0] = 1.25
    agent = ConservativeActorCritic([SMALL], 11, 3, torch.device("cpu"))
    dataset = EncodedDataset.from_rows(
        standing, torch.zeros(20, 3), torch.zeros(20), torch.zeros(20), torch.arange(20) == 0, agent.config
    )
    buffer = ModelBuffer(1, 50, 11, 3, torch.device("cpu"))
    rollout(model, agent, dataset, buffer, rollout_batch_size=10, rollout_length=5, generator=draws())
    height, discount = buffer.next_feature[0, :, 0], buffer.discount[0]
    assert torch.equal(discount == 0.0, height <= 0.7)
    assert (buffer.feature[0, :, 0] > 0.7).all()  # what fell went on from a living state
    assert (discount == 0.0).sum() == 10  # 1.05, 0.85, 0.65: each branch fell in its third step, and began anew


def test_all_of_a_model_is_in_its_state() -> None:
    model, data = scaled(tiny()), segment(64)
    fit = Fit(model, FitConfig(steps=5), lambda: data, draws())
    for _ in fit:
        fit.validate(data)
    model.restore_best()
    other = tiny(seed=1)
    other.load_state_dict(model.state_dict())
    feature, action = torch.randn(10, S), torch.randn(10, A)
    ours, theirs = (m.imagine_step(feature, action, draws(3)) for m in (model, other))
    assert torch.equal(ours.feature, theirs.feature) and torch.equal(ours.reward, theirs.reward)


def test_it_learns_a_linear_system_better_than_copying() -> None:
    torch.manual_seed(0)
    rows = 4000
    state, action = torch.randn(rows, S), torch.rand(rows, A) * 2 - 1
    matrix, push = torch.randn(S, S) * 0.2, torch.randn(A, S) * 0.3
    after = state + state @ matrix + action @ push + 0.01 * torch.randn(rows, S)
    reward = state[:, 0] - action[:, 0]
    never = torch.zeros(rows, 2, dtype=torch.bool)
    zero = torch.zeros(rows)
    whole = Segment(
        torch.stack([state, after], 1), torch.stack([torch.zeros_like(action), action], 1),
        torch.stack([zero, reward], 1), never, never,
    )  # fmt: skip
    train, held_out = whole.first(3500), Segment(*(part[3500:] for part in whole.tensors().values()))
    model = tiny()
    model.set_normaliser(lambda: Normaliser.of(state[:3500], after[:3500], reward[:3500]))
    generator = draws()

    def sample() -> Segment:
        index = torch.randint(3500, (256,), generator=generator)
        return Segment(*(part[index] for part in train.tensors().values()))

    for _ in Fit(model, FitConfig(steps=800, learning_rate=3e-3), sample, generator):
        pass
    model.validate(held_out, 0)
    model.restore_best()
    found = model.one_step_metrics(lambda: held_out)
    assert isinstance(found["one_step_rmse"], list) and isinstance(found["copy_rmse"], list)
    for error, still in zip(found["one_step_rmse"], found["copy_rmse"], strict=True):
        assert error < 0.15 * still


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"elites": 8}, "elites is 8"),
        ({"members": 0}, "members is 0"),
        ({"weight_decay": (0.1,)}, "weight_decay"),
        ({"min_log_variance": 1.0}, "min_log_variance"),
    ],
)
def test_impossible_sizes_are_refused(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        EnsembleConfig(**wrong)
