"""`python -m benchmarks.against_d3rlpy`: CQL updates a second, ours beside d3rlpy's, in turns in one process.

Both at the paper's sizes: batches of 256, twin critics and policy of three layers of 256, 10 sampled actions each of
the uniform and of the current policy (d3rlpy adds 10 of the next state's policy, as Kumar et al.'s code does), the
temperature tuned, the conservative weight fixed. d3rlpy is not among the project's dependencies: docs/experiments.md
tells how to install it beside what this needs.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable

import d3rlpy
import numpy as np
import torch
from d3rlpy.dataset import TransitionMiniBatch

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Noise
from latent_combo.agent.replay import EncodedDataset, mixed_batch
from latent_combo.agent.settings import AgentConfig

STATES, ACTIONS, BATCH = 17, 6, 256
"""Of halfcheetah."""
ROWS = 100_000


def data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "observation": rng.normal(size=(ROWS, STATES)).astype(np.float32),
        "action": rng.uniform(-1, 1, (ROWS, ACTIONS)).astype(np.float32),
        "reward": rng.normal(size=ROWS).astype(np.float32),
    }


def ours(columns: dict[str, np.ndarray], stack: int, softmax_draws: int = 0) -> Callable[[], None]:
    """An update with its batch drawn from the encoded dataset, as in training."""
    config = AgentConfig(
        stack=stack, beta=5.0, f=1.0, rho="dataset", actor_learning_rate=1e-4, alpha_learning_rate=1e-4, batch=BATCH,
        softmax_draws=softmax_draws,
    )  # fmt: skip
    torch.manual_seed(0)
    device = torch.device("cpu")
    agent = ConservativeActorCritic([config] * stack, STATES, ACTIONS, device)
    draws = torch.Generator().manual_seed(0)
    dataset = EncodedDataset.from_rows(
        feature=torch.from_numpy(columns["observation"])[None],
        action=torch.from_numpy(columns["action"]),
        reward=torch.from_numpy(columns["reward"]),
        terminal=torch.zeros(ROWS),
        is_first=torch.arange(ROWS) % 1000 == 0,
        config=config,
    )

    def step() -> None:
        batch = mixed_batch(dataset, None, agent.settings.f, BATCH, draws)
        agent.update(batch, Noise.draw(stack, config, ACTIONS, draws))

    return step


def theirs(columns: dict[str, np.ndarray], compiled: bool) -> Callable[[], None]:
    """d3rlpy's update on batches that are ready as arrays: cheaper than its own sampling of a replay buffer."""
    encoder = d3rlpy.models.encoders.VectorEncoderFactory(hidden_units=[256, 256, 256])
    algorithm = d3rlpy.algos.CQLConfig(
        actor_encoder_factory=encoder, critic_encoder_factory=encoder, batch_size=BATCH, alpha_learning_rate=0.0,
        initial_alpha=1.0, conservative_weight=5.0, n_action_samples=10, compile_graph=compiled,
    ).create(device="cpu")  # fmt: skip
    algorithm.create_impl((STATES,), ACTIONS)
    rng = np.random.default_rng(0)

    def step() -> None:
        rows = rng.integers(ROWS - 1, size=BATCH)
        zeros = np.zeros((BATCH, 1), np.float32)
        names = {field.name for field in dataclasses.fields(TransitionMiniBatch)}
        parts = {
            "observations": columns["observation"][rows],
            "actions": columns["action"][rows],
            "rewards": columns["reward"][rows, None],
            "next_observations": columns["observation"][rows + 1],
            "next_actions": columns["action"][rows + 1],
            "returns_to_go": zeros,
            "terminals": zeros,
            "intervals": zeros + 1.0,
            "transitions": [],
        }
        algorithm.update(TransitionMiniBatch(**{name: value for name, value in parts.items() if name in names}))

    return step


def seconds(step: Callable[[], None], updates: int) -> float:
    started = time.perf_counter()
    for _ in range(updates):
        step()
    return (time.perf_counter() - started) / updates


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against_d3rlpy", description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--updates", type=int, default=10, help="of each, in a turn")
    parser.add_argument("--compiled", action="store_true", help="d3rlpy with its compile_graph")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    columns = data()
    steps = {
        "ours": ours(columns, 1),
        "ours, one draw": ours(columns, 1, softmax_draws=1),
        "d3rlpy": theirs(columns, given.compiled),
        "ours, 3 as a stack": ours(columns, 3),
    }
    agents = {"ours": 1, "ours, one draw": 1, "d3rlpy": 1, "ours, 3 as a stack": 3}
    for step in steps.values():
        seconds(step, given.updates)
    turns = [
        {name: seconds(step, given.updates) / agents[name] for name, step in steps.items()} for _ in range(given.turns)
    ]
    print(f"torch {torch.__version__}, d3rlpy {d3rlpy.__version__}, {given.threads} threads")
    for name in steps:
        print(f"{name:20s} {1.0 / float(np.median([turn[name] for turn in turns])):7.1f} updates/s of an agent")
    for name in ("ours", "ours, one draw", "ours, 3 as a stack"):
        ratios = [turn["d3rlpy"] / turn[name] for turn in turns]
        low, middle, high = np.quantile(ratios, (0.0, 0.5, 1.0))
        print(f"{name} / d3rlpy: {middle:.2f} (median of {len(ratios)} turns, {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
