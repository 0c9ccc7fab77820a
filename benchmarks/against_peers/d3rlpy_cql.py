"""d3rlpy 2.8.1, CQL.

17 states, 6 actions, batches of 256, twin critics and a policy of three layers of 256, 10 sampled actions of each kind,
the temperature tuned, the conservative weight fixed. "ours, one draw" has softmax_draws = 1, the same gradient on
average. "ours, 3 as a stack" trains three agents side by side, and counts as three updates.

- Equal: the Bellman, conservative and policy losses over one batch; an Adam step of each network and the temperature.
- Not equal: d3rlpy samples a third set of 10 actions, those of the next state's policy, as Kumar et al.'s code does.
  It values the batch's own pairs twice. Its target takes the policy's mode, ours a sample. Ours draws its batch in the
  step.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from importlib.metadata import version

import numpy as np

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
from benchmarks.against_peers.contest import Contest, Peer, Runner

BETA = 2.5


def d3rlpy_contests(fused: bool) -> Iterator[Contest]:
    """CQL on states. d3rlpy makes its own optimisers, whatever `fused` is."""
    rows = columns(STATES)
    config = agent_config(beta=BETA, real_ratio=1.0, penalty_states="dataset")
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
        conservative_weight=THEIR_WEIGHT * BETA, n_action_samples=SAMPLED,
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


PEER = Peer("d3rlpy", "pip install d3rlpy==2.8.1", lambda: version("d3rlpy"), d3rlpy_contests)
