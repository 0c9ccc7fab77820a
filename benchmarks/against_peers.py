"""`python -m benchmarks.against_peers`: updates per second, ours beside three peers', in turns in one process on a CPU.

Ours are the steps that training takes, `AgentFit.take_step` and `Fit.take_step`, with their sampling, noise
and checks for numbers that are not finite. Theirs are given batches that are ready. A ratio is their seconds per update
over ours in the same turn; above 1, ours is faster. GFLOP are those of the matrix products and convolutions that
torch's counter sees. All is float32, but for "ours, bfloat16", which has `agent.bfloat16` (slow without instructions
for it), and nothing is compiled. d3rlpy's and OfflineRL-Kit's squared errors have no 1/2,
so their conservative weights are twice our beta: their critics' losses are twice ours.

d3rlpy 2.8.1, CQL: 17 states, 6 actions, batches of 256, twin critics and a policy of three layers of 256, 10 sampled
actions of each kind, the temperature tuned, the conservative weight fixed. "ours, one draw" has softmax_draws = 1, the
same gradient on average. "ours, 3 as a stack" trains three agents side by side, and counts as three updates.

- Equal: the Bellman, conservative and policy losses over one batch; an Adam step of each network and the temperature.
- Not equal: d3rlpy samples a third set of 10 actions, those of the next state's policy, as Kumar et al.'s code does.
  It values the batch's own pairs twice. Its target takes the policy's mode, ours a sample. Ours draws its batch in the
  step.

OfflineRL-Kit, `COMBOPolicy.learn`: the same sizes, half of a batch the dataset's and half the model's (f = 0.5), on 17
states and on 384 features, rho "mix" and "model"; deterministic backup, no Lagrange multiplier, the temperature tuned.

- Equal: what is minimised, over as many real and imagined rows; rho "model" pushes down the imagined half alone. "ours,
  one draw" as above.
- Not equal: it samples the third set of actions, too. It values the real half's pairs twice. It keeps the graph of the
  sampled actions, so that both critics' losses run backwards through the policy, whose gradient is then thrown away.
  Ours draws its batch in the step, from the dataset and from a model buffer that was filled before.

TorchRL 0.14.1, `DreamerModelLoss`: 8 sequences of 25 images of 64 pixels, 6 actions; forward, backward, the gradient
clipped at 100, an Adam step.

- Equal: the encoder (32, 64, 128, 256 channels, kernel 4, stride 2), the decoder (1024 units; 128, 64, 32, 3 channels,
  kernels 5, 5, 6, 6), the GRU of 256, the Gaussian latent of 128, its standard deviations 0.1 or more, one hidden layer
  of 256 (ELU) for the GRU's input, the prior and the posterior, two for the reward; summed squared errors, the KL
  without free nats; 5,762,628 weights, ours with members = 1.
- Not equal: TorchRL evaluates the prior inside of the recurrence, and draws a sample of it that nothing uses. It has a
  ReLU after the decoder's first layer and no 1/2 in its squared errors. Its images are ready as floats in [0, 1], as
  its script stores them; ours are bytes that the step converts. TorchRL's script takes bfloat16 autocast by default;
  here it does not. "ours, 7 priors" is the paper's ensemble.

Optimisers are those of the peers' scripts, which leave torch's fused Adam off on a CPU. `--fused` hands it to
OfflineRL-Kit and TorchRL, whose optimisers are the caller's to make.

An environment of its own (torch first, and held there, for the others would bring a CUDA build):

    python -m venv /tmp/peers && /tmp/peers/bin/pip install "torch==2.13.0"
    echo "torch==2.13.0" > /tmp/peers/constraints.txt
    /tmp/peers/bin/pip install -c /tmp/peers/constraints.txt d3rlpy==2.8.1 torchrl==0.14.1 einops tensorboard
    git clone https://github.com/yihaosun1124/OfflineRL-Kit /tmp/OfflineRL-Kit
    git -C /tmp/OfflineRL-Kit checkout e3ce69793766d02660217d4dfc0af4693a5531bd
    PYTHONPATH=.:/tmp/OfflineRL-Kit /tmp/peers/bin/python -m benchmarks.against_peers --threads 2

OfflineRL-Kit imports tensorboard and gym; d3rlpy brings gym. TorchRL's compiled extension does not load beside torch
2.13: its world model needs nothing of it.
"""

import argparse
import dataclasses
import importlib
import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from data.locate import default_data_dir
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.fit import AgentFit, AgentFitConfig
from latent_combo.agent.networks import NetworkConfig
from latent_combo.agent.replay import EncodedDataset
from latent_combo.agent.settings import AgentConfig
from latent_combo.numerics.choices import Choices, processor
from latent_combo.numerics.flops import count_flops
from latent_combo.numerics.matmul import LIBRARIES, fastest_library, use_library
from latent_combo.world_model.base import ModelStep, Segment, WorldModel
from latent_combo.world_model.conv import ConvConfig
from latent_combo.world_model.fit import Fit, FitConfig
from latent_combo.world_model.recurrent import RecurrentConfig, RecurrentWorldModel
from latent_combo.world_model.rssm import RSSMConfig
from latent_combo.world_model.tune import with_fastest_ways

STATES, FEATURES, ACTIONS = 17, 384, 6
"""Of halfcheetah's states, and of the paper's latent features."""
ROWS = 100_000
"""Of the dataset; an episode has 1,000."""
BATCH, HIDDEN, LAYERS, SAMPLED = 256, 256, 3, 10
DISCOUNT, TARGET_RATE = 0.99, 5e-3
ACTOR_RATE, CRITIC_RATE, ALPHA_RATE = 1e-4, 3e-4, 1e-4
CQL_BETA, COMBO_BETA = 2.5, 0.5
THEIR_WEIGHT = 2.0
"""Of the conservative term, per unit of our beta: d3rlpy's and OfflineRL-Kit's squared errors have no 1/2."""
READY = 32
"""Batches of a peer that are prepared, and taken in turn."""
IMAGINED = 10_000
"""Transitions in the model buffer."""
SEQUENCES, LENGTH, SIZE = 8, 25, 64
GRU, LATENT, EMBEDDING = 256, 128, 1024
MODEL_RATE, CLIP = 6e-4, 100.0
FOREVER = 10**9
"""Updates of a schedule that a benchmark does not reach the end of."""

Step = Callable[[], object]


@dataclass(frozen=True)
class Runner:
    """What is timed."""

    step: Step
    updates: int = 1
    """Updates that a step makes: one per agent of a stack."""


@dataclass(frozen=True)
class Contest:
    """Runners that take turns."""

    name: str
    theirs: Runner
    ours: dict[str, Runner]
    steps: int
    """Steps of each runner in a turn, unless the command line has its own."""


@dataclass(frozen=True)
class Peer:
    """Another library, and how ours is measured beside it."""

    module: str
    """What has to be importable."""
    install: str
    about: Callable[[], str]
    """Its version."""
    contests: Callable[[bool], Iterator[Contest]]
    """Given whether to hand it fused optimisers; made one by one, so that the memory of one is free for the next."""


class StandStill:
    """All of a world model that rollouts ask for: states stay as they are, for no reward."""

    def imagine_step(self, feature: Tensor, action: Tensor, generator: torch.Generator) -> ModelStep:
        """See `WorldModel.imagine_step`."""
        nothing = feature.new_zeros(len(feature))
        return ModelStep(feature.clone(), nothing, nothing)


def columns(states: int) -> dict[str, np.ndarray]:
    """Rows of a dataset: `action` and `reward` are of the step from a row to the next."""
    rng = np.random.default_rng(0)
    return {
        "observation": rng.standard_normal((ROWS, states), dtype=np.float32),
        "action": rng.uniform(-1, 1, (ROWS, ACTIONS)).astype(np.float32),
        "reward": rng.standard_normal(ROWS, dtype=np.float32),
    }


def our_agents(rows: dict[str, np.ndarray], config: AgentConfig) -> Runner:
    """Updates of a stack; its model buffer, where it has one, is filled at the first step and never again."""
    torch.manual_seed(0)
    device = torch.device("cpu")
    states = rows["observation"].shape[1]
    agents = ConservativeActorCritic([config] * config.num_agents, states, ACTIONS, device)
    dataset = EncodedDataset.from_rows(
        feature=torch.from_numpy(rows["observation"])[None],
        action=torch.from_numpy(rows["action"]),
        reward=torch.from_numpy(rows["reward"]),
        terminal=torch.zeros(ROWS),
        is_first=torch.arange(ROWS) % 1000 == 0,
        config=config,
    )
    schedule = AgentFitConfig(
        updates=FOREVER,
        rollout_length=1,
        rollout_batch_size=IMAGINED,
        rollout_every=FOREVER,
        model_retain_rounds=1,
        evaluations=0,
    )
    model = cast(WorldModel, StandStill())
    fit = AgentFit(agents, model, dataset, schedule, torch.Generator().manual_seed(0))
    return Runner(lambda: fit.take_step(report=False), config.num_agents)  # as most of them are


def agent_config(**changes: Any) -> AgentConfig:
    """The sizes and rates that all share."""
    network = NetworkConfig(hidden=HIDDEN, layers=LAYERS)
    shared = AgentConfig(
        network=network, actor_network=network, num_sampled_actions=SAMPLED, batch=BATCH, gamma=DISCOUNT,
        tau=TARGET_RATE, actor_learning_rate=ACTOR_RATE, critic_learning_rate=CRITIC_RATE,
        alpha_learning_rate=ALPHA_RATE, initial_alpha=1.0,
    )  # fmt: skip
    return dataclasses.replace(shared, **changes)


def d3rlpy_contests(fused: bool) -> Iterator[Contest]:
    """CQL on states. d3rlpy makes its own optimisers, whatever `fused` is."""
    rows = columns(STATES)
    config = agent_config(beta=CQL_BETA, real_ratio=1.0, rho="dataset")
    yield Contest(
        f"CQL, {STATES} states",
        d3rlpy_cql(rows),
        {
            "ours": our_agents(rows, config),
            "ours, one draw": our_agents(rows, dataclasses.replace(config, softmax_draws=1)),
            "ours, bfloat16": our_agents(rows, dataclasses.replace(config, bfloat16=True)),
            "ours, 3 as a stack": our_agents(rows, dataclasses.replace(config, num_agents=3)),
        },
        steps=10,
    )


def d3rlpy_cql(rows: dict[str, np.ndarray]) -> Runner:
    """d3rlpy's update on batches that are ready as arrays: cheaper than its own sampling of a replay buffer."""
    import d3rlpy
    from d3rlpy.dataset import TransitionMiniBatch

    encoder = d3rlpy.models.encoders.VectorEncoderFactory(hidden_units=[HIDDEN] * LAYERS)
    algorithm = d3rlpy.algos.CQLConfig(
        actor_encoder_factory=encoder, critic_encoder_factory=encoder, batch_size=BATCH, gamma=DISCOUNT,
        tau=TARGET_RATE, actor_learning_rate=ACTOR_RATE, critic_learning_rate=CRITIC_RATE,
        temp_learning_rate=ALPHA_RATE, initial_temperature=1.0, alpha_learning_rate=0.0, initial_alpha=1.0,
        conservative_weight=THEIR_WEIGHT * CQL_BETA, n_action_samples=SAMPLED,
    ).create(device="cpu")  # fmt: skip
    algorithm.create_impl((STATES,), ACTIONS)
    names = {field.name for field in dataclasses.fields(TransitionMiniBatch)}
    zeros = np.zeros((BATCH, 1), np.float32)
    rng = np.random.default_rng(0)

    def batch() -> TransitionMiniBatch:
        row = rng.integers(ROWS - 1, size=BATCH)
        parts = {
            "observations": rows["observation"][row],
            "actions": rows["action"][row],
            "rewards": rows["reward"][row, None],
            "next_observations": rows["observation"][row + 1],
            "next_actions": rows["action"][row + 1],
            "returns_to_go": zeros,
            "terminals": zeros,
            "intervals": zeros + 1.0,
            "transitions": [],
        }
        return TransitionMiniBatch(**{name: value for name, value in parts.items() if name in names})

    ready = itertools.cycle([batch() for _ in range(READY)])
    return Runner(lambda: algorithm.update(next(ready)))


def kit_contests(fused: bool) -> Iterator[Contest]:
    """COMBO on states and on features, pushing down the whole batch's states or the model's alone."""
    for states, what in ((STATES, "states"), (FEATURES, "features")):
        rows = columns(states)
        for rho in ("mix", "model"):
            config = agent_config(beta=COMBO_BETA, real_ratio=0.5, rho=rho)
            ours = {
                "ours": our_agents(rows, config),
                "ours, one draw": our_agents(rows, dataclasses.replace(config, softmax_draws=1)),
                "ours, bfloat16": our_agents(rows, dataclasses.replace(config, bfloat16=True)),
            }
            yield Contest(f"COMBO, {states} {what}, rho {rho}", kit_combo(rows, rho, fused), ours, steps=10)


def kit_combo(rows: dict[str, np.ndarray], rho: str, fused: bool) -> Runner:
    """OfflineRL-Kit's update on batches that are ready as tensors."""
    import gym
    from offlinerlkit.modules import ActorProb, Critic, TanhDiagGaussian
    from offlinerlkit.nets import MLP
    from offlinerlkit.policy.model_based.combo import COMBOPolicy

    torch.manual_seed(0)
    states = rows["observation"].shape[1]
    layers = [HIDDEN] * LAYERS
    actor = ActorProb(
        MLP(states, layers), TanhDiagGaussian(HIDDEN, ACTIONS, unbounded=True, conditioned_sigma=True), "cpu"
    )
    critics = [Critic(MLP(states + ACTIONS, layers), "cpu") for _ in range(2)]
    log_alpha = torch.zeros(1, requires_grad=True)
    policy = COMBOPolicy(
        None,  # its dynamics model: nothing that an update needs
        actor,
        *critics,
        adam(actor.parameters(), ACTOR_RATE, fused),
        *(adam(critic.parameters(), CRITIC_RATE, fused) for critic in critics),
        action_space=gym.spaces.Box(-1.0, 1.0, (ACTIONS,)),
        tau=TARGET_RATE,
        gamma=DISCOUNT,
        alpha=(-float(ACTIONS), log_alpha, adam([log_alpha], ALPHA_RATE, fused)),
        cql_weight=THEIR_WEIGHT * COMBO_BETA,
        deterministic_backup=True,
        with_lagrange=False,
        num_repeart_actions=SAMPLED,
        rho_s=rho,
    )
    policy.train()
    rng = np.random.default_rng(0)

    def half() -> dict[str, Tensor]:
        row = rng.integers(ROWS - 1, size=BATCH // 2)
        parts = {
            "observations": rows["observation"][row],
            "actions": rows["action"][row],
            "next_observations": rows["observation"][row + 1],
            "rewards": rows["reward"][row, None],
            "terminals": np.zeros((BATCH // 2, 1), np.float32),
        }
        return {name: torch.from_numpy(part) for name, part in parts.items()}

    ready = itertools.cycle([{"real": half(), "fake": half()} for _ in range(READY)])
    return Runner(lambda: policy.learn(next(ready)))


def torchrl_contests(fused: bool) -> Iterator[Contest]:
    """A step of the world model, with one prior and with the paper's seven."""
    yield Contest(
        f"world model, {SEQUENCES} sequences of {LENGTH} images",
        torchrl_dreamer(fused),
        {"ours": our_world_model(1), "ours, 7 priors": our_world_model(7)},
        steps=2,
    )


def our_world_model(members: int) -> Runner:
    """Optimiser steps on a segment that is ready."""
    torch.manual_seed(0)
    sizes = RSSMConfig(deterministic=GRU, stochastic=LATENT, hidden=HIDDEN, members=members)
    device = torch.device("cpu")
    choices = Choices(default_data_dir(), device)
    conv = with_fastest_ways(ConvConfig(image_size=SIZE), device, SEQUENCES * LENGTH, choices)
    model = RecurrentWorldModel(RecurrentConfig(conv=conv, rssm=sizes), ACTIONS)
    draws = torch.Generator().manual_seed(0)
    image = torch.randint(256, (SEQUENCES, LENGTH, SIZE, SIZE, 3), dtype=torch.uint8, generator=draws)
    action = torch.rand(SEQUENCES, LENGTH, ACTIONS, generator=draws) * 2.0 - 1.0
    never = torch.zeros(SEQUENCES, LENGTH, dtype=torch.bool)
    segment = Segment(image, action, torch.rand(SEQUENCES, LENGTH, generator=draws), never, never)
    config = FitConfig(
        steps=FOREVER, batch=SEQUENCES, length=LENGTH, learning_rate=MODEL_RATE, gradient_clip=CLIP, weight_decay=0.0
    )
    return Runner(Fit(model, config, lambda: segment, draws).take_step)


def torchrl_dreamer(fused: bool) -> Runner:
    """Optimiser steps of TorchRL's parts, put together as `DreamerModelLoss` asks for, on a batch that is ready."""
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule, TensorDictSequential
    from torchrl.data import Bounded
    from torchrl.modules import (
        MLP,
        ObsDecoder,
        ObsEncoder,
        RSSMPosterior,
        RSSMPrior,
        RSSMRollout,
        WorldModelWrapper,
    )
    from torchrl.objectives.dreamer import DreamerModelLoss

    torch.manual_seed(0)
    action_spec = Bounded(-1.0, 1.0, (ACTIONS,))
    prior = RSSMPrior(action_spec, hidden_dim=HIDDEN, rnn_hidden_dim=GRU, state_dim=LATENT, action_dim=ACTIONS)
    posterior = RSSMPosterior(hidden_dim=HIDDEN, state_dim=LATENT, rnn_hidden_dim=GRU, obs_embed_dim=EMBEDDING)
    seen = [("next", "state"), ("next", "belief")]
    recurrence = RSSMRollout(
        TensorDictModule(
            prior,
            in_keys=["state", "belief", "action"],
            out_keys=[("next", "prior_mean"), ("next", "prior_std"), "_", ("next", "belief")],
        ),
        TensorDictModule(
            posterior,
            in_keys=[("next", "belief"), ("next", "embedding")],
            out_keys=[("next", "posterior_mean"), ("next", "posterior_std"), ("next", "state")],
        ),
    )
    transition = TensorDictSequential(
        TensorDictModule(ObsEncoder(in_channels=3), in_keys=[("next", "pixels")], out_keys=[("next", "embedding")]),
        recurrence,
        TensorDictModule(ObsDecoder(latent_dim=GRU + LATENT), in_keys=seen, out_keys=[("next", "reco_pixels")]),
    )
    head = MLP(GRU + LATENT, 1, depth=2, num_cells=HIDDEN, activation_class=torch.nn.ELU)
    model = WorldModelWrapper(transition, TensorDictModule(head, in_keys=seen, out_keys=[("next", "reward")]))
    objective = DreamerModelLoss(model, free_nats=0)
    optimiser = adam(model.parameters(), MODEL_RATE, fused)
    shape = (SEQUENCES, LENGTH)
    batch = TensorDict(
        {
            "state": torch.zeros(*shape, LATENT),
            "belief": torch.zeros(*shape, GRU),
            "action": torch.rand(*shape, ACTIONS) * 2.0 - 1.0,
            "next": {"pixels": torch.rand(*shape, 3, SIZE, SIZE), "reward": torch.rand(*shape, 1)},
        },
        batch_size=shape,
    )

    def step() -> None:
        losses, _ = objective(batch)
        optimiser.zero_grad()
        (losses["loss_model_kl"] + losses["loss_model_reco"] + losses["loss_model_reward"]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()

    return Runner(step)


def adam(parameters: Any, rate: float, fused: bool) -> torch.optim.Adam:
    """Adam as a peer's script makes it, or fused."""
    return torch.optim.Adam(parameters, lr=rate, fused=fused or None)


def kit_commit() -> str:
    """The commit that OfflineRL-Kit is checked out at: it has no releases."""
    folder = Path(cast(str, importlib.import_module("offlinerlkit").__file__)).parent
    asked = subprocess.run(["git", "-C", folder, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return asked.stdout.strip() or "of an unknown commit"


PEERS = {
    "d3rlpy": Peer("d3rlpy", "pip install d3rlpy==2.8.1", lambda: version("d3rlpy"), d3rlpy_contests),
    "offlinerl-kit": Peer(
        "offlinerlkit.policy.model_based.combo",
        "git clone https://github.com/yihaosun1124/OfflineRL-Kit /tmp/OfflineRL-Kit, pip install gym tensorboard, "
        "and put the folder on PYTHONPATH",
        kit_commit,
        kit_contests,
    ),
    "torchrl": Peer(
        "torchrl.objectives.dreamer", "pip install torchrl==0.14.1", lambda: version("torchrl"), torchrl_contests
    ),
}


def seconds(runner: Runner, steps: int) -> float:
    """Seconds per update."""
    started = time.perf_counter()
    for _ in range(steps):
        runner.step()
    return (time.perf_counter() - started) / (steps * runner.updates)


def measure(contest: Contest, peer: str, turns: int, steps: int) -> dict[str, object]:
    """Seconds per update of every turn, GFLOP per update, and how many times theirs ours are."""
    runners = {**contest.ours, peer: contest.theirs}
    work = {}
    for name, runner in runners.items():
        runner.step()  # the first fills buffers and creates the optimisers' state
        work[name] = count_flops(runner.step) / runner.updates / 1e9
        seconds(runner, steps)
    taken = [{name: seconds(runner, steps) for name, runner in runners.items()} for _ in range(turns)]
    times = {name: [turn[name] for turn in taken] for name in runners}
    ratios = {name: [turn[peer] / turn[name] for turn in taken] for name in contest.ours}
    return {
        "contest": contest.name,
        "peer": peer,
        "steps": steps,
        "gflop": work,
        "seconds": times,
        "ratio": {
            name: {"median": float(np.median(values)), "min": min(values), "max": max(values)}
            for name, values in ratios.items()
        },
    }


def report(result: dict[str, Any]) -> None:
    peer, turns = result["peer"], len(result["seconds"][result["peer"]])
    print(f"\n{result['contest']} ({turns} turns of {result['steps']} steps)")
    for name, times in result["seconds"].items():
        print(f"  {name:20s} {1.0 / np.median(times):8.2f} updates/s {result['gflop'][name]:8.2f} GFLOP per update")
    for name, ratio in result["ratio"].items():
        work = result["gflop"][peer] / result["gflop"][name]
        print(
            f"  {name}: {ratio['median']:.2f} times {peer} ({ratio['min']:.2f} to {ratio['max']:.2f}), "
            f"of which {work:.2f} by doing less",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against_peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peer", choices=[*PEERS, "all"], default="all")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument(
        "--updates", type=int, help="steps of each in a turn; 10 of agents and 2 of world models if unset"
    )
    parser.add_argument("--fused", action="store_true", help="fused Adam for OfflineRL-Kit and TorchRL")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements to FILE")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cpu = torch.device("cpu")
    use_library(Choices(default_data_dir(), cpu).get("library of products", LIBRARIES, fastest_library))
    machine = {
        "torch": torch.__version__,
        "threads": given.threads,
        "processor": processor(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "load": os.getloadavg()[0],
    }
    print("; ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    results, versions = [], {}
    for name in PEERS if given.peer == "all" else [given.peer]:
        peer = PEERS[name]
        try:
            importlib.import_module(peer.module)
        except ImportError as error:
            print(f"\n{name} is left out ({error}); to measure it: {peer.install}", flush=True)
            continue
        versions[name] = peer.about()
        print(f"\n{name} {versions[name]}", flush=True)
        for contest in peer.contests(given.fused):
            results.append(measure(contest, name, given.turns, given.updates or contest.steps))
            report(results[-1])
    if given.json:
        given.json.write_text(json.dumps({**machine, "fused": given.fused, "peers": versions, "results": results}))


if __name__ == "__main__":
    main()
