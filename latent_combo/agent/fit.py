"""Training a stack of agents on an encoded dataset and a frozen world model (algorithm 1)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Noise
from latent_combo.agent.replay import EncodedDataset, ModelBuffer, draw_pool, mixed_batch
from latent_combo.agent.rollout import rollout
from latent_combo.run.ranges import require_not_negative, require_positive, require_share
from latent_combo.run.schedule import cosine
from latent_combo.world_model.base import WorldModel


@dataclass(frozen=True)
class AgentFitConfig:
    """The schedule of algorithm 1."""

    updates: int = 250_000
    """Updates of the critics and of the policy."""
    warm_up: int = 0
    """The first of them, in which the policy imitates the dataset's actions by their likelihood alone, and the targets
    of the dataset's pairs are the rewards to the end of their episodes; conservatism and the model's pairs are as after
    it. Policy and values start near the behaviour's. CQL's published code begins with such a policy; not in the paper.
    """
    final_learning_rate: float = 1.0
    """Share of the learning rates that is left at the last update, on a cosine; 1 keeps them constant."""
    horizon: int = 5
    """h, steps of a rollout (B.2: 5 on images)."""
    branches: int = 5_000
    """Rollouts of one round."""
    rollout_every: int = 1_000
    """Updates between rounds of rollouts."""
    rounds_kept: int = 5
    """Rounds whose transitions stay in the model buffer."""
    looks: int = 10
    """How often the policy is scored during training, half of the times in its last fifth; for people only."""

    def __post_init__(self) -> None:
        require_positive(self, "updates", "horizon", "branches", "rollout_every", "rounds_kept")
        require_not_negative(self, "looks", "warm_up")
        require_share(self, "final_learning_rate")
        if self.warm_up and self.warm_up >= self.updates:
            raise ValueError(
                f"warm_up is {self.warm_up} of {self.updates} updates, which leaves none that follow the critics; "
                "set agent_fit.warm_up lower"
            )

    @property
    def buffer_capacity(self) -> int:
        """Transitions that the model buffer holds for each agent."""
        return self.branches * self.horizon * self.rounds_kept


class AgentFit:
    """A fit in progress: it can be stepped, saved and continued."""

    def __init__(
        self,
        agent: ConservativeActorCritic,
        model: WorldModel,
        dataset: EncodedDataset,
        config: AgentFitConfig,
        generator: torch.Generator,
    ) -> None:
        self.agent, self.model, self.dataset, self.config, self.generator = agent, model, dataset, config, generator
        if agent.config.scale_values:
            agent.scale_values(*dataset.value_scale())
        self.step = 0
        self.rollout_metrics: dict[str, Tensor] = {}
        uses_model = bool((agent.settings.f < 1.0).any())
        self.buffer = (
            ModelBuffer(
                agent.stack, config.buffer_capacity, dataset.feature.shape[-1], agent.action_dim, generator.device
            )
            if uses_model
            else None
        )

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Take the remaining updates one by one, yielding metrics (S,)."""
        while self.step < self.config.updates:
            yield self.take_step()

    def take_step(self) -> dict[str, Tensor]:
        """Roll out when it is time (or nothing is there, as after a resume), then update once."""
        agent, config = self.agent, self.config
        if self.buffer is not None and (self.step % config.rollout_every == 0 or self.buffer.size == 0):
            self.rollout_metrics = rollout(
                self.model, agent, self.dataset, self.buffer, config.branches, config.horizon, self.generator
            )
        warm = self.step < config.warm_up
        batch = mixed_batch(self.dataset, self.buffer, agent.settings.f, agent.config.batch, self.generator, warm)
        noise = Noise.draw(agent.stack, agent.config, agent.action_dim, self.generator)
        share = cosine(self.step / config.updates, config.final_learning_rate)
        pool = draw_pool(self.dataset, agent.stack, agent.config, self.generator)
        metrics = agent.update(batch, noise, share, pool, imitate=warm)
        self.step += 1
        return {**metrics, **self.rollout_metrics}

    def state_dict(self) -> dict[str, object]:
        """Weights, optimisers, step and random state; the imagined transitions are imagined anew after a resume."""
        return {
            "agent": self.agent.state_dict(),
            "optimisers": self.agent.optimiser_state(),
            "step": self.step,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue from what `state_dict` returned."""
        agent, optimisers, step, generator = (state[key] for key in ("agent", "optimisers", "step", "generator"))
        assert isinstance(agent, dict) and isinstance(optimisers, dict)
        assert isinstance(step, int) and isinstance(generator, torch.Tensor)
        self.agent.load_state_dict(agent)
        self.agent.load_optimiser_state(optimisers)
        self.step = step
        self.generator.set_state(generator)
