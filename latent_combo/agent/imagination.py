"""The policy's own trajectories in the frozen world model, through which gradients flow, and their lambda-returns.

Symbols (docs/symbols.md): S, B, H steps, K, F, A.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor

from latent_combo.agent.networks import Actor, TwinCritic
from latent_combo.world_model.base import WorldModel


class Acting(Protocol):
    """What acts and values in imagination."""

    actor: Actor
    target: TwinCritic


@dataclass(frozen=True)
class Trajectory:
    """H imagined steps from each of (S, B) states."""

    reward: Tensor
    """(H, S, B), less the weighted disagreement."""
    discount: Tensor
    """(H, S, B): gamma times the probability that the step did not end the episode."""
    value: Tensor
    """(H, S, B): of the states after each step, the least of the target critics at an action of the policy."""
    log_policy: Tensor
    """(H, S, B): log-densities of the actions that the policy took."""

    def lambda_returns(self, trace_decay: float) -> Tensor:
        """`G_t = r_t + discount_t ((1 - lambda) V_{t+1} + lambda G_{t+1})`, the last with V alone: (H, S, B)."""
        following, returns = self.value[-1], list[Tensor]()
        for reward, discount, value in zip(
            reversed(self.reward.unbind()), reversed(self.discount.unbind()), reversed(self.value.unbind()), strict=True
        ):
            following = reward + discount * ((1.0 - trace_decay) * value + trace_decay * following)
            returns.append(following)
        return torch.stack(returns[::-1])

    def reached(self) -> Tensor:
        """How much each step counts: the discounts of all steps before it, (H, S, B), without gradients."""
        before = torch.cat([torch.ones_like(self.discount[:1]), self.discount[:-1]])
        return before.detach().cumprod(0)


@dataclass(frozen=True)
class Imagination:
    """Where an agent imagines: a frozen world model, H steps far."""

    model: WorldModel
    generator: torch.Generator
    steps: int
    gamma: float
    weight: Tensor
    """(S,): of the members' disagreement, which is taken from the rewards (`disagreement`)."""

    def follow(self, agent: Acting, feature: Tensor, first: Tensor | None = None) -> Trajectory:
        """Go on from features (S, B, F) by samples of the policy.

        `first` (S, B, A) is the first action, if it is not the policy's; its log-density then counts as 0.
        """
        action, log_policy = self._act(agent, feature)
        if first is not None:
            action, log_policy = first, torch.zeros_like(log_policy)
        rows = dict[str, list[Tensor]](reward=[], discount=[], value=[], log_policy=[])
        for _ in range(self.steps):
            states, actions = (rearrange(part, "s b f -> (s b) f") for part in (feature, action))
            step = self.model.imagine_step(states, actions, self.generator)
            unsure = disagreement(self.model, states, actions).view_as(log_policy)
            rows["reward"].append(step.reward.view_as(unsure) - self.weight[:, None] * unsure)
            rows["discount"].append(self.gamma * (1.0 - step.terminal.view_as(unsure)))
            rows["log_policy"].append(log_policy)
            feature = rearrange(step.feature, "(s b) f -> s b f", s=len(feature))
            action, log_policy = self._act(agent, feature)  # the state is valued at what its trajectory goes on by
            rows["value"].append(agent.target(feature, action[:, :, None]).squeeze(-1).amin(0))
        return Trajectory(**{name: torch.stack(parts) for name, parts in rows.items()})

    def _act(self, agent: Acting, feature: Tensor) -> tuple[Tensor, Tensor]:
        policy = agent.actor(feature)
        sampled: tuple[Tensor, Tensor] = policy.sample(
            torch.randn(policy.loc.shape, generator=self.generator, device=feature.device)
        )
        return sampled


def disagreement(model: WorldModel, feature: Tensor, action: Tensor) -> Tensor:
    """Standard deviation of the K members' means of the next latent, averaged over its numbers: (N,) of (N, F), (N, A).

    The mean disagreement of offline DreamerV2 (Lu et al., 2022).
    """
    mean = model.member_priors(feature, action).mean
    apart: Tensor = mean.std(0, unbiased=False).mean(-1)
    return apart
