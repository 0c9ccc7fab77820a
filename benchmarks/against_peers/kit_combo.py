"""OfflineRL-Kit, `COMBOPolicy.learn`.

CQL's sizes, half of a batch the dataset's and half the model's (f = 0.5), on 17 states and on 384 features, rho "mix"
and "model"; deterministic backup, no Lagrange multiplier, the temperature tuned.

- Equal: what is minimised, over as many real and imagined rows; rho "model" pushes down the imagined half alone. "ours,
  one draw" as above.
- Not equal: it samples the third set of actions, too. It values the real half's pairs twice. It keeps the graph of the
  sampled actions, so that both critics' losses run backwards through the policy, whose gradient is then thrown away.
  Ours draws its batch in the step, from the dataset and from a model buffer that was filled before.
"""

import dataclasses
import importlib
import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from benchmarks.against_peers.agents import (
    ACTIONS,
    ACTOR_RATE,
    ALPHA_RATE,
    BATCH,
    CRITIC_RATE,
    DISCOUNT,
    HIDDEN,
    LAYERS,
    READY,
    ROWS,
    SAMPLED,
    STATES,
    TARGET_RATE,
    THEIR_WEIGHT,
    agent_config,
    columns,
    our_agents,
)
from benchmarks.against_peers.contest import Contest, Peer, Runner, adam

FEATURES = 384
"""The paper's latent features."""
BETA = 0.5


def kit_contests(fused: bool) -> Iterator[Contest]:
    """COMBO on states and on features, pushing down the whole batch's states or the model's alone."""
    for states, what in ((STATES, "states"), (FEATURES, "features")):
        rows = columns(states)
        for rho in ("mix", "model"):
            config = agent_config(beta=BETA, real_ratio=0.5, penalty_states=rho)
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
        cql_weight=THEIR_WEIGHT * BETA,
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


def kit_commit() -> str:
    """The commit that OfflineRL-Kit is checked out at: it has no releases."""
    folder = Path(cast(str, importlib.import_module("offlinerlkit").__file__)).parent
    asked = subprocess.run(["git", "-C", folder, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return asked.stdout.strip() or "of an unknown commit"


PEER = Peer(
    "offlinerlkit.policy.model_based.combo",
    "git clone https://github.com/yihaosun1124/OfflineRL-Kit /tmp/OfflineRL-Kit, pip install gym tensorboard, "
    "and put the folder on PYTHONPATH",
    kit_commit,
    kit_contests,
)
