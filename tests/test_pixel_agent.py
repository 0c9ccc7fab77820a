"""Agents with an encoder of their own: what trains it, stacks of them, and that they learn."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small_agents import CPU, draws
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from combo_common.errors import UserError
from data.dataset import TrajectoryDataset
from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.encoder import EncodedActor, PixelEncoder
from latent_combo.agent.encoder_settings import PixelEncoderConfig
from latent_combo.agent.fit import AgentFit
from latent_combo.agent.measures import regularisers, update_flops, validation_metrics
from latent_combo.agent.pixel_actor_critic import PixelActorCritic
from latent_combo.agent.settings import AgentConfig, AgentFitConfig, NetworkConfig
from latent_combo.config.command_line import parse
from latent_combo.latents.frames import frames_of, stack_frames

SIZE, A = 16, 2
SMALL = AgentConfig(
    network=NetworkConfig(hidden=16, layers=2),
    actor_network=NetworkConfig(hidden=16, layers=2),
    encoder=PixelEncoderConfig(channels=4, layers=2, projection=8, frames=2, random_shift=1),
    batch=12,
    num_sampled_actions=3,
    real_ratio=1.0,
    penalty_states="dataset",
)
DRQ_BC = dataclasses.replace(SMALL, beta=0.0, anchor=2.5)
IMITATION = dataclasses.replace(SMALL, beta=0.0, extraction="imitation")


def make(*configs: AgentConfig) -> PixelActorCritic:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PixelActorCritic(list(configs), SIZE, A, CPU)


def batch(stack: int, seed: int = 0) -> Batch:
    g = draws(seed)
    frames = torch.randint(0, 256, (2, stack, 12, 2, SIZE, SIZE, 3), generator=g).to(torch.uint8)
    action = torch.rand(stack, 12, A, generator=g) * 2 - 1
    rest = (torch.rand(stack, 12, generator=g), frames[1], torch.full((stack, 12), 0.99), torch.ones(stack, 12))
    return Batch(frames[0], action, *rest)


def noise(stack: int, seed: int = 0) -> Noise:
    return Noise.draw(stack, SMALL, A, draws(seed))


def point(episodes: int = 15, rows: int = 12, seed: int = 0) -> TrajectoryDataset:
    """A bright square that actions push about, and that pays in the middle; the behaviour pushes it there."""
    rng, images, actions, rewards = np.random.default_rng(seed), [], [], []
    for _ in range(episodes):
        place, pushed, paid = rng.uniform(2.0, SIZE - 4.0, 2), np.zeros(2), 0.0
        for _ in range(rows):
            image = np.full((SIZE, SIZE, 3), 30, np.uint8)
            row, column = place.astype(int)
            image[row : row + 3, column : column + 3] = 220
            images.append(image)
            actions.append(pushed)
            rewards.append(paid)
            pushed = np.clip(0.2 * (SIZE / 2 - 1 - place) + 0.1 * rng.normal(size=2), -1.0, 1.0)
            place = np.clip(place + pushed, 0.0, SIZE - 3.0)
            paid = float(np.exp(-np.square(place - SIZE / 2 + 1).sum() / 8.0))
    number = np.arange(episodes * rows)
    return TrajectoryDataset(
        observation=np.stack(images),
        action=np.stack(actions).astype(np.float32),
        reward=np.array(rewards, np.float32),
        is_first=number % rows == 0,
        is_terminal=np.zeros(len(number), bool),
        lengths=np.full(episodes, rows),
    )


def fit_of(config: AgentConfig, updates: int, warm_up: int = 0, agents: int = 1) -> AgentFit:
    data = point()
    dataset = stack_frames(frames_of(data, CPU), data, np.arange(len(data.lengths)), config)
    schedule = AgentFitConfig(updates=updates, warm_up=warm_up)
    return AgentFit(make(*[config] * agents), None, dataset, schedule, draws())


@pytest.mark.parametrize("config", [SMALL, DRQ_BC, IMITATION])
def test_the_critics_alone_train_the_encoder(config: AgentConfig) -> None:
    """Its gradient is that of their loss, whatever the policy does, and stops at the targets."""
    agent, other = make(config), make(dataclasses.replace(config, actor_learning_rate=0.1))
    still = make(dataclasses.replace(config, critic_learning_rate=1e-30))
    seen = batch(1)
    encoded = dataclasses.replace(
        seen, feature=agent.encode(seen.feature), next_feature=agent.encode(seen.next_feature).detach()
    )
    loss = agent.critic_loss(encoded, noise(1), extraction=agent.extraction)[0]
    expected = torch.autograd.grad(loss, list(agent.encoder.parameters()))
    before = [parameter.detach().clone() for parameter in agent.encoder.parameters()]
    for one in (agent, other, still):
        one.update(seen, noise(1))
    for moment, gradient in zip(agent.encoder_optimiser.optimisers[0].first, expected, strict=True):
        torch.testing.assert_close(moment, 0.1 * gradient, atol=1e-7, rtol=1e-4)
        assert float(gradient.abs().max()) > 0.0
    for own, of_other, unmoved, start in zip(
        *(one.encoder.parameters() for one in (agent, other, still)), before, strict=True
    ):
        assert torch.equal(own, of_other) and not torch.equal(own, start)
        torch.testing.assert_close(unmoved, start, atol=1e-20, rtol=0.0)
    assert not torch.equal(agent.actor_weights, other.actor_weights)


@pytest.mark.parametrize("base", [SMALL, DRQ_BC])
def test_an_agent_in_a_stack_equals_the_same_agent_alone(base: AgentConfig) -> None:
    base = dataclasses.replace(base, policy_average=0.5)
    configs = [base, dataclasses.replace(base, critic_learning_rate=1e-3, anchor=base.anchor and 1.0)]
    for index, config in enumerate(configs):
        stacked, alone = make(*configs), make(config)
        stacked.begin_as(index, alone)
        for step in range(3):
            drawn, random = batch(2, step), noise(2, step)
            stacked.update(drawn, random)
            own = slice(index, index + 1)
            alone.update(
                Batch(**{name: value[own] for name, value in vars(drawn).items() if value is not None}),
                Noise(**{name: value[own] for name, value in vars(random).items()}),
            )
        together = dict(stacked.named_parameters())
        for name, parameter in alone.named_parameters():
            chosen = together[name].unflatten(0, (-1, 2))[:, index]
            torch.testing.assert_close(chosen, parameter.unflatten(0, (-1, 1))[:, 0], atol=2e-6, rtol=1e-4, msg=name)
        mode = stacked.acting(drawn.feature).mode[own]
        torch.testing.assert_close(mode, alone.acting(drawn.feature[own]).mode, atol=2e-5, rtol=1e-3)


def test_an_agent_is_taken_out_of_a_stack() -> None:
    configs = [dataclasses.replace(SMALL, policy_average=0.5, beta=beta) for beta in (0.5, 1.0)]
    stacked, frames = make(*configs), batch(2).feature
    stacked.update(batch(2), noise(2))
    alone = stacked.alone(1, configs[1])
    expected = stacked.acting(frames).mode[1:]
    torch.testing.assert_close(alone.acting(frames[1:]).mode, expected, atol=2e-5, rtol=1e-3)


def test_what_acts_is_the_average_of_the_encoder_and_of_the_policy() -> None:
    agent = make(dataclasses.replace(DRQ_BC, policy_average=0.9, critic_learning_rate=1e-2))
    plain = make(dataclasses.replace(DRQ_BC, critic_learning_rate=1e-2))
    encoder, actor = agent.encoder_weights.clone(), agent.actor_weights.clone()
    for step in range(3):
        agent.update(batch(1, step), noise(1, step))
        plain.update(batch(1, step), noise(1, step))
        share = 1.0 / (step + 1)
        encoder = encoder.lerp(agent.encoder_weights, share)
        actor = actor.lerp(agent.actor_weights, share)
    acting = agent.acting
    torch.testing.assert_close(torch.cat([p.flatten() for p in acting.encoder.parameters()]), encoder)
    torch.testing.assert_close(torch.cat([p.flatten() for p in acting.actor.parameters()]), actor)
    assert torch.equal(plain.encoder_weights, agent.encoder_weights)  # it changes nothing of the training
    assert plain.acting.encoder is plain.encoder and plain.acting.actor is plain.actor


def test_encodings_are_those_of_plain_convolutions() -> None:
    encoder = PixelEncoder(2, SMALL.encoder, SIZE)
    frames = batch(2).feature
    encoded = encoder(frames)
    assert encoded.shape == (2, 12, encoder.feature_dim) and encoder.feature_dim == 4 * 5 * 5
    for agent in range(2):
        layers = [torch.nn.Conv2d(6, 4, 3, stride=2), torch.nn.Conv2d(4, 4, 3)]
        x = frames[agent].permute(0, 1, 4, 2, 3).flatten(1, 2).float() / 255.0 - 0.5  # a frame's colours, then the next
        for layer, weight in zip(layers, encoder.weights, strict=True):
            layer.weight.data, layer.bias.data = weight[agent].detach(), torch.zeros(4)
            x = layer(x).relu()
        torch.testing.assert_close(encoded[agent], x.flatten(1))
    ints = EncodedActor.of(2, SMALL.encoder, SMALL.actor_network, SIZE, A)
    assert torch.equal(ints(frames).mode, ints(frames.to(torch.int16)).mode)  # as trained on, and as acted on


def test_many_stacks_are_encoded_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, frames = PixelEncoder(1, SMALL.encoder, SIZE), batch(1).feature
    whole = encoder(frames)
    monkeypatch.setattr("latent_combo.agent.encoder.AT_ONCE", 5)
    torch.testing.assert_close(encoder(frames), whole)


@pytest.mark.parametrize(("config", "warm"), [(SMALL, False), (DRQ_BC, False), (DRQ_BC, True)])
def test_an_update_reads_nothing_of_the_device(config: AgentConfig, warm: bool) -> None:
    fit = fit_of(dataclasses.replace(config, policy_average=0.9), updates=10, warm_up=5, agents=2)
    with FakeTensorMode(allow_non_fake_inputs=True):
        fit.update(warm)


@pytest.mark.parametrize("config", [SMALL, DRQ_BC])
def test_a_resumed_fit_goes_on_bit_by_bit(config: AgentConfig) -> None:
    config = dataclasses.replace(config, policy_average=0.5, scale_values=True)
    whole, first, second = (fit_of(config, updates=8, warm_up=2) for _ in range(3))
    list(whole)
    for _ in range(5):
        first.take_step()
    second.load_state_dict(first.state_dict())
    list(second)
    for name, value in whole.agent.state_dict().items():
        assert torch.equal(value, second.agent.state_dict()[name]), name
    assert float(whole.agent.critic.value_std[0]) > 0.0 and float(whole.agent.critic.value_mean[0]) > 0.0


@pytest.mark.parametrize("name", ["cql-pixels", "drq-bc"])
def test_it_learns_from_pixels(name: str) -> None:
    """A few hundred updates: values come to what was paid, and the policy to the data's actions."""
    agent = parse(["--algorithm", name])[0].agent
    encoder = dataclasses.replace(SMALL.encoder, random_shift=agent.encoder.random_shift, channels=8, projection=16)
    networks = {part: NetworkConfig(hidden=32, layers=2, layer_norm=True) for part in ("network", "actor_network")}
    rates = {
        "critic_learning_rate": 2e-3,
        "actor_learning_rate": 2e-3,
        "tau": 0.05,
        "gamma": 0.9,
        "policy_average": 0.0,
    }
    config = dataclasses.replace(agent, encoder=encoder, **networks, **rates, batch=32, num_sampled_actions=2)  # type: ignore[arg-type]
    fit = fit_of(config, updates=300, warm_up=200)
    data = point(episodes=8, seed=1)
    held_out = stack_frames(frames_of(data, CPU), data, np.arange(8), config, held_out=True)

    def measured() -> dict[str, Tensor]:
        with torch.no_grad():
            drawn = [fit.draw(warm=True) for _ in range(4)]  # of Monte Carlo returns, which stand still
            losses = [fit.agent.critic_loss(fit.agent.encoded(one), of)[1]["bellman"] for one, of, _ in drawn]
            return validation_metrics(fit.agent, held_out, 0) | {"bellman": torch.stack(losses).mean(0)}

    before = measured()
    list(fit)
    after = measured()
    assert float(after["bellman"]) < 0.4 * float(before["bellman"])
    assert float(after["validation_squared_distance"]) < 0.7 * float(before["validation_squared_distance"])


def test_measures_take_frames() -> None:
    fit = fit_of(SMALL, updates=4, agents=2)
    list(fit)
    assert all(value is not None for value in regularisers(fit, 2))
    held_out = stack_frames(frames_of(point(), CPU), point(), np.arange(2), SMALL, held_out=True)
    found = validation_metrics(fit.agent, held_out, 0)
    assert found["validation_q"].shape == (2,) and bool(found["validation_q"].isfinite().all())
    wider = dataclasses.replace(SMALL, encoder=dataclasses.replace(SMALL.encoder, channels=8))
    assert update_flops(fit_of(wider, 4).agent, fit.dataset) > 2 * update_flops(fit_of(SMALL, 4).agent, fit.dataset)


def test_agents_that_use_model_data_need_a_model() -> None:
    mixed = dataclasses.replace(SMALL, real_ratio=0.5, penalty_states="mix")
    with pytest.raises(ValueError, match="real_ratio is below 1, but there is no world model"):
        fit_of(mixed, updates=4)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--algorithm", "cql-pixels", "--obs", "state"],
            "cql-pixels is for images; for states use cql",
        ),
        (["--algorithm", "drq-bc", "--obs", "state"], "drq-bc is for images; for states use td3-bc"),
        (["--algorithm", "drq-bc", "--vectors", "all"], "which sees images alone; leave vectors out"),
        (["--algorithm", "drq-bc", "--agent.beta", "1"], "which has agent.beta 0.0"),
        (["--algorithm", "cql-pixels", "--agent.real-ratio", "0.5"], "which has agent.real_ratio 1.0"),
        (["--algorithm", "drq-bc", "--agent.encoder.layers", "20"], "agent.encoder.layers is 20, which leaves nothing"),
        (["--algorithm", "drq-bc", "--agent.encoder.random-shift", "-1"], "agent.encoder.random_shift is -1"),
        (["--agent.encoder.frames", "0"], "agent.encoder.frames is 0"),
    ],
)
def test_what_is_impossible_is_refused_in_one_line(arguments: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told) as refused:
        parse(arguments)
    assert "\n" not in str(refused.value)


def test_what_an_algorithm_proposes_can_be_set_otherwise(tmp_path: Path) -> None:
    proposed = parse(["--algorithm", "drq-bc"])[0].agent
    assert (proposed.anchor, proposed.target_steps, proposed.encoder.random_shift) == (2.5, 3, None)
    assert parse(["--algorithm", "cql-pixels"])[0].agent.encoder.random_shift == 0
    set_otherwise = parse(["--algorithm", "drq-bc", "--agent.anchor", "1.5", "--agent.encoder.random_shift", "0"])[0]
    assert (set_otherwise.agent.anchor, set_otherwise.agent.encoder.random_shift) == (1.5, 0)
    (tmp_path / "mine.yaml").write_text("agent:\n  anchor: 0.5\n")
    of_file = parse(["--algorithm", "drq-bc", "--config", str(tmp_path / "mine.yaml")])[0].agent
    assert (of_file.anchor, of_file.target_steps) == (0.5, 3)
