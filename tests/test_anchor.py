"""Eq. 3 with an anchor to the data's actions: its formula, its units, and where it leads."""

import dataclasses

import pytest
import torch
from small_agents import SMALL, A, draws, make_agent, random_batch
from torch import Tensor

from latent_combo.agent.batch import Noise
from latent_combo.agent.extraction import LEAST_SIZE, VALUE
from latent_combo.agent.settings import AnchorBy


def twins(value: Tensor) -> Tensor:
    """The same values (S, B, N) from both critics, (2, S, B, N)."""
    return value.expand(2, *value.shape)


def test_eq_3_with_an_anchor_by_hand() -> None:
    """`c (alpha log pi - min Q) / mean |min Q|` over all rows, and |mode - a|^2 over the dataset's."""
    agents = [dataclasses.replace(SMALL, anchor=anchor) for anchor in (0.0, 2.5, 1e-6)]
    agent, batch, noise = make_agent(*agents), random_batch(3), Noise.draw(3, SMALL, A, draws())
    loss, metrics = VALUE.loss(agent, batch, noise)
    policy = agent.actor(batch.feature)
    action, log_policy = policy.sample(noise.actor)
    value = agent.critic(batch.feature, action[:, :, None]).squeeze(-1).amin(0)
    entropy = SMALL.initial_alpha * log_policy
    away = (policy.mode - batch.action).square().sum(-1)[:, :6].mean(-1)
    by_hand = [
        (entropy[0] - value[0]).mean(),
        2.5 * (entropy[1] - value[1]).mean() / value[1].abs().mean() + away[1],
        away[2],  # so small an anchor leaves the critics out
    ]
    torch.testing.assert_close(metrics["actor_loss"], torch.stack(by_hand).detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(metrics["squared_distance"], away.detach())
    grown = dataclasses.replace(batch, action=torch.where(batch.real[..., None] > 0, batch.action, 0.9))
    torch.testing.assert_close(VALUE.loss(agent, grown, noise)[0], loss)  # only the dataset's actions are an anchor


@pytest.mark.parametrize("extraction", ["value", "deterministic"])
@pytest.mark.parametrize(("by", "constant", "equal"), [("spread", 5.0, True), ("size", 5.0, False)])
def test_by_their_spread_an_anchor_weighs_the_same_whatever_is_added_to_all_values(
    extraction: str, by: AnchorBy, constant: float, equal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a constant added to all rewards does where episodes have no end: the policy's gradient is the same."""
    config = dataclasses.replace(SMALL, extraction=extraction, anchor=2.5, anchor_by=by)
    batch, noise, gradients = random_batch(1), Noise.draw(1, config, A, draws()), []
    for added in (0.0, constant):
        agent = make_agent(config)
        of_network = agent.critic.forward
        monkeypatch.setattr(agent.critic, "forward", lambda *given, of=of_network, added=added: of(*given) + added)
        loss, metrics = agent.extraction.loss(agent, batch, noise)
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, agent.actor_parameters)]))
        if by == "spread" and extraction == "deterministic":
            value = of_network(batch.feature, agent.actor(batch.feature).mode[:, :, None]).squeeze(-1).amin(0) + added
            by_hand = (
                -2.5 * value.mean() / (value - value.mean()).square().mean().sqrt() + metrics["squared_distance"] / A
            )
            torch.testing.assert_close(metrics["actor_loss"], by_hand.detach(), atol=1e-5, rtol=1e-4)
    assert torch.allclose(*gradients, atol=1e-6, rtol=1e-3) is equal


def test_an_anchored_policy_goes_where_values_grow_and_stays_near_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bandit: the value grows with the first action, the data's actions are 0; the best mode is c / 2 by mean |Q|."""
    modes = []
    for anchor in (0.2, 0.6):
        config = dataclasses.replace(SMALL, anchor=anchor, actor_learning_rate=1e-2, initial_alpha=1e-4)
        agent, g = make_agent(config), draws()
        monkeypatch.setattr(agent.critic, "forward", lambda _, action: twins(1.0 + action[..., 0]))
        batch = dataclasses.replace(random_batch(1), action=torch.zeros(1, 12, A))
        batch = dataclasses.replace(batch, real=torch.ones(1, 12))
        for _ in range(400):
            loss, _ = VALUE.loss(agent, batch, Noise.draw(1, config, A, g))
            agent.actor_optimiser.step(torch.autograd.grad(loss, agent.actor_parameters))
        mode = agent.actor(batch.feature).mode.detach().mean((0, 1))
        assert abs(float(mode[1])) < 0.05
        modes.append(float(mode[0]))
    for mode, anchor in zip(modes, (0.2, 0.6), strict=True):
        assert mode == pytest.approx(anchor / 2.0 / (1.0 + mode), abs=0.06)  # m = c / (2 mean |1 + m|)


def test_an_anchor_leaves_the_temperature_in_units_of_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of 150 and a peak of 0.12 a step of 0.1: with an anchor the entropy gets to its target as without one."""
    configs = [
        dataclasses.replace(SMALL, anchor=anchor, actor_learning_rate=1e-2, alpha_learning_rate=1e-2)
        for anchor in (0.0, 2.5)
    ]
    agent, g = make_agent(*configs), draws()
    monkeypatch.setattr(
        agent.critic, "forward", lambda _, action: twins(150.0 - 12.0 * (action - 0.3).square().sum(-1))
    )
    batch = dataclasses.replace(random_batch(2), action=torch.zeros(2, 12, A))
    entropies = [agent.improve_policy(VALUE, batch, Noise.draw(2, SMALL, A, g))["entropy"] for _ in range(800)]
    assert torch.stack(entropies[-200:]).mean(0).tolist() == pytest.approx([-A, -A], abs=0.2)


def test_values_that_are_all_alike_leave_an_anchor_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spread of nothing counts as `LEAST_SIZE`: c / D is bounded, and the loss is that of the data's actions."""
    config = dataclasses.replace(SMALL, anchor=2.5, anchor_by="spread", initial_alpha=1e-3)
    agent, batch, noise = make_agent(config), random_batch(1), Noise.draw(1, config, A, draws())
    monkeypatch.setattr(agent.critic, "forward", lambda _, action: twins(7.0 + 0.0 * action.sum(-1)))
    loss, metrics = VALUE.loss(agent, batch, noise)
    entropy = -metrics["entropy"] * 1e-3
    torch.testing.assert_close(loss.detach(), (2.5 / LEAST_SIZE * (entropy - 7.0) + metrics["squared_distance"]).sum())
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(loss, agent.actor_parameters))
