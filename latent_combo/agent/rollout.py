"""Branched rollouts in the world model (algorithm 1, line 4).

Symbols (docs/symbols.md): S, n, F, A, and the paper's h, mu.
"""

import torch
from einops import rearrange
from torch import Tensor

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Transitions
from latent_combo.agent.offline import OfflineDataset
from latent_combo.agent.penalty import Penalty
from latent_combo.agent.replay import ModelBuffer
from latent_combo.world_model.base import WorldModel


@torch.no_grad()
def rollout(
    model: WorldModel,
    agent: ConservativeActorCritic,
    dataset: OfflineDataset,
    buffer: ModelBuffer,
    rollout_batch_size: int,
    rollout_length: int,
    generator: torch.Generator,
    penalty: Penalty | None = None,
) -> dict[str, Tensor]:
    """Imagine `rollout_length` steps from `rollout_batch_size` states of the dataset per agent, into the buffer.

    Actions are mu's, uniform or the agent's own; the steps are stored as `penalty` leaves them. A branch that
    terminates goes on from a fresh state of the dataset, so that every stored transition starts from a living state
    (two public re-implementations know no terminations here, which ruins hopper). Returns metrics (S,).
    """
    stack, uniform = agent.num_agents, agent.settings.mu_uniform[:, None, None]
    device = generator.device
    feature = dataset.states(*dataset.draw((stack, rollout_batch_size), generator))
    shape = (stack, rollout_batch_size, agent.action_dim)
    weight = agent.settings.penalty_weight.repeat_interleave(rollout_batch_size)
    total = torch.zeros(stack, device=device)
    for _ in range(rollout_length):
        noise = torch.randn(shape, generator=generator, device=device)
        random = torch.rand(shape, generator=generator, device=device) * 2.0 - 1.0
        action = torch.where(uniform, random, agent.actor(feature).act(noise))
        states, actions = rearrange(feature, "s n f -> (s n) f"), rearrange(action, "s n a -> (s n) a")
        step = model.imagine_step(states, actions, generator)
        if penalty is not None:
            step = penalty.of_step(model, states, actions, step, weight)
        next_feature = rearrange(step.feature, "(s n) f -> s n f", s=stack)
        reward = rearrange(step.reward, "(s n) -> s n", s=stack)
        chance = rearrange(step.terminal, "(s n) -> s n", s=stack)
        terminal = torch.rand(chance.shape, generator=generator, device=device) < chance
        discount = agent.config.gamma * (~terminal).float()
        buffer.add(Transitions(feature, action, reward, next_feature, discount))
        total += reward.mean(-1) / rollout_length
        fresh = dataset.states(*dataset.draw((stack, rollout_batch_size), generator))
        feature = torch.where(terminal[..., None], fresh, next_feature)
    return {"model_reward": total}
