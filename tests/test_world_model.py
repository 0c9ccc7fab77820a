import dataclasses
from unittest import mock

import pytest
import torch
from torch import Tensor

from latent_combo.numerics.finite import NonFiniteError
from latent_combo.world_model.augment import random_shift
from latent_combo.world_model.base import Segment
from latent_combo.world_model.conv import Decoder, Encoder
from latent_combo.world_model.dream import dream
from latent_combo.world_model.fit import Fit
from latent_combo.world_model.gaussian import Gaussian, half_squared_distance, kl_divergence, log_prob
from latent_combo.world_model.open_loop import horizons_within, nrmse, open_loop, psnr
from latent_combo.world_model.recurrent import RecurrentWorldModel, spread_of_members
from latent_combo.world_model.rssm import RSSM, EnsemblePrior
from latent_combo.world_model.settings import ConvConfig, FitConfig, RecurrentConfig, RSSMConfig

TINY = RecurrentConfig(
    conv=ConvConfig(
        image_size=32, encoder_channels=(4, 4, 8), decoder_input=16, decoder_channels=(8, 4), decoder_kernels=(5, 6, 6)
    ),
    dynamics=RSSMConfig(deterministic=12, stochastic=6, hidden=10, members=3),
    head_hidden=8,
)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_model(config: RecurrentConfig = TINY) -> RecurrentWorldModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RecurrentWorldModel(config, action_dim=2)


def segment(batch: int = 3, length: int = 5, size: int = 32, seed: int = 0) -> Segment:
    g = draws(seed)
    return Segment(
        torch.randint(256, (batch, length, size, size, 3), dtype=torch.uint8, generator=g),
        torch.rand(batch, length, 2, generator=g) * 2 - 1,
        torch.rand(batch, length, generator=g),
        torch.zeros(batch, length, dtype=torch.bool),
        torch.zeros(batch, length, dtype=torch.bool),
    )


def gaussians(*shape: int) -> Gaussian:
    return Gaussian(torch.randn(shape, generator=draws(1)), torch.rand(shape, generator=draws(2)) + 0.1)


def test_kl_and_density_are_those_of_torch() -> None:
    q, p = gaussians(4, 6), gaussians(4, 6)
    p = Gaussian(p.mean.flip(0), p.std.flip(1))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(*q), normal(*p)).sum(-1)
    torch.testing.assert_close(kl_divergence(q, p), expected)
    torch.testing.assert_close(log_prob(p, q.mean), normal(*p).log_prob(q.mean).sum(-1))


def test_the_loss_is_the_negative_evidence_lower_bound_by_hand() -> None:
    config = dataclasses.replace(TINY, kl_weight=0.3, reward_weight=2.0, discount_head=True)
    model, data = make_model(config), segment()
    loss, metrics = model.loss(data, draws(5))
    g = draws(5)  # the same noise and members, in the same order
    noise = torch.randn(3, 5, 6, generator=g)
    member = torch.randint(3, (3, 5), generator=g)
    h, z, posterior = model.rssm.observe(model.embed(data.observation), data.action, noise, torch.zeros(3, 18))
    feature = torch.cat([h, z], -1)
    image = model.decoder(feature.flatten(0, 1)).unflatten(0, (3, 5)).permute(0, 1, 3, 4, 2)
    target = data.observation.float() / 255.0 - 0.5
    image_loss = 0.5 * (image - target).square().sum((2, 3, 4)).mean()
    reward_loss = 0.5 * (model.reward(feature) - data.reward).square().mean()
    kl = torch.zeros(())
    for b in range(3):
        for t in range(5):  # one step and one member at a time
            prior = model.rssm.prior(h[b, t][None])
            k = member[b, t]
            kl = kl + kl_divergence(
                Gaussian(posterior.mean[b, t], posterior.std[b, t]), Gaussian(prior.mean[k, 0], prior.std[k, 0])
            )
    terminal_loss = -(1.0 - model.terminal(feature)).log().mean()
    torch.testing.assert_close(metrics["image"], image_loss)
    torch.testing.assert_close(metrics["reward"], reward_loss)
    torch.testing.assert_close(metrics["kl"], kl / 15)
    torch.testing.assert_close(metrics["terminal"], terminal_loss)
    torch.testing.assert_close(loss, image_loss + 2.0 * reward_loss + 0.3 * kl / 15 + terminal_loss)
    assert len(set(member[0].tolist())) > 1  # members change within a sequence


def test_the_rewards_error_may_count_in_the_spread_of_the_datasets_rewards() -> None:
    data = segment()
    as_it_is, scaled = (make_model(dataclasses.replace(TINY, scale_rewards=scale)) for scale in (False, True))
    for model in (as_it_is, scaled):
        model.set_reward_std(4.0)
    (plain, metrics), (less, _) = (model.loss(data, draws(5)) for model in (as_it_is, scaled))
    torch.testing.assert_close(plain - less, metrics["reward"] * (1.0 - 1.0 / 16.0))


def test_a_column_of_another_shape_is_not_broadcast() -> None:
    square = segment(batch=5, length=5)
    with pytest.raises(AssertionError):
        make_model().loss(dataclasses.replace(square, reward=square.reward[..., None]), draws())


def test_half_the_squared_distance_and_its_gradient_by_the_formula() -> None:
    mean = torch.randn(4, 2, 3, 5, dtype=torch.float64, generator=draws(), requires_grad=True)
    target = torch.randn(4, 2, 3, 5, dtype=torch.float64, generator=draws(1))
    found = half_squared_distance(mean, target)
    expected = 0.5 * (mean - target).square().sum((1, 2, 3))
    torch.testing.assert_close(found, expected)
    weight = torch.tensor([1.0, -2.0, 0.0, 0.5], dtype=torch.float64)  # each by its own incoming gradient
    (ours,), (theirs,) = (torch.autograd.grad((x * weight).sum(), mean, retain_graph=True) for x in (found, expected))
    torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradcheck(lambda x: half_squared_distance(x, target), mean)
    assert half_squared_distance(mean.bfloat16(), target.float()).dtype == torch.float32


def test_the_spread_of_members_is_their_variance_even_far_from_zero() -> None:
    means = 1e-6 * torch.randn(7, 40, generator=draws(), dtype=torch.float64)
    expected = float(means.var(0).mean().sqrt())
    assert float(spread_of_members(means)) == pytest.approx(expected, rel=1e-9)
    assert float(spread_of_members((1.0 + 1e-3 * means / 1e-6).float())) == pytest.approx(1e3 * expected, rel=1e-3)
    assert float(spread_of_members(means[:1])) == 0.0


def test_free_nats_stop_the_gradient_of_a_small_kl() -> None:
    model = make_model(dataclasses.replace(TINY, free_nats=1e6))
    loss, metrics = model.loss(segment(), draws())
    torch.testing.assert_close(loss, metrics["image"] + metrics["reward"] + 1e6)
    loss.backward()
    assert model.rssm.prior.weight_out.grad is None or not bool(model.rssm.prior.weight_out.grad.any())


def test_every_parameter_learns() -> None:
    model = make_model(dataclasses.replace(TINY, discount_head=True))
    model.loss(segment(batch=8, length=8), draws())[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.any()), name


def test_the_members_start_with_different_weights() -> None:
    prior = EnsemblePrior(TINY.dynamics)
    mean = prior(torch.ones(1, 12)).mean[:, 0]
    assert torch.pdist(mean).min().item() > 0.01


def test_filtering_online_equals_filtering_in_a_batch() -> None:
    model, data = make_model(), segment()
    batch = model.encode(data.observation, data.action, None)
    feature = torch.zeros(3, model.feature_dim)
    for t in range(5):
        feature = model.filter_step(feature, data.observation[:, t], data.action[:, t], None)
        torch.testing.assert_close(feature, batch[:, t])


def test_an_action_acts_on_the_row_that_it_led_to() -> None:
    model, data = make_model(), segment()
    changed = dataclasses.replace(data, action=data.action.clone())
    changed.action[:, 2] += 0.5
    before = model.encode(data.observation, data.action, None)
    after = model.encode(data.observation, changed.action, None)
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert bool((before[:, 2] != after[:, 2]).any(-1).all())


def test_priors_of_one_state_take_one_step_of_the_recurrence_for_all_members() -> None:
    model = make_model().requires_grad_(False)
    feature, action = torch.randn(6, model.feature_dim, generator=draws()), torch.rand(6, 2, generator=draws(1))
    with mock.patch.object(RSSM, "recur", autospec=True, side_effect=RSSM.recur) as recur:
        found = model.member_priors(feature, action)
    assert [len(call.args[1]) for call in recur.call_args_list] == [6]
    expected = model.predict_per_member(feature.expand(model.members, -1, -1), action).prior
    torch.testing.assert_close(found, expected)


def test_imagining_uses_the_member_that_was_drawn() -> None:
    model = make_model()
    feature = torch.randn(6, model.feature_dim, generator=draws())
    action, noise = torch.zeros(6, 2), torch.randn(6, 6, generator=draws(1))
    member = torch.tensor([0, 1, 2, 2, 1, 0])
    following, priors = model.rssm.advance(feature, action, member, noise)
    for row, k in enumerate(member.tolist()):
        expected = priors.mean[k, row] + priors.std[k, row] * noise[row]
        torch.testing.assert_close(following[row, 12:], expected)


def test_an_imagined_step_draws_a_member_and_noise_for_every_state() -> None:
    model = make_model(dataclasses.replace(TINY, discount_head=True))
    feature = torch.randn(1, model.feature_dim, generator=draws()).expand(40, -1)
    action = torch.zeros(40, 2)
    step = model.imagine_step(feature, action, draws(3))
    g = draws(3)  # the same draws, in the same order
    member = torch.randint(3, (40,), generator=g)
    noise = torch.randn(40, 6, generator=g)
    assert set(member.tolist()) == {0, 1, 2}
    expected, _ = model.rssm.advance(feature, action, member, noise)
    torch.testing.assert_close(step.feature, expected)
    torch.testing.assert_close(step.reward, model.reward(expected))
    torch.testing.assert_close(step.terminal, model.terminal(expected))
    assert bool((step.terminal > 0.0).all())
    assert len(step.feature[:, 12:].unique(dim=0)) == 40


@pytest.mark.parametrize("size", [64, 128])
def test_the_papers_convolutions(size: int) -> None:
    config = ConvConfig()
    if size == 128:
        config = ConvConfig(128, (32, 64, 128, 256, 256), 1024, (128, 64, 32, 32), (5, 5, 5, 6, 6))
    encoder, decoder = Encoder(config), Decoder(config, 384)
    assert encoder.embedding_dim == 1024
    assert encoder(torch.zeros(1, 3, size, size)).shape == (1, 1024)
    assert decoder(torch.zeros(1, 384)).shape == (1, 3, size, size)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="draw 32 pixels"):
        ConvConfig(image_size=64, decoder_channels=(8, 4), decoder_kernels=(5, 6, 6))
    with pytest.raises(ValueError, match="decoder_kernels has"):
        ConvConfig(decoder_kernels=(5, 6, 6))
    with pytest.raises(ValueError, match="too many"):
        ConvConfig(encoder_channels=(4,) * 6)


def test_random_shifts_move_whole_sequences_by_whole_pixels() -> None:
    image = torch.arange(2 * 3 * 8 * 8 * 3).remainder(251).to(torch.uint8).view(2, 3, 8, 8, 3)
    assert random_shift(image, 0, draws()) is image
    shifted = random_shift(image, 2, draws(1))
    for sequence, original in zip(shifted, image, strict=True):
        fits = [
            (y, x)
            for y in range(-2, 3)
            for x in range(-2, 3)
            if bool((sequence[:, 2:6, 2:6] == original[:, 2 + y : 6 + y, 2 + x : 6 + x]).all())
        ]
        assert len(fits) == 1


def steps(fit: Fit, count: int) -> dict[str, Tensor]:
    for _ in range(count):
        fit.take_step()
    return fit.model.state_dict()


def test_the_same_seed_gives_the_same_weights_and_a_fit_continues_exactly() -> None:
    config = FitConfig(steps=6, batch=3, length=5)
    whole = steps(Fit(make_model(), config, segment, draws()), 6)
    half = Fit(make_model(), config, segment, draws())
    steps(half, 3)
    rest = Fit(make_model(), config, segment, draws(9))
    rest.load_state_dict(half.state_dict())
    for name, value in steps(rest, 3).items():
        assert bool((value == whole[name]).all()), name


def test_a_bad_number_stops_before_any_weight_changes() -> None:
    data = segment()
    data.reward[0, 1] = float("inf")
    fit = Fit(make_model(), FitConfig(steps=3), lambda: data, draws())
    before = {name: value.clone() for name, value in fit.model.state_dict().items()}
    with pytest.raises(NonFiniteError, match="loss"):
        fit.take_step()
    for name, value in fit.model.state_dict().items():
        assert bool((value == before[name]).all())


def test_open_loop_looks_at_the_context_only_and_its_baselines_are_what_they_say() -> None:
    model, data = make_model(), segment(batch=2, length=8)
    hidden = dataclasses.replace(data, observation=data.observation.clone())
    hidden.observation[:, 3:] = 0
    seen = dream(model, data, 3, draws())
    blind = dream(model, hidden, 3, draws())
    torch.testing.assert_close(seen.feature, blind.feature)  # nothing of the later frames got in
    flat = torch.full((32, 32, 3), 100.0)
    quality = open_loop(model, data, (flat, 0.25), 3, draws(), horizons=(1, 5))
    last, truth = data.observation[:, 2], data.observation[:, 7]
    assert quality.copy_last[5] == pytest.approx(float(psnr(last, truth).mean()))
    assert quality.mean_observation[5] == pytest.approx(float(psnr(flat.expand(2, -1, -1, -1), truth).mean()))
    assert quality.mean_reward_mae[1] == pytest.approx(float((data.reward[:, 3] - 0.25).abs().mean()))
    assert quality.copy_last_reward_mae[1] == pytest.approx(float((data.reward[:, 3] - data.reward[:, 2]).abs().mean()))
    predicted = seen.mean(model, 7)
    assert quality.open_loop[5] == pytest.approx(float(psnr(predicted, truth).mean()))
    assert quality.reward_mae[5] == pytest.approx(
        float((seen.reward[:, :, 4].mean(0) - data.reward[:, 7]).abs().mean())
    )
    at = Gaussian(*(part[:, 7] for part in seen.posterior or ()))
    ahead = Gaussian(*(part[:, :, 4] for part in seen.prior))
    assert quality.kl[5] == pytest.approx(float(kl_divergence(at, ahead).mean()), rel=1e-5)
    with pytest.raises(ValueError, match="too short"):
        open_loop(model, data, (flat, 0.0), 4, draws(), horizons=(5,))
    assert [horizons_within(rows, 10) for rows in (60, 59, 11, 10)] == [(1, 5, 15, 50), (1, 5, 15), (1,), ()]


def test_each_member_dreams_on_from_its_own_state() -> None:
    model, data = make_model(), segment(batch=2, length=6)
    dreamed = dream(model, data, 3, None)
    assert dreamed.context == 3 and dreamed.feature.shape == (3, 2, 6, 18)
    still = torch.zeros(2, 6)
    for k in range(3):  # one member at a time, by the step that rollouts take
        feature = dreamed.filtered[:, 2]
        for t in range(3, 6):
            feature, priors = model.rssm.advance(feature, data.action[:, t], torch.full((2,), k), still)
            torch.testing.assert_close(dreamed.feature[k, :, t], feature)
            torch.testing.assert_close(dreamed.prior.std[k, :, t - 3], priors.std[k])
            torch.testing.assert_close(dreamed.reward[k, :, t - 3], model.reward(feature))


def test_psnr_by_hand() -> None:
    dark, grey = torch.zeros(2, 2, 3), torch.full((2, 2, 3), 25.5)
    assert float(psnr(dark, grey)) == pytest.approx(20.0)


def test_normalised_rmse_by_hand() -> None:
    truth = torch.tensor([[1.0, 30.0], [-1.0, -30.0]])
    scale = torch.tensor([1.0, 30.0])
    assert float(nrmse(truth, truth, scale)) == 0.0
    assert float(nrmse(torch.zeros(2, 2), truth, scale)) == pytest.approx(1.0)  # the mean
    off = truth + torch.tensor([[0.6, 0.0], [0.0, 24.0]])  # errors of 0.6 and 0.8 deviations in two of four numbers
    assert float(nrmse(off, truth, scale)) == pytest.approx(0.5)
