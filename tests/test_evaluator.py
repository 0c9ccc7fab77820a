"""Scores do not depend on how many episodes are played side by side, nor on what was played before."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import toy_pendulum

from envs.registry import get_task
from envs.task import ObservationSpec, Task
from latent_combo.agent.networks import Actor
from latent_combo.agent.settings import NetworkConfig
from latent_combo.evaluation.evaluator import Evaluator
from latent_combo.evaluation.policy import BLOCK, Policy
from latent_combo.evaluation.score import Score
from latent_combo.evaluation.settings import ScoreConfig
from latent_combo.world_model.base import WorldModel
from latent_combo.world_model.ensemble import EnsembleWorldModel
from latent_combo.world_model.recurrent import RecurrentWorldModel
from latent_combo.world_model.settings import ConvConfig, EnsembleConfig, RecurrentConfig, RSSMConfig

WALKER = replace(get_task("walker-walk"), horizon=15)
CONV = ConvConfig(
    image_size=32, encoder_channels=(8, 16, 24), decoder_input=16, decoder_channels=(8, 4), decoder_kernels=(5, 6, 6)
)
RSSM = RSSMConfig(deterministic=24, stochastic=20, hidden=24, members=2)
FIRST = 7
"""Not the first place of a block."""
STACK = 2


@contextmanager
def scored(kind: str) -> Iterator[tuple[Evaluator, Policy]]:
    """Agents with fresh weights, of pixels or states, and what scores them."""
    torch.manual_seed(0)
    task: Task = WALKER if kind == "pixels" else toy_pendulum.TASK
    model: WorldModel
    if kind == "pixels":
        model = RecurrentWorldModel(RecurrentConfig(conv=CONV, dynamics=RSSM, head_hidden=8), task.action_dim)
    else:
        model = EnsembleWorldModel(EnsembleConfig(hidden=8), task.state_dim, task.action_dim, "none")
    actor = Actor(STACK, NetworkConfig(hidden=64), model.feature_dim, task.action_dim)
    policy = Policy(model, actor, STACK, seed=3, sample=True)
    config = ScoreConfig(episodes=1, episodes_during_training=1)
    with (
        toy_pendulum.registered(),
        closing(Evaluator(task, ObservationSpec(kind, "fast", 32), STACK, config)) as evaluator,
    ):
        yield evaluator, policy


def parts(score: Score, episodes: slice) -> list[np.ndarray[Any, Any]]:
    assert score.recorded is not None
    recorded = [part[episodes].numpy() for part in score.recorded.tensors().values()]
    return [score.returns[:, episodes], score.last_rewards[:, episodes], *recorded]


@pytest.mark.parametrize("kind", ["pixels", "state"])
def test_an_episode_is_the_same_to_the_last_bit_whatever_is_played_beside_it(kind: str) -> None:
    most = BLOCK - FIRST + 3 if kind == "pixels" else 2 * BLOCK
    with scored(kind) as (evaluator, policy):
        many = evaluator.play(policy, FIRST, most, record=most)
        few = evaluator.play(policy, FIRST, 2, record=2)
        last = evaluator.play(policy, FIRST + most - 1, 1, record=1)
    steps = few.recorded.action.shape[1] if few.recorded is not None else 0
    for ours, theirs in zip(parts(few, slice(None)), parts(many, slice(2)), strict=True):
        np.testing.assert_array_equal(ours, theirs[:, :steps] if theirs.ndim > 1 and len(ours) == 2 else theirs)
    np.testing.assert_array_equal(last.returns[:, 0], many.returns[:, -1])
    assert len(set(many.returns.flatten().tolist())) == many.returns.size  # and each is an episode of its own


def test_agents_and_episodes_have_noise_of_their_own() -> None:
    with scored("pixels") as (_, policy):
        seen = torch.zeros(STACK, 3, 32, 32, 3, dtype=torch.uint8)
        policy.reset(3, FIRST)
        actions = policy.act(seen)
        assert len({tuple(action.tolist()) for action in actions.flatten(0, 1)}) == STACK * 3
        policy.reset(3, FIRST)
        assert torch.equal(policy.act(seen), actions)  # a second score begins anew
        policy.reset(1, FIRST + 2)
        assert torch.equal(policy.act(seen[:, :1]), actions[:, 2:])


def test_the_last_look_plays_as_many_episodes_as_the_final_score_and_others() -> None:
    config = ScoreConfig(episodes=5, episodes_during_training=2)
    task = replace(toy_pendulum.TASK, horizon=3)
    with scored("state") as (_, policy), closing(Evaluator(task, ObservationSpec("state"), STACK, config)) as evaluator:
        early, last, final = evaluator.interim(policy), evaluator.interim(policy, last=True), evaluator.final(policy)
    assert early.returns.shape == (STACK, 2) and last.returns.shape == final.returns.shape == (STACK, 5)
    np.testing.assert_array_equal(last.returns[:, :2], early.returns)
    assert not set(last.returns.flatten()) & set(final.returns.flatten())


def test_looks_and_final_score_share_no_episode() -> None:
    assert ScoreConfig(episodes=5, episodes_during_training=2, seed=5, seed_during_training=0).last_episodes == 5
    # the last evaluation during training ends where the final score begins
    assert ScoreConfig(episodes=6, episodes_during_training=2, seed=5, seed_during_training=0).last_episodes == 5
    assert ScoreConfig(episodes=6, episodes_during_training=2, seed=0, seed_during_training=9).last_episodes == 6
    with pytest.raises(ValueError, match="some of the same episodes"):
        ScoreConfig(episodes=6, episodes_during_training=6, seed=5, seed_during_training=0)


@pytest.mark.parametrize("at", ["start", "reset"])
def test_a_failed_episode_is_named_by_the_agent_that_played_it(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that plays alone keeps its number in the stack that it comes from."""
    with scored("state") as (evaluator, policy):
        copies = evaluator._environments(2)
        reset = copies.reset

        def failing(seeds: list[int]) -> tuple[Any, ...]:
            if at == "start":
                raise RuntimeError("no environment")
            started = reset(seeds)
            started[-1][1] = "it broke"
            return started

        monkeypatch.setattr(copies, "reset", failing)
        actor = Actor(1, NetworkConfig(hidden=8), policy.model.feature_dim, policy.model.action_dim)
        score = evaluator.play(Policy(policy.model, actor, 1, seed=3, sample=True, first_agent=4), FIRST, 2)
        assert score.returns.shape == (1, 2)
        told = [(failure.agent, failure.seed) for failure in score.failures]
        assert told == ([(4, FIRST), (4, FIRST + 1)] if at == "start" else [(4, FIRST + 1)])
