"""Vectors beside images: what the world model makes of both, and what it is without them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from data.dataset import TrajectoryDataset
from latent_combo.diagnostics.panels.horizon import draw_horizon
from latent_combo.latents.feed import SegmentFeed
from latent_combo.latents.segments import SegmentSampler
from latent_combo.numerics.adam import Adam
from latent_combo.world_model.base import Segment
from latent_combo.world_model.gaussian import half_squared_distance
from latent_combo.world_model.normaliser import Normaliser
from latent_combo.world_model.open_loop import VectorUnits, open_loop
from latent_combo.world_model.recurrent import RecurrentWorldModel
from latent_combo.world_model.settings import ConvConfig, RecurrentConfig, RSSMConfig

V, A, SIZE = 3, 2, 6
CONV = ConvConfig(
    image_size=SIZE, encoder_channels=(4,), decoder_input=8, decoder_channels=(4,), decoder_kernels=(2, 4)
)
SIZES = RSSMConfig(deterministic=16, stochastic=4, hidden=16, members=2)


def config(**more: float) -> RecurrentConfig:
    return RecurrentConfig(conv=CONV, dynamics=SIZES, head_hidden=16, vector_hidden=8, **more)  # type: ignore[arg-type]


def model_of(vector_dim: int, **more: float) -> RecurrentWorldModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RecurrentWorldModel(config(**more), A, vector_dim)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def segment(batch: int = 3, length: int = 6, vectors: bool = True, seed: int = 0) -> Segment:
    """Images that never change; vectors drift by the actions, and the reward is their first number, standardised."""
    generator = draws(seed)
    action = torch.rand(batch, length, A, generator=generator) * 2.0 - 1.0
    vector = torch.randn(batch, 1, V, generator=generator) * 3.0 + 5.0
    vector = vector + torch.cat([action, action[..., :1]], -1).cumsum(1)
    never = torch.zeros(batch, length, dtype=torch.bool)
    image = torch.full((batch, length, SIZE, SIZE, 3), 100, dtype=torch.uint8)
    return Segment(image, action, (vector[..., 0] - 5.0) / 3.0, never, never, vector if vectors else None)


def test_both_are_embedded_and_both_are_predicted() -> None:
    model, data = model_of(V), segment()
    assert data.vector is not None
    assert model.embed(data.observation, data.vector).shape == (3, 6, 16 + 8)
    feature = model.encode(data.observation, data.action, None, data.vector)
    assert feature.shape == (3, 6, 20)
    assert model.decode(feature[0]).shape == (6, SIZE, SIZE, 3)
    predicted = model.decode_vector(feature[0])
    assert predicted is not None and predicted.shape == (6, V)


def test_a_sequence_is_filtered_as_its_steps_are() -> None:
    model, data = model_of(V), segment()
    assert data.vector is not None
    feature = torch.zeros(3, model.feature_dim)
    whole = model.encode(data.observation, data.action, None, data.vector)
    for t in range(6):
        feature = model.filter_step(feature, data.observation[:, t], data.action[:, t], None, data.vector[:, t])
        torch.testing.assert_close(feature, whole[:, t])
    other = model.encode(data.observation, data.action, None, data.vector + 1.0)
    assert not torch.allclose(other, whole)  # it is looked at


def test_a_vector_is_predicted_in_units_of_its_standard_deviations() -> None:
    model, data = model_of(V, vector_weight=2.0, image_weight=3.0), segment()
    assert data.vector is not None and model.vector_encoder is not None and model.vector_decoder is not None
    mean, std = torch.tensor([5.0, 0.0, 1.0]), torch.tensor([3.0, 1.0, 0.5])
    model.set_normaliser(lambda: Normaliser(mean, std, torch.zeros(V + 1), torch.ones(V + 1)))
    last = model.vector_decoder[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)  # which predicts the mean
    total, metrics = model.loss(data, draws())
    due = half_squared_distance(torch.zeros(18, V), ((data.vector - mean) / std).flatten(0, 1)).mean()
    torch.testing.assert_close(metrics["vector"], due)
    parts = 3.0 * metrics["image"] + 2.0 * due + metrics["reward"] + metrics["kl"]
    torch.testing.assert_close(total, parts)
    predicted = model.decode_vector(torch.zeros(1, model.feature_dim))
    assert predicted is not None
    torch.testing.assert_close(predicted[0], mean)


def test_gradients_reach_what_embeds_and_what_predicts_both() -> None:
    model, data = model_of(V), segment()
    data = replace(data, observation=torch.randint(256, data.observation.shape, dtype=torch.uint8, generator=draws()))
    loss, _ = model.loss(data, draws())
    loss.backward()
    for part in (model.encoder, model.decoder, model.vector_encoder, model.vector_decoder):
        assert part is not None
        gradients = [p.grad for p in part.parameters()]
        assert gradients and all(g is not None and bool(g.abs().sum() > 0.0) for g in gradients)


def fitted(vectors: bool) -> tuple[RecurrentWorldModel, float]:
    """A model of constant images, and its error of the held-out rewards of rows that it sees."""
    model = model_of(V if vectors else 0, kl_weight=0.1)
    seen = segment(64, 8).vector
    assert seen is not None
    rows = seen.flatten(0, 1)
    model.set_normaliser(lambda: Normaliser(rows.mean(0), rows.std(0), torch.zeros(V + 1), torch.ones(V + 1)))
    parameters = list(model.parameters())
    optimiser, rate = Adam(parameters, weight_decay=0.0), torch.tensor(1e-2)
    for step in range(100):
        loss, _ = model.loss(segment(16, 8, vectors, seed=step), draws(step))
        optimiser.step(torch.autograd.grad(loss, parameters), rate)
    held_out = segment(64, 8, vectors, seed=1000)
    with torch.no_grad():
        feature = model.encode(held_out.observation, held_out.action, None, held_out.vector)
        return model, float((model.reward(feature) - held_out.reward)[:, 1:].abs().mean())


def test_what_only_the_vector_shows_is_learnt_from_it_alone() -> None:
    blind, blind_error = fitted(vectors=False)
    model, error = fitted(vectors=True)
    assert error < 0.3 * blind_error  # of rewards, which the image says nothing of
    assert blind.vector_encoder is None and not any("vector" in name for name in blind.state_dict())
    data = segment(64, 12, seed=7)
    assert data.vector is not None
    units = VectorUnits(data.vector.mean((0, 1)), data.vector.flatten(0, 1).std(0))
    image = data.observation[0, 0].float()
    found = open_loop(model, data, (image, 0.0), 6, draws(), horizons=(1, 5), vectors=units)
    assert found.vector_open_loop[1] < 0.7 * found.vector_mean[1]
    assert found.vector_mean[5] == pytest.approx(1.0, abs=0.2)
    moved = (data.vector[:, 10] - data.vector[:, 5]) / units.std
    assert found.vector_copy_last[5] == pytest.approx(float(moved.square().mean().sqrt()), rel=1e-5)
    names = found.figures().keys()
    assert {"open_loop_psnr", "vector_open_loop_nrmse", "vector_copy_last_nrmse", "vector_mean_nrmse"} <= names
    without = open_loop(blind, segment(4, 12, False), (image, 0.0), 6, draws(), horizons=(1, 5))
    assert not any("vector" in name or name == "measure" for name in without.figures())
    titles = [[axes.get_title() for axes in draw_horizon(each, 6).axes] for each in (found, without)]
    assert "Vector beside the image" in titles[0] and titles[1] == [t for t in titles[0] if "Vector" not in t]


def test_a_model_of_one_kind_refuses_the_other() -> None:
    seen, blind = segment(), segment(vectors=False)
    with pytest.raises(ValueError, match="vectors"):
        model_of(0).loss(seen, draws())
    with pytest.raises(ValueError, match="vectors"):
        model_of(V).encode(blind.observation, blind.action, None)


def test_without_vectors_there_are_no_weights_losses_or_random_numbers_for_them() -> None:
    model, data = model_of(0), segment(vectors=False)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {
        *("encoder", "rssm", "decoder", "reward_head")
    }
    _, metrics = model.loss(data, draws())
    assert {"image", "reward", "kl", "loss"} <= metrics.keys() and "vector" not in metrics
    same: dict[str, Tensor] = model_of(V).state_dict()
    assert torch.equal(same["encoder.layers.0.weight"], model.state_dict()["encoder.layers.0.weight"])


def test_segments_carry_the_vectors_of_their_rows_and_shifts_leave_them() -> None:
    rng = np.random.default_rng(0)
    data = TrajectoryDataset(
        observation=rng.integers(256, size=(40, 8, 8, 3), dtype=np.uint8),
        action=np.zeros((40, A), np.float32),
        reward=np.arange(40, dtype=np.float32),
        is_first=np.arange(40) % 20 == 0,
        is_terminal=np.zeros(40, bool),
        lengths=np.full(2, 20),
        vector=np.stack([np.arange(40), -np.arange(40)], 1).astype(np.float32),
    )
    feed = SegmentFeed(SegmentSampler(data, [0, 1], 6), 5, 0, 2, draws())
    feed.prepare(3)
    fed = feed()
    assert fed.vector is not None
    assert torch.equal(fed.vector[..., 0], fed.reward) and torch.equal(fed.vector[..., 1], -fed.reward)
    some = fed.first(2).rows(slice(1, 3)).vector
    assert some is not None and torch.equal(some, fed.vector[:2, 1:3])
    assert fed.tensors().keys() == {"observation", "action", "reward", "is_first", "terminal", "vector"}
