"""Disagreement against true error."""

import math

import numpy as np
import pytest
import torch
from small_agents import draws
from toy_models import Drift, drifting

from latent_combo.diagnostics.panels.calibration import (
    Calibration,
    agreement,
    calibrate,
    correlations,
    draw_calibration,
    ranks,
)

CPU = torch.device("cpu")


def test_calibration_measures_by_hand() -> None:
    data = drifting(batch=5, length=4)
    feature, action = data.observation[:, 0], data.action[:, 1:3]
    truth = feature[:, None] + action.cumsum(1)
    found = calibrate(Drift(), feature, action, truth, torch.tensor([1.0, 2.0]), draws())
    gone = 0.1 * action.sum(1)  # the members' mean push is 1.1
    rms = (gone / torch.tensor([1.0, 2.0])).square().mean(-1).sqrt()
    assert found.observation_error == pytest.approx(rms.numpy(), abs=1e-5)
    assert found.latent_error == pytest.approx(gone.square().mean(-1).sqrt().numpy(), abs=1e-5)
    assert found.max_variance == pytest.approx(math.hypot(2.5**2, 0.25**2), abs=1e-5)  # the third member's
    std = 0.1 * action.square().mean(-1).sqrt().mean(1)
    assert found.mean_std == pytest.approx(std.numpy(), abs=1e-5)
    g, spreads = draws(), []
    for t in range(2):  # the same draws, in the same order
        member, noise = torch.randint(3, (5,), generator=g), torch.randn(5, 2, generator=g)
        prior = Drift().predict_per_member(truth[:, t].sub(action[:, t]).expand(3, -1, -1), action[:, t]).prior
        chosen = prior.mean[member, range(5)] + prior.std[member, range(5)] * noise
        spreads.append(torch.distributions.Normal(*prior).log_prob(chosen).sum(-1).std(0))
    assert found.log_prob_std == pytest.approx(torch.stack(spreads).mean(0).numpy(), rel=1e-4)


def test_agreement_against_closed_forms() -> None:
    x = np.linspace(0.0, 5.0, 50)
    exact = agreement(x, 3.0 * x + 1.0)
    assert (exact.slope, exact.intercept) == pytest.approx((1.0, 0.0), abs=1e-9)
    assert (exact.r_squared, exact.rank_correlation) == pytest.approx((1.0, 1.0))
    curved = agreement(x, np.exp(3.0 * x))
    assert curved.rank_correlation == pytest.approx(1.0) and curved.r_squared < 0.7
    assert agreement(x, -x).rank_correlation == pytest.approx(-1.0)
    assert agreement(np.ones(50), x).rank_correlation == 0.0
    noise = np.random.default_rng(0).normal(size=(2, 4000))
    assert abs(agreement(noise[0], noise[1]).rank_correlation) < 0.05


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0, 3.0])).tolist() == [4.0, 1.0, 4.0, 2.0, 4.0]
    # ranks 1, 2.5, 2.5 and 1.5, 1.5, 3: from their means, products that sum to 3/4, and squares to 3/2 each
    assert agreement(np.array([0.0, 1, 1]), np.array([0.0, 0, 1])).rank_correlation == pytest.approx(0.5)


def test_calibration_is_scaled_and_fitted_over_all_kinds_together() -> None:
    rng = np.random.default_rng(0)
    low, high = rng.random(20), 9.0 + rng.random(20)
    points = {name: Calibration(x, -x, rng.random(20), x, x) for name, x in (("dataset", low), ("random", high))}
    found = correlations(points)
    assert found["max_variance_observation_error_r_squared"] == pytest.approx(1.0)
    assert found["log_prob_std_latent_error_rank"] == pytest.approx(-1.0)
    assert found["log_prob_std_latent_error_rank_random"] == pytest.approx(-1.0)
    apart = {"dataset": Calibration(low, low, low, low, low), "random": Calibration(high, high, high, -high, 30 - high)}
    found = correlations(apart)  # together they rise, while within the second they fall
    assert found["max_variance_latent_error_rank"] > 0.3
    assert found["max_variance_latent_error_rank_random"] == pytest.approx(-1.0)
    figure = draw_calibration(points, 1, "somewhere")
    panel = figure.axes[0]
    x, y = np.asarray(panel.collections[0].get_offsets()).T
    assert x == pytest.approx((low - low.min()) / np.ptp([low, high])) and y == pytest.approx(x)
    assert len(panel.collections) == 2
    assert len(figure.axes) == 3  # the two errors are one, as where the latent is the observation
    assert len(draw_calibration(apart, 1, "somewhere").axes) == 6
    assert panel.lines[0].get_ydata() == pytest.approx([0.0, 1.0], abs=1e-6)
