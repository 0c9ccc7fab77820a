"""What differs from agent to agent of a stack, as tensors, and what a stack has in common.

Symbols (docs/symbols.md): S.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from latent_combo.agent.settings import PER_AGENT, AgentConfig, one, real_rows


@dataclass(frozen=True)
class AgentSettings:
    """What may differ from agent to agent of a stack; each a tensor (S,)."""

    beta: Tensor
    real_ratio: Tensor
    rho_model: Tensor
    """Weight, 0 or 1, of the model's states in rho(s)."""
    rho_real: Tensor
    """Weight, 0 or 1, of the dataset's states in rho(s)."""
    mu_uniform: Tensor
    """bool; rollouts take uniform actions, else the policy's."""
    anchor: Tensor
    """0 where there is none."""
    penalty_weight: Tensor
    behaviour_weight: Tensor
    critic_learning_rate: Tensor
    actor_learning_rate: Tensor
    alpha_learning_rate: Tensor

    @classmethod
    def stacked(cls, configs: list[AgentConfig], device: torch.device) -> "AgentSettings":
        """Collect the settings of S configs. Raises ValueError where they differ in anything else."""
        own = {name: getattr(configs[0], name) for name in PER_AGENT}
        for config in configs:
            if replace(config, **own) != configs[0]:
                raise ValueError(f"agents of a stack differ in {', '.join(PER_AGENT)} only")

        def column(values: list[Any]) -> Tensor:
            return torch.tensor([float(value) for value in values], device=device)

        return cls(
            beta=column([c.beta for c in configs]),
            real_ratio=column([c.real_ratio for c in configs]),
            rho_model=column([float(c.penalty_states in ("model", "mix")) for c in configs]),
            rho_real=column([float(c.penalty_states in ("dataset", "mix")) for c in configs]),
            anchor=column([c.anchor for c in configs]),
            mu_uniform=torch.tensor([c.rollout_actions == "uniform" for c in configs], device=device),
            penalty_weight=column([c.penalty_weight for c in configs]),
            behaviour_weight=column([c.behaviour_weight for c in configs]),
            critic_learning_rate=column([c.critic_learning_rate for c in configs]),
            actor_learning_rate=column([c.actor_learning_rate for c in configs]),
            alpha_learning_rate=column([c.alpha_learning_rate for c in configs]),
        )


def penalised_rows(configs: list[AgentConfig]) -> slice:
    """The rows of a batch whose states have a weight in rho(s) for any of S agents; a batch's real rows come first.

    Actions are sampled and valued for these states alone: of a mixed batch, and rho that of the model or of the dataset
    only, that is half of the work; without conservatism it is none.
    """
    if not any(config.beta for config in configs):
        return slice(0, 0)
    ends = [real_rows(one(config.real_ratio), config.batch) for config in configs]
    first = min(end if config.penalty_states == "model" else 0 for config, end in zip(configs, ends, strict=True))
    last = max(
        end if config.penalty_states == "dataset" else config.batch for config, end in zip(configs, ends, strict=True)
    )
    return slice(first, last)
