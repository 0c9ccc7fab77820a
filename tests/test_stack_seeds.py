"""Agents of a stack that differ by the seed of their initial weights."""

import dataclasses
from typing import Any

import pytest
import torch
from small_agents import SMALL

from envs.registry import get_task
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.config.command_line import parse
from latent_combo.config.schema import Config
from latent_combo.pipeline.build import build_agent
from latent_combo.world_model.ensemble import EnsembleWorldModel
from latent_combo.world_model.settings import EnsembleConfig


def built(seed: int, **settings: Any) -> ConservativeActorCritic:
    config = dataclasses.replace(Config(obs="state"), seed=seed, agent=dataclasses.replace(SMALL, **settings))
    model = EnsembleWorldModel(EnsembleConfig(hidden=4), 11, 3, "none")
    return build_agent(config, get_task("hopper"), model, torch.device("cpu"))


def test_an_agent_of_a_stack_begins_with_the_weights_of_a_run_of_its_seed() -> None:
    plain, stack = built(7, num_agents=3, policy_average=0.9), built(7, initial_seed=[4, 9, 4], policy_average=0.9)
    assert stack.num_agents == 3
    for index, seed in enumerate((4, 9, 4)):
        alone = dict(built(seed, policy_average=0.9).named_parameters())
        for name, weights in stack.named_parameters():
            blocks, one = weights.unflatten(0, (-1, 3)), alone[name].unflatten(0, (-1, 1))
            assert torch.equal(blocks[:, index], one[:, 0]), name
    flat = torch.cat([parameter.flatten() for parameter in stack.actor.parameters()])
    assert torch.equal(stack.actor_weights, flat)  # what the optimiser moves
    assert not torch.equal(plain.actor_weights, stack.actor_weights)
    assert torch.equal(built(7, num_agents=3, policy_average=0.9).actor_weights, plain.actor_weights)


def test_a_list_of_seeds_is_a_stack_and_tells_its_agents_apart() -> None:
    agent = parse(["--obs", "state", "--agent.initial-seed=[4,9]", "--agent.beta=[1,5]"])[0].agent
    assert agent.labels() == ["0, beta 1.0, initial_seed 4", "1, beta 5.0, initial_seed 9"]
    assert parse(["--obs", "state", "--agent.initial-seed", "3"])[0].agent.num_agents == 1


@pytest.mark.parametrize("wrong", [-1, [0, -3]])
def test_a_seed_is_at_least_0(wrong: object) -> None:
    with pytest.raises(ValueError, match="initial_seed is -"):
        dataclasses.replace(SMALL, initial_seed=wrong)  # type: ignore[arg-type]
