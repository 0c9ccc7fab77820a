"""`python -m benchmarks.bench`: speed of training and of what is around it, as a share of the machine's own.

The share is the floating-point operations that a step needs (matrix products and convolutions, forward and backward)
per second, over those of a large matrix product in the precision that was used and in float32; both are measured before
and after, for shared machines drift. Memory is the most so far, and on a GPU that of the case. Under two minutes on two
cores. `--json FILE` keeps the figures, and `--compare BEFORE AFTER` prints two such files as ratios.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from combo_common.cli import run_cli
from combo_common.errors import UserError
from combo_common.paths import given_path
from data.options import data_dir
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Noise
from latent_combo.agent.fit import AgentFit
from latent_combo.agent.replay import EncodedDataset, mixed_batch, real_share
from latent_combo.agent.settings import AgentConfig, AgentFitConfig, NetworkConfig
from latent_combo.numerics.choices import Choices, processor
from latent_combo.numerics.flops import count_flops
from latent_combo.numerics.matmul import LIBRARIES, fastest_library, use_library
from latent_combo.numerics.precision import set_precision
from latent_combo.pipeline.build import choose_device
from latent_combo.runtime.speed import matmul_rate
from latent_combo.world_model.base import Segment
from latent_combo.world_model.fit import Fit
from latent_combo.world_model.recurrent import RecurrentWorldModel
from latent_combo.world_model.settings import ConvConfig, FitConfig, RecurrentConfig, RSSMConfig
from latent_combo.world_model.tune import with_fastest_ways

ACTIONS = 6
SMALL = RecurrentConfig(
    conv=ConvConfig(32, (24, 48, 96), 256, (48, 24), (5, 6, 6), bfloat16=True),
    dynamics=RSSMConfig(stochastic=64, hidden=200),
    head_hidden=200,
)
"""Of the preset small, of pixels."""


class Bench:
    """Measures on one device, prints a line each, and keeps the figures."""

    def __init__(self, device: torch.device, repeats: int, choices: Path, graphs: str) -> None:
        self.device, self.repeats, self.graphs = device, repeats, graphs
        self.choices = Choices(choices, device)
        if device.type == "cpu":
            use_library(self.choices.get("library of products", LIBRARIES, fastest_library))
        self.figures: dict[str, dict[str, float]] = {}

    def draws(self) -> torch.Generator:
        """A generator on the device."""
        return torch.Generator(self.device).manual_seed(0)

    def report(
        self, name: str, step: Callable[[], object], units: float, unit: str, flops: float = 0.0, low: bool = False
    ) -> None:
        """Time a step: the median of several repeats, each of many calls on a GPU."""
        before = self._peaks(low)
        calls = 1 if self.device.type == "cpu" else 30
        step()
        if self.device.type == "cuda":
            step()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        taken = []
        for _ in range(self.repeats):
            started = time.perf_counter()
            for _ in range(calls):
                step()
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            taken.append((time.perf_counter() - started) / calls)
        seconds = sorted(taken)[len(taken) // 2]
        peaks = [max(pair) for pair in zip(before, self._peaks(low), strict=True)]
        memory = (
            torch.cuda.max_memory_allocated()
            if self.device.type == "cuda"
            else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        )
        shares = [flops / seconds / peak for peak in peaks]
        self.figures[name] = {
            "seconds": seconds,
            "least": min(taken),
            "most": max(taken),
            "rate": units / seconds,
            "share": shares[0],
            "share_of_float32": shares[-1],
            "peak_bytes": float(memory),
        }
        print(
            f"{name:46s} {1e3 * seconds:9.2f} ms {units / seconds:10.1f} {unit:16s}"
            + (f" {shares[0]:4.0%} of peak, {shares[-1]:4.0%} of float32's" if flops else 30 * " ")
            + f"  {memory / 2**30:5.2f} GiB",
            flush=True,
        )

    def _peaks(self, low: bool) -> list[float]:
        matmul_rate.cache_clear()
        dtypes = (torch.bfloat16, torch.float32) if low else (torch.float32,)
        return [matmul_rate(self.device, dtype) for dtype in dtypes]

    def world_model(self, name: str, config: RecurrentConfig, batch: int, length: int) -> None:
        """A step of the fit, its batch ready."""
        config = RecurrentConfig(
            conv=with_fastest_ways(config.conv, self.device, batch * length, self.choices, self.graphs),
            dynamics=config.dynamics,
            head_hidden=config.head_hidden,
        )
        torch.manual_seed(0)
        model = RecurrentWorldModel(config, ACTIONS).to(self.device)
        data = segment(batch, length, config.conv.image_size, self.device)
        fit = Fit(
            model, FitConfig(steps=10**6, batch=batch, length=length), lambda: data, self.draws(), graphs=self.graphs
        )
        flops = model.operations(data, self.draws())
        low = any(way.endswith("bfloat16") for way in config.conv.ways)
        self.report(name, fit.take_step, batch * length, "frames/s", flops, low)
        print(f"    {' '.join(config.conv.ways)}")

    def agent(self, name: str, config: AgentConfig, feature_dim: int) -> None:
        """An update, its batch drawn from the dataset and from the model's buffer."""
        fit = self._agent_fit(config, feature_dim, 1000)
        agent, draws = fit.agent, self.draws()
        batch = mixed_batch(fit.dataset, None, real_share(agent.real_rows, config.batch, self.device), draws)
        noise = Noise.draw(config.num_agents, config, ACTIONS, draws)

        def gradients() -> None:
            torch.autograd.grad(agent.critic_loss(batch, noise)[0], agent.critic_parameters)
            torch.autograd.grad(agent.extraction.loss(agent, batch, noise)[0], agent.actor_parameters)

        flops = count_flops(gradients)
        unit = "agent updates/s"
        self.report(name, lambda: fit.take_step(report=False), config.num_agents, unit, flops, config.bfloat16)

    def rollouts(self, name: str, config: AgentConfig, branches: int) -> None:
        """A round of five steps in a world model of the paper's sizes."""
        fit = self._agent_fit(config, 384, branches)
        fit.take_step()
        transitions = config.num_agents * branches * fit.config.rollout_length
        self.report(name, fit._rollout, transitions, "transitions/s")

    def encoding(self, name: str, batch: int, length: int) -> None:
        """Episodes to features, at the paper's sizes."""
        model = RecurrentWorldModel(RecurrentConfig(), ACTIONS).to(self.device).requires_grad_(False)
        data, draws = segment(batch, length, 64, self.device), self.draws()

        @torch.no_grad()
        def encode() -> Tensor:
            return model.observe(data.observation, data.action, draws)[0]

        self.report(name, encode, batch * length, "frames/s")

    def _agent_fit(self, config: AgentConfig, feature_dim: int, branches: int) -> AgentFit:
        torch.manual_seed(0)
        draws, rows = self.draws(), 10_000
        dataset = EncodedDataset.from_rows(
            feature=torch.randn(1, rows, feature_dim, device=self.device, generator=draws),
            action=torch.rand(rows, ACTIONS, device=self.device, generator=draws) * 2 - 1,
            reward=torch.rand(rows, device=self.device, generator=draws),
            terminal=torch.zeros(rows, device=self.device),
            is_first=torch.arange(rows, device=self.device) == 0,
            config=config,
        )
        agent = ConservativeActorCritic([config] * config.num_agents, feature_dim, ACTIONS, self.device)
        dynamics = RSSMConfig(stochastic=feature_dim - 256)
        model = RecurrentWorldModel(RecurrentConfig(dynamics=dynamics), ACTIONS).to(self.device).requires_grad_(False)
        schedule = AgentFitConfig(rollout_batch_size=branches, rollout_every=10**9, model_retain_rounds=1)
        return AgentFit(agent, model, dataset, schedule, draws, graphs=self.graphs)


def segment(batch: int, length: int, size: int, device: torch.device) -> Segment:
    """Random images, actions and rewards."""
    draws = torch.Generator(device).manual_seed(0)
    image = torch.randint(256, (batch, length, size, size, 3), dtype=torch.uint8, device=device, generator=draws)
    action = torch.rand(batch, length, ACTIONS, device=device, generator=draws) * 2 - 1
    never = torch.zeros(batch, length, dtype=torch.bool, device=device)
    return Segment(image, action, torch.rand(batch, length, device=device, generator=draws), never, never)


def compare(before: Path, after: Path) -> None:
    """Print the ratio of times of what two files have in common; more than 1 is faster."""
    try:
        old, new = (json.loads(path.read_text()) for path in (before, after))
        parts = [part for part in new if part != "figures" and old.get(part) != new[part]]
        old["figures"], new["figures"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{before} and {after} are not both files of --json ({error})") from error
    for part in parts:
        print(f"{part} differs: {old.get(part)}; {new[part]}")
    for name, figures in new["figures"].items():
        if name in old["figures"]:
            was, now = old["figures"][name]["seconds"], figures["seconds"]
            print(f"{name:46s} {1e3 * was:9.2f} ms -> {1e3 * now:9.2f} ms   {was / now:5.2f}")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=3, help="of which the median counts")
    parser.add_argument("--only", default="", help="measure only what has this in its name")
    parser.add_argument("--cuda_graphs", default="auto", choices=("auto", "on", "off"))
    parser.add_argument("--tf32", action=argparse.BooleanOptionalAction, default=True, help="on a GPU")
    parser.add_argument("--choices", type=data_dir, default="", help="the folder of what is fastest here")
    parser.add_argument("--json", type=given_path, metavar="FILE", help="keep the figures in FILE")
    parser.add_argument(
        "--compare", type=given_path, nargs=2, metavar=("BEFORE", "AFTER"), help="print two such files as ratios"
    )
    given = parser.parse_args()
    if given.compare:
        compare(*given.compare)
        return
    device = choose_device(given.device)
    if given.repeats < 1:
        raise UserError(f"--repeats is {given.repeats}; it is at least 1")
    cuda = device.type == "cuda"
    set_precision(device, given.tf32)
    machine = torch.cuda.get_device_name() if cuda else processor()
    print(f"torch {torch.__version__}, {machine}, {torch.get_num_threads()} threads")
    bench = Bench(device, given.repeats, given.choices, given.cuda_graphs)
    paper, batch = AgentConfig(), 64 if cuda else 8
    small = AgentConfig(num_agents=3, num_sampled_actions=5, batch=128, network=NetworkConfig(hidden=256))

    def paper_model(low: bool) -> Callable[[str], None]:
        return lambda name: bench.world_model(name, RecurrentConfig(conv=ConvConfig(bfloat16=low)), batch, 50)

    def stack_of(agents: int, low: bool = False) -> Callable[[str], None]:
        return lambda name: bench.agent(name, AgentConfig(num_agents=agents, bfloat16=low), 384)

    cases: list[tuple[str, Callable[[str], None]]] = [
        (f"world model, paper, {batch} x 50, {kind}", paper_model(low))
        for low, kind in ((False, "float32"), (True, "bfloat16"))
    ]
    cases += [
        ("world model, small, 32 x 16", lambda name: bench.world_model(name, SMALL, 32, 16)),
        ("agent, paper, batch 256, 2 x 10 actions", stack_of(1)),
        ("agent, paper, log-sum-exp in bfloat16", stack_of(1, low=True)),
        ("agents, 3 as a stack, batch 128, 2 x 5", lambda name: bench.agent(name, small, 320)),
    ]
    if cuda:
        cases += [(f"agents, {stack} as a stack, paper", stack_of(stack)) for stack in (4, 8)]
        cases += [(f"agents, {stack} as a stack, bfloat16", stack_of(stack, low=True)) for stack in (4, 8)]
    branches = 5000 if cuda else 500
    cases += [
        (f"rollouts, paper, {branches} x 5", lambda name: bench.rollouts(name, paper, branches)),
        ("encoding, paper, 8 x 100", lambda name: bench.encoding(name, 8, 100)),
    ]
    chosen = [(name, measure) for name, measure in cases if given.only in name]
    if not chosen:
        raise UserError(f"--only {given.only!r} is in none of: {'; '.join(name for name, _ in cases)}")
    for name, measure in chosen:
        measure(name)
    if given.json:
        about = {"torch": torch.__version__, "machine": machine, "threads": torch.get_num_threads()}
        settings = {"cuda_graphs": given.cuda_graphs, "tf32": given.tf32}
        result = {**about, **settings, "figures": bench.figures}
        given.json.write_text(json.dumps(result, indent=1))
        print(f"kept in {given.json}", file=sys.stderr)


if __name__ == "__main__":
    run_cli(main)
