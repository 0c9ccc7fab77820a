"""What an agent would do, and get, inside of the model."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latent_combo.world_model.base import WorldModel

AGENT = 0
"""Of a stack, the views show the first."""


def mode_action(actor: nn.Module, stack: int, feature: Tensor) -> Tensor:
    """The first agent's most likely actions (N, A) in features (N, F)."""
    action: Tensor = actor(feature.expand(stack, -1, -1)).mode[AGENT]
    return action


@dataclass(frozen=True)
class Imagination:
    """T steps of N imagined paths."""

    action: Tensor
    """(N, T, A)."""
    reward: Tensor
    """(N, T); zero after an ending."""


@torch.no_grad()
def imagine_policy(
    model: WorldModel, actor: nn.Module, stack: int, feature: Tensor, steps: int, generator: torch.Generator
) -> Imagination:
    """Let the first agent act in the model from features (N, F), each step through a member drawn for it alone."""
    actions, rewards = [], []
    alive = torch.ones(len(feature), device=feature.device)
    for _ in range(steps):
        action = mode_action(actor, stack, feature)
        step = model.imagine_step(feature, action, generator)
        actions.append(action)
        rewards.append(alive * step.reward)
        alive = alive * (step.terminal < 0.5).float()
        feature = step.feature
    return Imagination(torch.stack(actions, 1), torch.stack(rewards, 1))
