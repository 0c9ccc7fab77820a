"""What has to hold on CUDA; run with `pytest -m gpu` where there is one."""

from pathlib import Path

import pytest
import torch

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Batch, Noise, Pool
from latent_combo.agent.networks import NetworkConfig
from latent_combo.agent.settings import AgentConfig
from latent_combo.config import parse
from latent_combo.load_run import load_run
from latent_combo.train import train
from latent_combo.world_model.base import Segment
from latent_combo.world_model.conv import ConvConfig
from latent_combo.world_model.recurrent import RecurrentConfig, RecurrentWorldModel
from latent_combo.world_model.rssm import RSSMConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_the_filter_and_the_decoder_agree_with_the_cpu() -> None:
    conv = ConvConfig(32, (8, 16, 32), 64, (16, 8), (5, 6, 6))
    config = RecurrentConfig(conv=conv, rssm=RSSMConfig(deterministic=32, stochastic=8, hidden=32, members=3))
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


@pytest.mark.parametrize("extraction", ["value", "advantage"])
def test_updates_agree_with_the_cpu(extraction: str) -> None:
    small = NetworkConfig(hidden=32, layers=2)
    config = AgentConfig(network=small, actor_network=small, batch=16, actions=3, extraction=extraction)
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
    pool = Pool(
        torch.randn(2, 20, 5, generator=draws),
        torch.rand(2, 20, 3, generator=draws) * 2 - 1,
        torch.rand(2, 20, generator=draws),
        torch.randn(2, 20, 5, generator=draws),
        torch.full((2, 20), 0.99),
    )
    weights = {}
    for device in (CPU, CUDA):
        torch.manual_seed(0)
        agent = ConservativeActorCritic([config] * 2, 5, 3, device)

        def on(value: Batch | Noise | Pool, where: torch.device = device) -> dict[str, torch.Tensor]:
            return {name: tensor.to(where) for name, tensor in vars(value).items()}

        for _ in range(3):
            agent.update(
                Batch(**on(batch)), Noise(**on(noise)), pool=Pool(**on(pool)) if extraction == "advantage" else None
            )
        weights[device] = {name: value.cpu() for name, value in agent.state_dict().items()}
    for name, value in weights[CPU].items():
        torch.testing.assert_close(weights[CUDA][name], value, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("preset", ["quickstart", "paper"])
def test_a_run_on_cuda_is_read_back_on_the_cpu(preset: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = f"""--preset {preset} --dataset walker-walk-mini --data_dir {tmp_path} --out {out} --device cuda
        --fit.steps 3 --fit.batch 4 --agent_fit.updates 4 --agent_fit.branches 20 --agent_fit.looks 1
        --score.episodes 1 --score.episodes_during_training 1"""
    train(parse(arguments.split())[0])
    config = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(config.replace("device: cuda", "device: cpu"))
    run = load_run(out)
    policy = run.policy(seed=0)
    policy.reset(1)
    size = run.config.world_model.conv.image_size
    action = policy.act(torch.zeros(1, 1, size, size, 3, dtype=torch.uint8))
    assert action.shape == (1, 1, 6) and bool(action.isfinite().all())
