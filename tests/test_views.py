"""What the views measure, against what can be computed by hand; and that what they draw is to be seen."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_agents import SMALL, A, F, dataset, draws
from test_world_model import TINY, make_model, segment
from torch import Tensor
from toy_models import Drift, drifting

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.networks import Actor
from latent_combo.agent.settings import NetworkConfig
from latent_combo.agent.tanh_gaussian import TanhGaussian
from latent_combo.diagnostics.panels.acting import imagine_policy
from latent_combo.diagnostics.panels.belief import Belief, believe
from latent_combo.diagnostics.panels.composite import composite_clip
from latent_combo.diagnostics.panels.conservatism import (
    Achieved,
    Values,
    achieved,
    discounted_returns,
    draw_conservatism,
    q,
    sample_values,
)
from latent_combo.diagnostics.panels.counterfactual import counterfactual, draw_counterfactual, draw_paths
from latent_combo.diagnostics.panels.dreams import Dreams, draw_dreams, dream_apart, dreams_clip
from latent_combo.diagnostics.panels.horizon import draw_horizon
from latent_combo.diagnostics.panels.latents import draw_latent_kl, latent_kl
from latent_combo.diagnostics.panels.probes import draw_probes, probe, probed_figures, real_vs_imagined_accuracy
from latent_combo.diagnostics.style import DREAMING, OBSERVING, fit
from latent_combo.world_model.base import ModelStep, Segment
from latent_combo.world_model.gaussian import Gaussian, kl_divergence, kl_per_dimension
from latent_combo.world_model.open_loop import MEASURES, open_loop

CPU = torch.device("cpu")


def agents(num_agents: int = 1, feature_dim: int = 2, action_dim: int = 2) -> ConservativeActorCritic:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return ConservativeActorCritic([SMALL] * num_agents, feature_dim, action_dim, CPU)


def test_a_belief_looks_one_step_ahead_while_it_sees_and_goes_on_from_itself_when_it_does_not() -> None:
    data = drifting()
    beliefs = believe(Drift(), data, context=4)
    assert len(beliefs) == 2
    for b, belief in enumerate(beliefs):
        truth, action = data.observation[b].numpy(), data.action[b].numpy()
        assert np.isnan(belief.predicted_reward[:, 0]).all() and np.isnan(belief.disagreement[0])
        for k in range(3):
            push = 1 + k / 10
            for t in range(1, 4):
                expected = truth[t - 1, 0] + push * action[t, 0]
                assert belief.predicted_reward[k, t] == pytest.approx(expected, abs=1e-5)
            expected = truth[3, 0] + push * action[4:, 0].cumsum()
            assert belief.predicted_reward[k, 4:] == pytest.approx(expected, abs=1e-5)
        std = 0.1 * np.sqrt(np.square(action[1:4]).mean(1))  # of pushes 1, 1.1, 1.2
        assert belief.disagreement[1:4] == pytest.approx(std, abs=1e-5)
        std = 0.1 * np.sqrt(np.square(action[4:].cumsum(0)).mean(1))
        assert belief.disagreement[4:] == pytest.approx(std, abs=1e-5)
        mean = truth[3] + 1.1 * action[4:].cumsum(0)
        assert belief.open_loop[4:] == pytest.approx(mean, abs=1e-5)
        assert belief.error[4:] == pytest.approx(np.abs(mean - truth[4:]), abs=1e-5)
        assert not belief.error[:4].any() and np.isnan(belief.kl).all()


def test_the_kl_of_a_belief_is_that_of_what_was_seen_to_what_was_expected() -> None:
    model, data = make_model().requires_grad_(False), segment(batch=1, length=6)
    (belief,) = believe(model, data, context=3)
    filtered, posterior = model.observe(data.observation, data.action, None)
    still = torch.zeros(1, 6)
    for t in (1, 2):
        _, priors = model.rssm.advance(filtered[:, t - 1], data.action[:, t], torch.zeros(1, dtype=torch.long), still)
        expected = kl_divergence(Gaussian(posterior.mean[:, t], posterior.std[:, t]), priors).mean()
        assert belief.kl[t] == pytest.approx(float(expected), rel=1e-4)
    assert np.isfinite(belief.kl[3:]).all() and belief.open_loop.dtype == np.uint8
    assert np.array_equal(belief.open_loop[:3], belief.posterior[:3])


def test_the_composite_clip_tells_seeing_from_dreaming() -> None:
    model, data = make_model(), segment(batch=1, length=12)
    (belief,) = believe(model, data, context=5)
    clip = composite_clip(belief, "episode 3, step 0")
    assert len(clip) == 12 and clip.dtype == np.uint8
    for t, frame in enumerate(clip):
        now, other = (OBSERVING, DREAMING) if t < 5 else (DREAMING, OBSERVING)
        border = frame[26 + 2 * 104 : 26 + 4 * 104, 116:120]  # the left border of open loop and error
        assert (border == now).all() and not (border == other).all(-1).any()
        assert (frame[26 : 26 + 2 * 104, 116:120] == OBSERVING).all()  # truth and posterior see on
        shown = frame[30:126, 120:216]
        assert np.array_equal(shown, fit(belief.truth[t], 96))
    cursors = [np.flatnonzero((frame[450] == DREAMING).all(-1)) for frame in clip[5:]]
    assert all(len(c) >= 2 for c in cursors)
    assert [c.max() for c in cursors] == sorted({c.max() for c in cursors})  # it moves on with every frame
    blank = (clip[0] == 255).all(-1)
    for y in (78, 182, 286, 390):  # the names of the rows
        assert not blank[y - 10 : y + 10, 8:110].all()


def test_vectors_are_drawn_as_timelines_by_the_same_code() -> None:
    (belief, _) = believe(Drift(), drifting(length=10), context=4)
    clip = composite_clip(belief, "states", ("speed", "height"))
    assert clip.shape[0] == 10
    moved = composite_clip(dataclasses.replace(belief, truth=-belief.truth), "states", ("speed", "height"))
    assert (clip[6] != moved[6]).mean() > 0.002
    unnamed = composite_clip(belief, "states")
    assert (clip[6] != unnamed[6]).any()
    dreams = dream_apart(Drift(), drifting(length=10), context=4)
    drawn = draw_dreams(dreams, ("speed", "height")).axes
    assert [axes.get_title() for axes in drawn] == ["speed", "height"]
    for d, axes in enumerate(drawn):
        curves = [*dreams.members[:, :, d], dreams.truth[:, d]]
        assert [line.get_ydata().tolist() for line in axes.lines] == [curve.tolist() for curve in curves]


def test_the_members_dreams_and_their_spread() -> None:
    data = drifting(length=8)
    dreams = dream_apart(Drift(), data, context=3)
    assert dreams.members.shape == (3, 5, 2)
    gone = data.action[0, 3:].cumsum(0).numpy()
    for k in range(3):
        assert dreams.members[k] == pytest.approx(data.observation[0, 2].numpy() + (1 + k / 10) * gone, abs=1e-5)
    assert dreams.std == pytest.approx(0.1 * np.abs(gone), abs=1e-5)

    model = make_model()
    clip = dreams_clip(dream_apart(model, segment(batch=1, length=8), context=3))
    assert len(clip) == 5
    same = np.repeat(np.full((1, 2, 4, 4, 3), 90, np.uint8), 3, 0)
    calm = dreams_clip(Dreams(same, same[0], np.zeros((2, 4, 4), np.float32)))
    last = calm[0][33:129, -103:-7]  # the column of the spread: nothing there
    assert last.max() < 16


def test_horizon_curves_show_the_model_and_both_baselines() -> None:
    data = segment(batch=2, length=10)
    quality = open_loop(make_model(), data, (torch.zeros(32, 32, 3), 0.5), 3, draws(), horizons=(1, 5))
    signal, reward, kl = draw_horizon(quality, 3).axes
    for axes, curves in (
        (signal, (quality.open_loop, quality.copy_last, quality.mean_observation)),
        (reward, (quality.reward_mae, quality.copy_last_reward_mae, quality.mean_reward_mae)),
        (kl, (quality.kl,)),
    ):
        assert [line.get_ydata().tolist() for line in axes.lines] == [list(curve.values()) for curve in curves]
        assert axes.lines[0].get_xdata().tolist() == [1, 5]
    vectors = open_loop(Drift(), drifting(length=10), (torch.zeros(2), 0.0), 3, draws(), (1, 5), torch.ones(2))
    assert vectors.kl == {} and vectors.measure == "nrmse" and quality.measure == "psnr"
    assert [signal.get_ylabel(), draw_horizon(vectors, 3).axes[0].get_ylabel()] == list(MEASURES.values())
    assert len(draw_horizon(vectors, 3).axes) == 2  # a model without posteriors has nothing to show in a third


def test_returns_are_discounted_from_each_row_on() -> None:
    reward = torch.tensor([[9.0, 1.0, 2.0, 4.0]])
    expected = torch.tensor([[1.0 + 0.5 * 2.0 + 0.25 * 4.0, 2.0 + 0.5 * 4.0, 4.0, 0.0]])
    torch.testing.assert_close(discounted_returns(reward, 0.5), expected)


class Scripted(Actor):
    """An actor whose likeliest action is fixed."""

    def __init__(self, action: Tensor) -> None:
        super().__init__(1, NetworkConfig(hidden=1, layers=1), 1, len(action))
        self.loc = action.atanh()

    def forward(self, feature: Tensor) -> TanhGaussian:
        loc = self.loc.expand(*feature.shape[:-1], -1)
        return TanhGaussian(loc, torch.zeros_like(loc))


class Halves(Drift):
    """Every imagined step adds a half to the state."""

    def imagine_step(self, feature: Tensor, action: Tensor, generator: torch.Generator) -> ModelStep:
        return ModelStep(feature + 0.5, feature[:, 0], torch.zeros(len(feature)))


def test_the_agent_acts_in_its_dream() -> None:
    actor = Scripted(torch.tensor([0.5, -0.25]))
    seen = imagine_policy(Drift(), actor, 3, torch.zeros(4, 2), 3, draws())
    torch.testing.assert_close(seen.reward, torch.tensor([0.5, 1.0, 1.5]).expand(4, -1))
    assert seen.action.shape == (4, 3, 2)


def states_of(segment: Segment) -> Callable[[Tensor], Tensor]:
    """What a filter that sees all believes at rows of the segments."""
    return lambda rows: segment.observation[:, rows]


def test_expected_and_achieved_return_belong_to_the_same_state_and_action() -> None:
    agent = agents(num_agents=2)
    agent.config = dataclasses.replace(SMALL, gamma=0.5)
    data = drifting(batch=2, length=40)
    push = torch.tensor([0.5, -0.25])
    agent.actor = Scripted(push)
    outcome = achieved(agent, Drift(), states_of(data), data, steps=8, context=3, generator=draws())
    returns = discounted_returns(data.reward, 0.5)
    rows = [0, 10, 20, 30]  # a fiftieth of the future lies beyond 6 steps, so 34 is the first row too late
    assert outcome.discounted_return == pytest.approx(returns[:, rows].flatten().numpy(), abs=1e-5)
    expected = [q(agent, data.observation[b, t][None], data.action[b, t + 1][None]) for b in range(2) for t in rows]
    assert outcome.value == pytest.approx(torch.cat(expected).detach().numpy(), abs=1e-5)
    starts = [3, 11, 19, 27]
    true = [data.reward[b, t + 1 : t + 9].sum() for b in range(2) for t in starts]
    assert outcome.true_return == pytest.approx(torch.stack(true).numpy(), abs=1e-4)
    dreamed = [8 * data.observation[b, t, 0] + 36 * push[0] for b in range(2) for t in starts]
    assert outcome.dream_return == pytest.approx(torch.stack(dreamed).numpy(), abs=1e-4)


def test_states_after_an_end_are_not_compared() -> None:
    agent, data = agents(), drifting(batch=2, length=40)
    agent.config = dataclasses.replace(SMALL, gamma=0.5)
    terminal = torch.zeros(2, 40, dtype=torch.bool)
    terminal[0, 10] = True
    ended = dataclasses.replace(data, terminal=terminal)
    outcome = achieved(agent, Drift(), states_of(data), ended, steps=8, context=3, generator=draws())
    assert len(outcome.value) == 1 + 4  # row 10 is the end itself
    assert len(outcome.true_return) == 1 + 4


def test_the_worst_episodes_are_told_apart() -> None:
    agent, data = agents(), drifting(batch=5, length=40)
    agent.config = dataclasses.replace(SMALL, gamma=0.5)
    reward = data.reward.clone()
    reward[3] = -1e6  # whatever its value is, it is above that
    failed = dataclasses.replace(data, reward=reward)
    outcome = achieved(agent, Drift(), states_of(data), failed, steps=8, context=3, generator=draws())
    assert outcome.of_worst.tolist() == [False] * 12 + [True] * 4 + [False] * 4  # one of five, its four rows
    found = outcome.figures()
    assert found["q_below_return_in_worst"] == 0.0 and found["q_minus_return_in_worst"] > 1e5
    assert found["q_below_return"] == pytest.approx((outcome.value <= outcome.discounted_return).mean())
    legend = draw_conservatism(Values(*[np.arange(3, dtype=np.float32)] * 3), outcome).axes[1].get_legend()
    labels = [text.get_text() for text in legend.get_texts()] if legend is not None else []
    assert "4 states of the 1 with the least return" in labels


def test_an_episode_that_the_task_ended_has_no_future_beyond() -> None:
    agent, data = agents(), drifting(batch=2, length=40)
    agent.config = dataclasses.replace(SMALL, gamma=0.99)  # a fiftieth lies beyond 390 steps
    terminal = torch.zeros(2, 40, dtype=torch.bool)
    terminal[0, 39] = True
    ended = dataclasses.replace(data, terminal=terminal)
    outcome = achieved(agent, Drift(), states_of(data), ended, steps=8, context=3, generator=draws())
    returns = discounted_returns(data.reward, 0.99)[0, [0, 10, 20, 30]]
    assert outcome.discounted_return == pytest.approx(returns.numpy(), rel=1e-5)


def test_values_are_the_first_agents_smaller_ones() -> None:
    agent = agents(num_agents=2, feature_dim=F, action_dim=A)
    feature, action = 9.0 * torch.randn(50, F, generator=draws()), torch.rand(50, A, generator=draws(1))
    zeros = torch.zeros(50, F), torch.zeros(50, A)  # of the second agent, which must not matter
    both = agent.critic(torch.stack([feature, zeros[0]]), torch.stack([action, zeros[1]])[:, :, None])[:, 0, :, 0]
    torch.testing.assert_close(q(agent, feature, action), torch.minimum(both[0], both[1]))
    assert bool((both[0] > both[1]).any() and (both[0] < both[1]).any())


def test_values_are_of_pairs_of_the_dataset_of_the_model_and_with_random_actions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    valued: list[tuple[Tensor, Tensor]] = []

    def note(agent: ConservativeActorCritic, feature: Tensor, action: Tensor) -> Tensor:
        valued.append((feature, action))
        return feature[:, 0]

    monkeypatch.setattr("latent_combo.diagnostics.panels.conservatism.q", note)
    agent = agents(num_agents=2, feature_dim=F, action_dim=A)
    sample_values(agent, Halves(), dataset(), 3, draws())
    (recorded, taken), (imagined, acted), (states, uniform) = valued
    torch.testing.assert_close(taken[:, 0], (recorded[:, 0] + 1) / 100)  # the action that row led to
    assert torch.equal(states, recorded) and float(uniform.min()) < -0.9 and float(uniform.max()) > 0.9
    halves = imagined[:, 0] % 1.0
    assert set(halves.tolist()) == {0.0, 0.5} and len(imagined) >= 1024  # two steps on, from the dataset's rows
    assert not torch.equal(acted[:1024], taken)


def test_conservatism_is_drawn_as_it_was_measured() -> None:
    rng = np.random.default_rng(0)
    values = Values(*(rng.normal(size=30).astype(np.float32) for _ in range(3)))
    points = [rng.random(4).astype(np.float32) for _ in range(4)]
    outcome = Achieved(*points, steps=50, episodes=4)
    figure = draw_conservatism(values, outcome)
    _, against, dreams = figure.axes
    assert np.asarray(against.collections[0].get_offsets()) == pytest.approx(np.stack([points[1], points[0]], 1))
    assert np.asarray(dreams.collections[0].get_offsets()) == pytest.approx(np.stack([points[3], points[2]], 1))
    share = float((points[0] <= points[1]).mean())
    assert outcome.figures()["q_below_return"] == share and f"{share:.0%}" in against.get_title()
    ratio = outcome.figures()["dream_over_true_return"]
    assert ratio == pytest.approx(points[2].sum() / points[3].sum(), rel=1e-5) and f"{ratio:.2f}" in dreams.get_title()
    none = np.zeros(0, np.float32)
    short = Achieved(none, none, none, none, steps=50, episodes=4)
    assert short.figures() == {}
    for missing in (short, None):
        texts = [text.get_text() for axes in draw_conservatism(values, missing).axes[1:] for text in axes.texts]
        assert texts == ["no episode of the policy to show it on"] * 2


def test_latent_kl_is_the_mean_over_rows_and_members() -> None:
    model, data = make_model(), segment(batch=2, length=4)
    row = latent_kl(model, data)
    filtered, posterior = model.requires_grad_(False).observe(data.observation, data.action, None)
    h = filtered[..., :12]
    priors = model.rssm.priors(h[:, 1:])
    expected = kl_per_dimension(Gaussian(posterior.mean[:, 1:], posterior.std[:, 1:]), priors).mean((0, 1, 2))
    assert row is not None and row == pytest.approx(expected.numpy(), rel=1e-4)
    assert latent_kl(Drift(), drifting()) is None
    assert row.shape == (TINY.dynamics.stochastic,)
    kl = np.array([[0.5, 0.002, 0.3], [0.2, 0.0, 0.7]], np.float32)
    heat, count, _ = draw_latent_kl([5, 10], kl).axes
    assert np.asarray(heat.collections[0].get_array()).reshape(3, 2) == pytest.approx(kl[:, [2, 0, 1]].T.clip(1e-3))
    assert count.lines[0].get_ydata().tolist() == [2, 2] and count.texts[0].get_text() == "2 of 3"


def test_probes_read_what_is_linear_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    feature, held_out = rng.normal(size=(600, 5)), rng.normal(size=(200, 5))
    weights = np.array([[2.0, 0.0], [0.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.5, 0.0]])

    def target(x: np.ndarray) -> np.ndarray:
        return x @ weights + [7.0, 0.0] + rng.normal(size=(len(x), 2)) * [0.0, 1.0]

    r_squared = probe(feature, target(feature), held_out, target(held_out))
    assert r_squared[0] > 0.999 and abs(r_squared[1]) < 0.1
    unbounded_angles = np.stack([np.linspace(0, 12, 9), np.arange(9.0)], 1)
    read, names = probed_figures(unbounded_angles, ("pitch", "knee"), ("pitch",))
    assert names == ("pitch, sine", "pitch, cosine", "knee")
    assert read[:, 0] == pytest.approx(np.sin(unbounded_angles[:, 0])) and read[:, 2] == pytest.approx(
        unbounded_angles[:, 1]
    )
    (axes,) = draw_probes(np.array([0.75, -0.5]), ("hip", "knee")).axes
    assert [bar.get_width() for bar in axes.patches] == [0.75, 0.0]
    assert [text.get_text() for text in axes.texts] == ["0.75", "-0.50"]


def test_states_of_one_distribution_are_not_told_apart_and_others_are() -> None:
    rng = np.random.default_rng(0)

    def rows(mean: float = 0.0, std: float = 1.0) -> NDArray[np.float64]:
        return mean + std * rng.standard_normal((3000, 4))

    assert real_vs_imagined_accuracy(rows(), rows(), rows(), rows()) == pytest.approx(0.5, abs=0.03)
    assert real_vs_imagined_accuracy(rows(), rows(1.0), rows(), rows(1.0)) > 0.8
    narrow = real_vs_imagined_accuracy(
        rows(), rows(0.0, 0.5), rows(), rows(0.0, 0.5)
    )  # as means are beside samples: by their squares
    assert narrow > 0.7
    # no rule does better than the ratio of densities: 1.5 |x|^2 against 4 log 2
    wide, close = (np.square(some).sum(1) > 4.0 * np.log(2.0) / 1.5 for some in (rows(), rows(0.0, 0.5)))
    assert narrow == pytest.approx((wide.mean() + 1.0 - close.mean()) / 2.0, abs=0.03)


def test_counterfactual_paths_by_hand_and_drawn() -> None:
    start, push = torch.tensor([1.0, 2.0]), torch.rand(4, 2, generator=draws())
    actions = {"dataset": push, "zero": torch.zeros_like(push), "mirrored": -push}
    true = (np.zeros((3, 4, 2), np.float32), np.ones((3, 4), np.float32))
    made = counterfactual(Drift(), start, start, actions, true)
    gone = 1.1 * push.cumsum(0)
    for path, expected in zip(made.predicted, (start + gone, start.expand(4, -1), start - gone), strict=True):
        assert path == pytest.approx(expected.numpy(), abs=1e-5)
    assert made.predicted_reward == pytest.approx(made.predicted[..., 0], abs=1e-5)
    assert made.kinds == ("dataset", "zero", "mirrored")
    axes = draw_paths(made).axes[0]
    assert axes.lines[0].get_ydata().tolist() == [1.0, *made.predicted[0, :, 0].tolist()]
    assert axes.lines[1].get_ydata().tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]  # the simulator's, dotted
    assert set(made.arrays()) >= {"predicted", "true", "true_reward"}

    model, data = make_model(), segment(batch=1, length=6)
    feature = model.encode(data.observation, data.action, None)[0, 2]
    images = counterfactual(model, feature, data.observation[0, 2], {"dataset": data.action[0, 3:]}, None)
    assert images.predicted.dtype == np.uint8 and "true" not in images.arrays()
    with_truth = dataclasses.replace(images, true=images.predicted, true_reward=images.predicted_reward)
    assert draw_counterfactual(with_truth).shape[0] > draw_counterfactual(images).shape[0]
    strip = draw_counterfactual(with_truth)
    for column, k in enumerate((0, 1, 3)):  # at 0, what was seen; then the prediction, and the truth beneath
        shown = images.start if k == 0 else images.predicted[0, k - 1]
        for top in (30, 126):
            assert np.array_equal(strip[top : top + 96, 150 + 96 * column : 246 + 96 * column], fit(shown, 96))


def test_a_belief_saves_every_number_that_it_shows() -> None:
    (belief, _) = believe(Drift(), drifting(), context=4)
    assert set(belief.arrays()) == {field.name for field in dataclasses.fields(Belief)}
