"""Terminations that no rule is known of: a head of the ensemble learns them, and rollouts end by it."""

import csv
import dataclasses
import math
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import safetensors.torch
import torch
import toy_pendulum
from small_agents import CPU, SMALL, draws
from test_pretrained import assert_same
from test_state_train import BRIEF, balance
from torch import Tensor
from toy_models import segment_of_states

from combo_common.errors import UserError
from data.dataset import TrajectoryDataset
from envs import builtin
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.replay import EncodedDataset, ModelBuffer
from latent_combo.agent.rollout import rollout
from latent_combo.api.policy_file import load_policy
from latent_combo.config.command_line import parse
from latent_combo.export import export, export_agent
from latent_combo.pipeline.build import build_world_model, load_pretrained
from latent_combo.pipeline.checks import check_endings, check_learnable
from latent_combo.pipeline.load_run import load_run
from latent_combo.runtime.media import MediaWriter
from latent_combo.train import train
from latent_combo.world_model.base import Segment
from latent_combo.world_model.ensemble import EnsembleWorldModel
from latent_combo.world_model.fit import Fit
from latent_combo.world_model.normaliser import Normaliser
from latent_combo.world_model.settings import EnsembleConfig, FitConfig
from latent_combo.world_model.terminal_head import least_improvement, terminal_metrics

CONFIG = EnsembleConfig(members=4, elites=2, hidden=16, weight_decay=(1e-5, 1e-5))
S, A = 3, 2
END = 1.0
"""Beyond which the walk ends, m."""
STEP = 0.25
"""Of the chain, m."""
LEARNED = dataclasses.replace(toy_pendulum.TASK, termination="learned")


def model_of(states: int = S, actions: int = A, ending: str = "learned") -> EnsembleWorldModel:
    torch.manual_seed(0)
    return EnsembleWorldModel(CONFIG, states, actions, ending)


def some_end(count: int = 8, length: int = 2) -> Segment:
    data = segment_of_states(count, length, S, A)
    return dataclasses.replace(data, terminal=torch.rand(count, length, generator=draws(3)) < 0.4)


def transitions(before: Tensor, action: Tensor, after: Tensor, terminal: Tensor) -> Segment:
    """Of states and actions (N, ...), with a reward of 1 each, as segments of two rows."""
    never = torch.zeros(len(before), 2, dtype=torch.bool)
    return Segment(
        torch.stack([before, after], 1), torch.stack([torch.zeros_like(action), action], 1),
        torch.ones(len(before), 2), never, torch.stack([never[:, 0], terminal], 1),
    )  # fmt: skip


def walk(count: int, seed: int) -> Segment:
    """A place in (-1, 1) that an action moves by up to 0.3 m, and rewards that nothing tells."""
    g = draws(seed)
    before = torch.rand(count, 1, generator=g) * 2.0 - 1.0
    action = torch.rand(count, 1, generator=g) * 2.0 - 1.0
    after = before + 0.3 * action + 0.02 * torch.randn(count, 1, generator=g)
    found = transitions(before, action, after, after[:, 0].abs() > END)
    found.reward[:, 1] = torch.randn(count, generator=g)
    return found


def chain(count: int, seed: int) -> Segment:
    """From 0, 0.25, 0.5 or 0.75 m on by 0.25 m, whatever the action; it ends at 1 m."""
    g = draws(seed)
    before = torch.randint(4, (count, 1), generator=g) * STEP
    action = torch.rand(count, 1, generator=g) * 2.0 - 1.0
    return transitions(before, action, before + STEP, before[:, 0] > 0.7)


def fitted(data: Segment, held_out: Segment, steps: int = 600) -> EnsembleWorldModel:
    states = data.observation.shape[-1]
    model, g = model_of(states, 1), draws()
    before, after = data.observation[:, 0], data.observation[:, 1]
    model.set_normaliser(lambda: Normaliser.of(before, after, data.reward[:, 1]))

    def sample() -> Segment:
        index = torch.randint(len(before), (256,), generator=g)
        return Segment(*(part[index] for part in data.tensors().values()))

    fit = Fit(model, FitConfig(steps=steps, learning_rate=2e-2, final_learning_rate=0.1), sample, g)
    while not fit.done():
        fit.take_step()
        if fit.step % 50 == 0:
            fit.validate(held_out)
    model.restore_best()
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def walked() -> EnsembleWorldModel:
    return fitted(walk(3000, 0), walk(500, 1))


def imagined(model: EnsembleWorldModel, start: Tensor, length: int) -> ModelBuffer:
    """Rollouts of uniform actions from states (N, S), in the dataset's units."""
    count, states = start.shape
    feature = model.encode(start[None], torch.zeros(1, count, 1), None)
    settings = dataclasses.replace(SMALL, rollout_actions="uniform", gamma=0.9)
    agent = ConservativeActorCritic([settings], states, 1, CPU)
    nothing = torch.zeros(count)
    dataset = EncodedDataset.from_rows(
        feature, torch.zeros(count, 1), nothing, nothing, torch.arange(count) == 0, agent.config
    )
    buffer = ModelBuffer(1, 200 * length, states, 1, CPU)
    rollout(model, agent, dataset, buffer, 200, length, draws())
    return buffer


def test_the_head_learns_where_a_walk_ends(walked: EnsembleWorldModel) -> None:
    found = walked.one_step_metrics(lambda: walk(2000, 2))
    base = least_improvement(walk(2000, 2).terminal[:, 1]) / 0.01
    assert found["terminal_cross_entropy"] < 0.2 * float(base)  # nats; the base rate's entropy is what no state says
    assert found["terminal_recall"] > 0.93 and found["terminal_false_alarms"] < 0.01
    assert found["explained"] > 0.4  # of the place and the reward, half of which can't be told


def test_rollouts_end_where_the_walk_does_and_go_on_from_living_states(walked: EnsembleWorldModel) -> None:
    buffer = imagined(walked, walk(400, 4).observation[:, 0], length=6)
    place = walked.decode(buffer.next_feature[0])[:, 0].abs()
    ended = buffer.discount[0] == 0.0
    beyond, within = place > END + 0.1, place < END - 0.15
    assert ended[beyond].float().mean() > 0.85 and int(beyond.sum()) > 20
    assert ended[within].float().mean() < 0.01
    assert torch.equal(buffer.discount[0][~ended].unique(), torch.tensor([0.9]))
    starts = walked.decode(buffer.feature[0])[:, 0].abs()  # of the living states alone a step is taken
    assert float((starts > END + 0.1).float().mean()) < 0.3 * float(beyond.float().mean())


def test_values_of_a_chain_that_ends_are_those_of_its_closed_form() -> None:
    """Each step pays 1: from n steps before the end it is worth (1 - gamma^n) / (1 - gamma), and without one 10."""
    model = fitted(chain(1000, 0), chain(200, 1), steps=400)
    buffer = imagined(model, torch.arange(4)[:, None].repeat(50, 1) * STEP, length=4)
    at, following = (
        (model.decode(f[0])[:, 0] / STEP).round().long().clamp(0, 5) for f in (buffer.feature, buffer.next_feature)
    )
    assert set(at.tolist()) == {0, 1, 2, 3}
    value = torch.full((6,), 10.0)  # so is what lies beyond the end, for a backup that does not stop there
    for _ in range(300):
        target = buffer.reward[0] + buffer.discount[0] * value[following]
        value = torch.tensor([float(target[at == n].mean()) if n < 4 else float(value[n]) for n in range(6)])
    expected = torch.tensor([(1.0 - 0.9**n) / 0.1 for n in (4, 3, 2, 1)])
    torch.testing.assert_close(value[:4], expected, rtol=0.02, atol=0.0)


def test_a_member_that_drew_a_state_says_whether_it_ends() -> None:
    model = model_of()
    assert model.terminal_head is not None
    with torch.no_grad():
        for parameter in (*model.networks.parameters(), *model.terminal_head.parameters()):
            parameter.zero_()
        model.networks.highest.fill_(-30.0)
        model.networks.lowest.fill_(-60.0)
        model.networks.bias[-1][..., S] = torch.arange(1.0, 5.0)[:, None]  # network k rewards with k + 1
        model.terminal_head.bias[-1][:, 0, 0] = torch.tensor([9.0, -1.0, 9.0, 2.0])
    model.elite.copy_(torch.tensor([1, 3]))
    for count in (20, 21):
        step = model.imagine_step(torch.randn(count, S, generator=draws()), torch.zeros(count, A), draws(1))
        assert set(step.reward.round().tolist()) == {2.0, 4.0}
        expected = torch.where(step.reward < 3.0, -1.0, 2.0).sigmoid()
        torch.testing.assert_close(step.terminal, expected)
    apart = model.predict_per_member(torch.zeros(2, 5, S), torch.zeros(5, A))
    torch.testing.assert_close(apart.terminal, torch.tensor([[-1.0], [2.0]]).sigmoid().expand(2, 5))


def test_the_head_looks_at_the_state_that_a_step_arrived_at() -> None:
    model, feature, action = model_of(), torch.randn(20, S, generator=draws()), torch.zeros(20, A)
    model.elite.fill_(2)  # one member, whoever is drawn
    step = model.imagine_step(feature, action, draws(1))
    assert model.terminal_head is not None
    logit = model.terminal_head(step.feature[None], torch.tensor([2]))[0]
    torch.testing.assert_close(step.terminal, logit.sigmoid())
    assert len(step.terminal.unique()) == 20


@pytest.mark.parametrize("length", [2, 3])
def test_the_loss_adds_the_cross_entropy_in_closed_form(length: int) -> None:
    model, data = model_of(), some_end(8, length)
    plain = model_of(ending="none")
    loss, metrics = model.loss(data, draws())
    alone, without = plain.loss(data, draws())
    assert model.terminal_head is not None
    state, ended = data.observation[:, 1:].reshape(-1, S), data.terminal[:, 1:].reshape(-1)
    assert 0 < int(ended.sum()) < len(ended)
    expected, own = torch.zeros(()), len(state) // 4
    for k in range(4):
        share = slice(own * k, own * (k + 1))
        chance = model.terminal_head(state[share][None], torch.tensor([k]))[0].sigmoid()
        expected = expected - torch.where(ended[share], chance.log(), (1.0 - chance).log()).mean()
    torch.testing.assert_close(metrics["terminal"] * 4, expected.detach())
    torch.testing.assert_close(loss, alone + 2.0 * expected)
    assert torch.equal(metrics["loss"], loss.detach()) and "terminal" not in without


def test_every_parameter_learns_and_the_networks_as_without_a_head() -> None:
    model, plain, data = model_of(), model_of(ending="none"), some_end(64)
    model.loss(data, draws())[0].backward()
    plain.loss(data, draws())[0].backward()
    found = dict(model.named_parameters())
    for name, parameter in found.items():
        assert parameter.grad is not None and bool(parameter.grad.any()), name
    for name, parameter in plain.named_parameters():
        assert torch.equal(found[name], parameter), name  # their first weights are the same, too
        assert parameter.grad is not None and torch.equal(found[name].grad, parameter.grad), name


def test_a_model_without_a_head_has_no_trace_of_one() -> None:
    names = set(model_of().state_dict())
    assert {name for name in names if "terminal" in name} == names - set(model_of(ending="none").state_dict())
    assert {name for name in names if "terminal" in name} == {
        "best_terminal_error",
        *(f"terminal_head.{kind}.{layer}" for kind in ("weight", "bias") for layer in range(3)),
        *(f"best_terminal_{kind}_{layer}" for kind in ("weight", "bias") for layer in range(3)),
    }


def test_heads_and_networks_keep_their_best_weights_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = model_of(), some_end()
    head = model.terminal_head
    assert head is not None
    least = float(least_improvement(data.terminal[:, 1]))
    errors = iter([1.0, 2.0, 3.0, 4.0])
    surprises = iter([[0.5, 0.5, 0.5, 0.5], [0.5 - 2.0 * least, 0.6, 0.5 - 0.5 * least, math.nan], *[[0.5] * 4] * 2])
    monkeypatch.setattr(model, "errors", lambda _: torch.full((4,), next(errors)))
    monkeypatch.setattr(type(head), "cross_entropy", lambda *_: torch.tensor(next(surprises)))
    stopped = []
    with torch.no_grad():
        for look in range(4):
            for part in (head, model.networks):
                part.bias[0].fill_(float(look))
            stopped.append(model.validate(data, patience=2))
        model.restore_best()
    assert head.bias[0][:, 0, 0].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert model.networks.bias[0].unique().tolist() == [0.0]
    assert model.best_terminal_error.tolist() == pytest.approx([0.5 - 2.0 * least, 0.5, 0.5, 0.5])
    assert stopped == [False, False, False, True]  # a head that got better is a reason to go on


def test_a_fit_to_data_without_terminations_ends_and_learns_that_none_terminate() -> None:
    data = segment_of_states(256, 2, S, A)
    model, held_out = model_of(), segment_of_states(64, 2, S, A, seed=1)
    fit = Fit(model, FitConfig(steps=3000, learning_rate=1e-2, patience=5), lambda: data, draws())
    while not fit.done():
        fit.take_step()
        if fit.step % 20 == 0:
            fit.validate(held_out)
    assert fit.step < 2000
    for tensor in (*model.state_dict().values(), *fit.optimiser.tensors()):
        assert bool(tensor.isfinite().all())
    step = model.imagine_step(torch.randn(500, S, generator=draws()), torch.zeros(500, A), draws())
    assert step.terminal.max() < 1e-2
    found = model.one_step_metrics(lambda: held_out)
    assert "terminal_recall" not in found and found["terminal_false_alarms"] == 0.0


def test_what_counts_as_better_is_a_share_of_the_base_rates_entropy() -> None:
    ended = torch.arange(98) < 24
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) * 0.01
    assert float(least_improvement(ended)) == pytest.approx(expected, rel=1e-5)
    assert 0.0 < float(least_improvement(torch.zeros(98, dtype=torch.bool))) < expected


def test_the_quality_by_hand() -> None:
    probability, ended = torch.tensor([0.9, 0.2, 0.6, 0.1, 0.0]), torch.tensor([True, True, False, False, False])
    found = terminal_metrics(probability, ended)
    assert (found["terminal_recall"], found["terminal_false_alarms"]) == (0.5, pytest.approx(1 / 3))
    nats = -(math.log(0.9) + math.log(0.2) + math.log(0.4) + math.log(0.9)) / 5
    assert found["terminal_cross_entropy"] == pytest.approx(nats, rel=1e-5)
    assert "terminal_false_alarms" not in terminal_metrics(probability[:2], ended[:2])


def episodes(*lengths: int, ending: tuple[bool, ...], seen: bool = True) -> TrajectoryDataset:
    rows, starts = sum(lengths), np.cumsum([0, *lengths[:-1]])
    terminal = np.zeros(rows, bool)
    terminal[starts + np.array(lengths) - 1] = ending
    return TrajectoryDataset(
        observation=np.zeros((rows, 4), np.float32), action=np.zeros((rows, 1), np.float32),
        reward=np.zeros(rows, np.float32), is_first=np.isin(np.arange(rows), starts), is_terminal=terminal,
        physics=None, lengths=np.array(lengths), endings_seen=seen,
    )  # fmt: skip


def test_terminations_that_the_model_would_not_see_are_refused() -> None:
    both = np.array([0, 1])
    ends = episodes(5, 9, ending=(True, False))
    check_learnable(ends, both, 5, "toy")
    check_learnable(episodes(5, 9, ending=(False, False)), both, 5, "toy")  # which never terminate
    check_endings(ends, LEARNED, "toy", True)
    for data, train_on, length, named in (
        (episodes(5, 9, ending=(True, False), seen=False), both, 2, "do not hold the states that they end in"),
        (ends, both[1:], 2, "none of those that the model is fitted to: 1 of at least 2 rows"),
        (ends, both, 6, "none of those that the model is fitted to: 1 of at least 6 rows"),
    ):
        with pytest.raises(UserError, match=named) as error:
            check_learnable(data, train_on, length, "toy")
        assert "\n" not in str(error.value) and "toy" in str(error.value)


def test_a_run_learns_terminations_and_its_model_is_exported_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*given: object) -> None:
        raise UserError("nothing draws here")

    monkeypatch.setattr(MediaWriter, "_submit", lambda gallery, work: None)
    monkeypatch.setattr("latent_combo.diagnostics.agent.film", nothing)
    out = tmp_path / "model.safetensors"
    with toy_pendulum.registered():
        with mock.patch.dict(builtin.BUILTIN, {LEARNED.name: LEARNED}):
            result = train(balance(tmp_path, "run", *BRIEF, "--agent.num_agents", "1"))
            export(tmp_path / "run", out)
            config = parse(["--world_model", str(out), "--device", "cpu"])[0]
            model, recipe = load_pretrained(out, config, LEARNED, CPU)
            assert_same(dict(model.state_dict()), dict(load_run(tmp_path / "run").world_model.state_dict()))
            policy = export_agent(tmp_path / "run", tmp_path / "policy.safetensors", 0)
            assert "read it with" in policy and load_policy(tmp_path / "policy.safetensors").act is not None
        assert recipe.metrics is not None and "terminal_recall" in recipe.metrics
        assert result.world_model.one_step["terminal_cross_entropy"] < math.log(2.0)
        with (tmp_path / "run" / "metrics.csv").open() as file:
            logged = {row["name"] for row in csv.DictReader(file)}
        assert {"terminal", "validation_terminal"} <= logged
        with pytest.raises(UserError, match="learned terminations, but those of toy-pendulum follow a rule") as error:
            load_pretrained(out, config, toy_pendulum.TASK, CPU)
        assert "\n" not in str(error.value)
        plain = build_world_model(config, toy_pendulum.TASK, CPU).state_dict()
    bare = tmp_path / "bare.safetensors"
    safetensors.torch.save_file(dict(plain), bare)
    with pytest.raises(UserError, match="has no terminal head, but terminations of toy-pendulum are learned") as error:
        load_pretrained(bare, config, LEARNED, CPU)
    assert "\n" not in str(error.value)
