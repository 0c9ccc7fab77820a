"""What has to hold on CUDA; run with `pytest -m gpu` where there is one."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import kernels_beside_torch
import numpy as np
import pytest
import torch

from combo_common.errors import UserError
from data.dataset import TrajectoryDataset
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.fit import AgentFit, SideBySide
from latent_combo.agent.replay import EncodedDataset
from latent_combo.agent.settings import AgentConfig, AgentFitConfig, NetworkConfig
from latent_combo.config.command_line import parse
from latent_combo.latents.feed import SegmentFeed
from latent_combo.latents.segments import SegmentSampler
from latent_combo.numerics.capture import CapturedStep
from latent_combo.numerics.finite import NonFiniteError
from latent_combo.numerics.matmul import stacked_product
from latent_combo.pipeline.load_run import load_run
from latent_combo.train import train
from latent_combo.world_model.augment import random_shift
from latent_combo.world_model.base import Segment
from latent_combo.world_model.ensemble import EnsembleWorldModel
from latent_combo.world_model.fit import Fit
from latent_combo.world_model.recurrent import RecurrentWorldModel
from latent_combo.world_model.rssm import RSSM
from latent_combo.world_model.settings import ConvConfig, EnsembleConfig, FitConfig, RecurrentConfig, RSSMConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_the_filter_and_the_decoder_agree_with_the_cpu() -> None:
    conv = ConvConfig(32, (8, 16, 32), 64, (16, 8), (5, 6, 6))
    config = RecurrentConfig(conv=conv, dynamics=RSSMConfig(deterministic=32, stochastic=8, hidden=32, members=3))
    torch.manual_seed(0)
    model = RecurrentWorldModel(config, action_dim=2)
    image = torch.randint(256, (3, 6, 32, 32, 3), dtype=torch.uint8)
    action = torch.rand(3, 6, 2) * 2 - 1
    expected = model.encode(image, action, None)
    decoded = model.decoder(expected.flatten(0, 1))
    model.to(CUDA)
    feature = model.encode(image.to(CUDA), action.to(CUDA), None)
    torch.testing.assert_close(feature.cpu(), expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(model.decoder(feature.flatten(0, 1)).cpu(), decoded, atol=2e-3, rtol=1e-3)
    loss, _ = model.loss(
        Segment(
            image.to(CUDA),
            action.to(CUDA),
            torch.rand(3, 6, device=CUDA),
            torch.zeros(3, 6, dtype=torch.bool, device=CUDA),
            torch.zeros(3, 6, dtype=torch.bool, device=CUDA),
        ),
        torch.Generator(CUDA).manual_seed(0),
    )
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("extraction", ["value", "imitation"])
def test_updates_agree_with_the_cpu(extraction: str) -> None:
    small = NetworkConfig(hidden=32, layers=2)
    config = AgentConfig(network=small, actor_network=small, batch=16, num_sampled_actions=3, extraction=extraction)
    draws = torch.Generator().manual_seed(0)
    noise = Noise.draw(2, config, 3, draws)
    batch = Batch(
        torch.randn(2, 16, 5, generator=draws),
        torch.rand(2, 16, 3, generator=draws) * 2 - 1,
        torch.rand(2, 16, generator=draws),
        torch.randn(2, 16, 5, generator=draws),
        torch.full((2, 16), 0.99),
        (torch.arange(16) < 8).float().expand(2, -1),
    )
    weights: dict[torch.device | str, dict[str, torch.Tensor]] = {}
    for device in (CPU, CUDA):
        torch.manual_seed(0)
        agent = ConservativeActorCritic([config] * 2, 5, 3, device)
        weights["before"] = {name: value.cpu().clone() for name, value in agent.state_dict().items()}

        def on(value: Batch | Noise, where: torch.device = device) -> dict[str, torch.Tensor]:
            return {name: tensor.to(where) for name, tensor in vars(value).items() if tensor is not None}

        for _ in range(3):
            agent.update(Batch(**on(batch)), Noise(**on(noise)))
        weights[device] = {name: value.cpu() for name, value in agent.state_dict().items()}
    for name, value in weights[CPU].items():
        moved = float((value - weights["before"][name]).norm())
        assert float((weights[CUDA][name] - value).norm()) <= 0.1 * moved, name  # Adam's first steps follow signs
    for optimiser in (agent.critic_optimiser, agent.actor_optimiser):
        assert float(optimiser.optimisers[0].counts.min()) == 3.0


@pytest.mark.parametrize("preset", ["quickstart", "gpu", "paper"])
def test_a_run_on_cuda_is_read_back_on_the_cpu(preset: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = f"""--preset {preset} --dataset walker-walk-mini --data_dir {tmp_path} --out {out} --device cuda
        --world_model_fit.steps 3 --world_model_fit.batch 4 --agent_fit.updates 4 --agent_fit.warm_up 2
        --agent_fit.rollout_batch_size 20
        --agent_fit.evaluations 1 --score.episodes 1 --score.episodes_during_training 1"""
    train(parse(arguments.split())[0])
    config = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(config.replace("device: cuda", "device: cpu"))
    run = load_run(out)
    policy = run.policy(seed=0)
    policy.reset(1)
    size = run.config.rssm.conv.image_size
    action = policy.act(torch.zeros(run.config.agent.num_agents, 1, size, size, 3, dtype=torch.uint8))
    assert action.shape == (run.config.agent.num_agents, 1, 6) and bool(action.isfinite().all())


TINY = RecurrentConfig(
    conv=ConvConfig(32, (8, 16, 32), 64, (16, 8), (5, 6, 6)),
    dynamics=RSSMConfig(deterministic=32, stochastic=8, hidden=32, members=3),
    head_hidden=16,
)


@pytest.fixture(autouse=True)
def float32_is_float32() -> Iterator[None]:
    """Runs let tensor cores round float32 products from then on; here they are compared with exact ones."""
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.fixture
def deterministic() -> Iterator[None]:
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def pixels(count: int = 40) -> TrajectoryDataset:
    rng = np.random.default_rng(0)
    return TrajectoryDataset(
        observation=rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8),
        action=rng.uniform(-1, 1, (count, 2)).astype(np.float32),
        reward=rng.uniform(size=count).astype(np.float32),
        is_first=np.arange(count) % 20 == 0,
        is_terminal=np.zeros(count, bool),
        lengths=np.full(count // 20, 20),
    )


def pixel_fit(graphs: str, reward: float | None = None, steps: int = 8) -> Fit:
    data = pixels()
    if reward is not None:
        data.reward[11] = reward
    torch.manual_seed(0)
    model = RecurrentWorldModel(TINY, 2).to(CUDA)
    draws = torch.Generator(CUDA).manual_seed(0)
    feed = SegmentFeed(SegmentSampler(data, [0, 1], 6), 5, seed=0, shift=2, generator=draws)
    return Fit(model, FitConfig(steps=steps, final_learning_rate=0.1), feed, draws, feed.prepare, graphs)


def weights(fit: Fit | AgentFit) -> dict[str, torch.Tensor]:
    return {**(fit.model if isinstance(fit, Fit) else fit.agent).state_dict()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_a_fit_of_pixels_by_graphs_is_the_one_without_bit_by_bit(deterministic: None) -> None:
    captured, eager = pixel_fit("on"), pixel_fit("off")
    for ours, theirs in zip(captured, eager, strict=True):
        assert float(ours["loss"]) == float(theirs["loss"])
    assert captured._descend.captured and not eager._descend.captured
    same(weights(captured), weights(eager))
    rest = pixel_fit("on")  # and goes on where another one was
    half = pixel_fit("on")
    for _ in range(4):
        half.take_step()
    rest.load_state_dict(half.state_dict())
    list(rest)
    same(weights(rest), weights(eager))


def test_a_fit_of_states_by_graphs_is_the_one_without_bit_by_bit() -> None:
    found = []
    for graphs in ("on", "off"):
        torch.manual_seed(0)
        model = EnsembleWorldModel(EnsembleConfig(hidden=32), 5, 2, "none").to(CUDA)
        draws = torch.Generator(CUDA).manual_seed(0)

        def sample(draws: torch.Generator = draws) -> Segment:
            state = torch.randn(70, 2, 5, device=CUDA, generator=draws)
            never = torch.zeros(70, 2, dtype=torch.bool, device=CUDA)
            return Segment(state, state[..., :2], state[..., 0], never, never)

        fit = Fit(model, FitConfig(steps=6, weight_decay=1e-3), sample, draws, graphs=graphs)
        list(fit)
        found.append(weights(fit))
    same(*found)


def agent_fit(graphs: str, extraction: str = "value", seed: int = 0, num_agents: int = 2) -> AgentFit:
    small = NetworkConfig(hidden=32, layers=2)
    config = AgentConfig(
        network=small,
        actor_network=small,
        batch=16,
        num_sampled_actions=3,
        extraction=extraction,
        scale_values=True,
        policy_average=0.9,
    )
    configs = [
        dataclasses.replace(config, beta=1.0 + number, critic_learning_rate=1e-3) for number in range(num_agents)
    ]
    torch.manual_seed(seed)
    agent = ConservativeActorCritic(configs, 40, 2, CUDA)
    model = RecurrentWorldModel(TINY, 2).to(CUDA).requires_grad_(False)
    draws = torch.Generator(CUDA).manual_seed(seed)
    rows = 200
    dataset = EncodedDataset.from_rows(
        feature=torch.randn(2, rows, 40, device=CUDA, generator=draws),
        action=torch.rand(rows, 2, device=CUDA, generator=draws) * 2 - 1,
        reward=torch.rand(rows, device=CUDA, generator=draws),
        terminal=torch.zeros(rows, device=CUDA),
        is_first=torch.arange(rows, device=CUDA) % 50 == 0,
        config=config,
    )
    schedule = AgentFitConfig(updates=14, warm_up=4, rollout_batch_size=10, rollout_every=5, final_learning_rate=0.1)
    return AgentFit(agent, model, dataset, schedule, draws, graphs)


@pytest.mark.parametrize("extraction", ["value", "imitation"])
def test_agents_and_rollouts_by_graphs_are_those_without_bit_by_bit(extraction: str) -> None:
    captured, eager = agent_fit("on", extraction), agent_fit("off", extraction)
    for ours, theirs in zip(captured, eager, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert torch.equal(value, theirs[name]), name
    same(weights(captured), weights(eager))
    assert captured.buffer is not None and eager.buffer is not None
    for own, other in zip(captured.buffer.tensors, eager.buffer.tensors, strict=True):
        assert torch.equal(own, other)


def test_stacks_side_by_side_are_the_same_stacks_alone() -> None:
    together = SideBySide([agent_fit("on", seed=seed, num_agents=1 + seed) for seed in range(3)])
    together.take_steps(14)
    for seed, fit in enumerate(together.fits):
        alone = agent_fit("off", seed=seed, num_agents=1 + seed)
        list(alone)
        same(weights(fit), weights(alone))


@pytest.mark.parametrize("graphs", ["on", "off"])
def test_a_bad_number_in_a_graph_stops_the_fit_with_the_weights_before_it(graphs: str) -> None:
    bad, good = (pixel_fit(graphs, reward, steps=60) for reward in (float("nan"), None))
    with pytest.raises(NonFiniteError, match=r"world model, step \d+: the loss is nan") as stopped:
        list(bad)
    step = stopped.value.step
    assert bool(stopped.value.batch["reward"].isnan().any())
    before = {name: value.clone() for name, value in weights(good).items()}
    for _ in range(step):
        good.take_step()
    for name, value in weights(bad).items():
        torch.testing.assert_close(value, weights(good)[name], atol=1e-5, rtol=1e-4)
    assert step == 0 or any(not torch.equal(value, before[name]) for name, value in weights(good).items())


def test_what_can_not_be_captured_runs_as_it_is_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    state, draws = torch.ones(3, device=CUDA), torch.Generator(CUDA).manual_seed(0)

    def reads() -> float:
        state.add_(torch.randn(3, device=CUDA, generator=draws))
        return float(state.sum())

    with pytest.raises(UserError, match="a step can not be captured.*cuda_graphs auto"):
        CapturedStep("a step", reads, lambda: [state], draws, "on")()
    torch.cuda.synchronize()
    state.fill_(1.0)
    draws.manual_seed(0)
    step = CapturedStep("a step", reads, lambda: [state], draws)
    got = [step() for _ in range(3)]
    assert capsys.readouterr().err.count("a step can not be captured") == 1
    draws.manual_seed(0)
    assert got == pytest.approx([3.0 + float(total) for total in torch.stack(
        [torch.randn(3, device=CUDA, generator=draws).sum() for _ in range(3)]).cumsum(0)], abs=1e-5)  # fmt: skip


def test_segments_cut_on_the_device_are_those_fed_from_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def feed() -> SegmentFeed:
        draws = torch.Generator(CUDA).manual_seed(0)
        return SegmentFeed(SegmentSampler(pixels(), [0, 1], 6, episode_start_fraction=0.3), 5, 0, 0, draws)

    on_device = feed()
    monkeypatch.setattr("latent_combo.latents.feed.SHARE_OF_DEVICE", 0.0)
    fed = feed()
    assert on_device.on_device and not fed.on_device
    for step in (0, 1, 2, 7):
        for each in (on_device, fed):
            each.prepare(step)
        for name, part in on_device().tensors().items():
            assert torch.equal(part, getattr(fed(), name)), name
    fed.close()


def test_shifts_are_those_of_the_cpu() -> None:
    image = torch.randint(256, (3, 4, 8, 8, 3), dtype=torch.uint8)
    shifted = random_shift(image.to(CUDA), 2, torch.Generator(CUDA).manual_seed(1)).cpu()
    for sequence, original in zip(shifted, image, strict=True):
        fits = [
            (y, x) for y in range(-2, 3) for x in range(-2, 3)
            if bool((sequence[:, 2:6, 2:6] == original[:, 2 + y : 6 + y, 2 + x : 6 + x]).all())
        ]  # fmt: skip
        assert fits


@pytest.mark.parametrize("sizes", [*kernels_beside_torch.RECURRENCES, (64, 20, 256, 128, 256), (32, 16, 200, 64, 200)])
def test_the_recurrence_by_triton_is_torchs_own(sizes: tuple[int, int, int, int, int]) -> None:
    kernels_beside_torch.check_recurrence(CUDA, *sizes)


@pytest.mark.parametrize("dtype", kernels_beside_torch.DTYPES)
@pytest.mark.parametrize("shape", [*kernels_beside_torch.LAYERS, (40, 80, 40, 256), (4, 21504, 4, 256)])
def test_ends_of_layers_by_triton_are_torchs_own(dtype: torch.dtype, shape: tuple[int, int, int, int]) -> None:
    kernels_beside_torch.check_layers(CUDA, dtype, *shape)


@pytest.mark.parametrize(("layers", "norm", "number", "low"), kernels_beside_torch.NETWORKS)
def test_networks_by_triton_are_torchs_own(layers: int, norm: bool, number: int, low: bool) -> None:
    kernels_beside_torch.check_networks(CUDA, layers, norm, number, low)


def test_samples_and_adam_by_triton_are_torchs_own() -> None:
    kernels_beside_torch.check_samples(CUDA)
    kernels_beside_torch.check_adam(CUDA)


@pytest.mark.parametrize("rows", [1024, 5120, 700])
def test_products_in_pieces_have_the_gradients_of_the_whole(rows: int) -> None:
    x, weight = (torch.randn(shape, device=CUDA, requires_grad=True) for shape in ((2, rows, 24), (2, 24, 32)))
    gradient = torch.randn(2, rows, 32, device=CUDA)
    exact = [part.detach().double().requires_grad_() for part in (x, weight)]
    ours, theirs = stacked_product(x, weight), exact[0] @ exact[1]
    for one, other in zip(
        (ours, *torch.autograd.grad(ours, (x, weight), gradient)),
        (theirs, *torch.autograd.grad(theirs, exact, gradient.double())),
        strict=True,
    ):
        torch.testing.assert_close(one.double(), other, atol=1e-3, rtol=1e-4)


def test_the_recurrences_gradients_are_those_of_the_cpu() -> None:
    config = RSSMConfig(deterministic=32, stochastic=8, hidden=32, members=2)
    torch.manual_seed(0)
    model = RSSM(config, 20, 3)
    given = [torch.randn(shape) for shape in ((4, 7, 20), (4, 7, 3), (4, 7, 8), (4, 40))]
    found = []
    for device in (CPU, CUDA):
        model.to(device)
        h, z, posterior = model.observe(*(part.to(device) for part in given))
        wanted = [p for name, p in model.named_parameters() if "prior" not in name]
        total = h.square().sum() + z.sin().sum() + posterior.mean.sum() + posterior.std.log().sum()
        found.append([part.cpu() for part in (h, z, *torch.autograd.grad(total, wanted))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
