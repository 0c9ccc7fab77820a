"""`python -m benchmarks.bench`: training speed of the world model and of the agent, as a share of the machine's own.

The share is the floating-point operations of the step (matrix products and convolutions, forward and backward) a
second, over those of a large float32 matrix product, which is measured before and after: shared machines drift.
"""

import argparse
import time
from collections.abc import Callable

import torch

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Noise
from latent_combo.agent.networks import NetworkConfig
from latent_combo.agent.replay import EncodedDataset, mixed_batch
from latent_combo.agent.settings import AgentConfig
from latent_combo.run.speed import count_flops, matmul_rate
from latent_combo.world_model.base import Segment
from latent_combo.world_model.conv import ConvConfig
from latent_combo.world_model.fit import Fit, FitConfig
from latent_combo.world_model.recurrent import RecurrentConfig, RecurrentWorldModel

ACTIONS = 6


def segment(batch: int, length: int, size: int, device: torch.device) -> Segment:
    draws = torch.Generator(device).manual_seed(0)
    image = torch.randint(256, (batch, length, size, size, 3), dtype=torch.uint8, device=device, generator=draws)
    action = torch.rand(batch, length, ACTIONS, device=device, generator=draws) * 2 - 1
    never = torch.zeros(batch, length, dtype=torch.bool, device=device)
    return Segment(image, action, torch.rand(batch, length, device=device, generator=draws), never, never)


def median_seconds(step: Callable[[], object], repeats: int, device: torch.device) -> float:
    step()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return sorted(taken)[len(taken) // 2]


def bench_world_model(name: str, config: RecurrentConfig, batch: int, length: int, repeats: int, where: str) -> None:
    device = torch.device(where)
    torch.manual_seed(0)
    model = RecurrentWorldModel(config, ACTIONS).to(device)
    data = segment(batch, length, config.conv.image_size, device)
    draws = torch.Generator(device).manual_seed(0)
    fit = Fit(model, FitConfig(steps=10**6, batch=batch, length=length), lambda: data, draws)
    flops = count_flops(lambda: model.loss(data, draws)[0].backward())
    matmul_rate.cache_clear()
    before = matmul_rate(device)
    seconds = median_seconds(fit.take_step, repeats, device)
    matmul_rate.cache_clear()
    report(name, batch * length / seconds, "frames/s", flops / seconds, (before, matmul_rate(device)))


def bench_agent(name: str, config: AgentConfig, feature_dim: int, repeats: int, where: str) -> None:
    device = torch.device(where)
    torch.manual_seed(0)
    agent = ConservativeActorCritic([config] * config.stack, feature_dim, ACTIONS, device)
    draws = torch.Generator(device).manual_seed(0)
    rows = 10_000
    dataset = EncodedDataset.from_rows(
        feature=torch.randn(1, rows, feature_dim, device=device, generator=draws),
        action=torch.rand(rows, ACTIONS, device=device, generator=draws) * 2 - 1,
        reward=torch.rand(rows, device=device, generator=draws),
        terminal=torch.zeros(rows, device=device),
        is_first=torch.arange(rows, device=device) == 0,
        config=config,
    )

    def step() -> None:
        batch = mixed_batch(dataset, None, agent.settings.f, config.batch, draws)
        agent.update(batch, Noise.draw(config.stack, config, ACTIONS, draws))

    batch = mixed_batch(dataset, None, agent.settings.f, config.batch, draws)
    noise = Noise.draw(config.stack, config, ACTIONS, draws)

    def gradients() -> None:
        torch.autograd.grad(agent.critic_loss(batch, noise)[0], agent.critic_parameters)
        torch.autograd.grad(agent.actor_loss(batch, noise)[0], agent.actor_parameters)

    flops = count_flops(gradients)
    matmul_rate.cache_clear()
    before = matmul_rate(device)
    seconds = median_seconds(step, repeats, device)
    matmul_rate.cache_clear()
    report(name, config.stack / seconds, "agent updates/s", flops / seconds, (before, matmul_rate(device)))


def report(name: str, rate: float, unit: str, achieved: float, peak: tuple[float, float]) -> None:
    share = achieved / max(peak)
    print(
        f"{name:44s} {rate:9.1f} {unit:16s} {achieved / 1e9:8.1f} GFLOP/s, {share:4.0%} of matmul "
        f"({peak[0] / 1e9:.0f} before, {peak[1] / 1e9:.0f} after)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {given.device}, {torch.get_num_threads()} threads")
    paper = AgentConfig()
    for low in (False, True):
        config = RecurrentConfig(conv=ConvConfig(bfloat16=low))
        kind = "bfloat16 convolutions" if low else "float32"
        bench_world_model(f"world model, paper, 64 x 50, {kind}", config, 64, 50, given.repeats, given.device)
    bench_agent("agent, paper, batch 256, 2 x 10 actions", paper, 384, 5 * given.repeats, given.device)
    stacked = AgentConfig(stack=3, actions=5, batch=128, network=NetworkConfig(hidden=256))
    bench_agent("agents, 3 as a stack, batch 128, 2 x 5", stacked, 320, 5 * given.repeats, given.device)


if __name__ == "__main__":
    main()
