"""Training a stack of agents on a dataset and, where the algorithm has one, a frozen world model (algorithm 1)."""

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.extraction import IMITATION
from latent_combo.agent.imagination import Imagination
from latent_combo.agent.offline import OfflineDataset
from latent_combo.agent.penalty import Penalty
from latent_combo.agent.replay import EncodedDataset, ModelBuffer, mixed_batch, real_share
from latent_combo.agent.rollout import rollout
from latent_combo.agent.settings import AgentFitConfig
from latent_combo.numerics.capture import CapturedStep, MemoryPool
from latent_combo.numerics.finite import NonFiniteError
from latent_combo.numerics.schedule import cosine
from latent_combo.world_model.base import WorldModel


class AgentFit:
    """A fit in progress: it can be stepped, saved and continued."""

    def __init__(
        self,
        agent: ConservativeActorCritic,
        model: WorldModel | None,
        dataset: OfflineDataset,
        config: AgentFitConfig,
        generator: torch.Generator,
        graphs: str = "auto",
        check_every: int | None = None,
        penalty: Penalty | None = None,
    ) -> None:
        """Train `agent` on `dataset` and rollouts of `model`, less an algorithm's `penalty`, measured by the dataset.

        Agents that use no model data need no model; for others ValueError is raised without one. `graphs` and
        `check_every` are as in a model's `Fit`.
        """
        self.penalty: Penalty | None = None
        if penalty is not None and model is not None and isinstance(dataset, EncodedDataset):
            self.penalty = penalty.prepared(model, dataset, agent.config)
        self.agent, self.model, self.dataset, self.config, self.generator = agent, model, dataset, config, generator
        if agent.config.scale_values:
            agent.scale_values(*dataset.value_scale())
        if agent.extraction.imagines:
            if model is None:
                raise ValueError(f'extraction "{agent.extraction.name}" imagines, but there is no world model')
            weight, gamma = agent.settings.penalty_weight, agent.config.gamma
            agent.imagination = Imagination(model, generator, config.rollout_length, gamma, weight)
        self.step = 0
        self.rollout_metrics: dict[str, Tensor] = {}
        device = generator.device
        self.buffer: ModelBuffer | None = None
        if bool((agent.settings.real_ratio < 1.0).any()):
            if model is None or not isinstance(dataset, EncodedDataset):
                raise ValueError("real_ratio is below 1, but there is no world model to imagine the rest")
            sizes = (config.buffer_capacity, dataset.feature.shape[-1], agent.action_dim)
            self.buffer = ModelBuffer(agent.num_agents, *sizes, device)
        self.share = torch.ones((), device=device)
        """() float32: of the learning rates, in this step."""
        self._real = real_share(agent.real_rows, agent.config.batch, device)
        memory = MemoryPool()
        self._updates = {
            (warm, report): CapturedStep(
                "an update of the agent in its warm-up" if warm else "an update of the agent",
                functools.partial(self.update, warm, report),
                agent.changed,
                generator,
                graphs,
                memory,
            )
            for warm in (False, True)
            for report in (False, True)
        }
        # Captured at the first round, when there is nothing in the buffer that the warm-up could spoil.
        self._restored = False  # or that was restored, and is put back
        self._rollout = CapturedStep("a round of rollouts", self.roll_out, self._place, generator, graphs, memory)
        self._check_every = (1 if device.type == "cpu" else 50) if check_every is None else check_every
        self._unchecked: dict[int, Tensor] = {}

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Take the remaining updates one by one, yielding metrics (S,)."""
        while not self.done():
            yield self.take_step()

    def done(self) -> bool:
        """Whether no update is left."""
        return self.step >= self.config.updates

    def take_step(self, report: bool = True) -> dict[str, Tensor]:
        """Roll out when it is time (or nothing is there, as after a resume of before), then update once.

        Returns metrics (S,), which the next step writes anew; without `report` few of them, which takes less time.
        Raises NonFiniteError for a loss or gradient that is not finite, which never reaches the weights (where it is
        the policy's, the critics have taken that step).
        """
        config = self.config
        if self.buffer is not None and (self.step % config.rollout_every == 0 or not self.buffer.filled):
            self.check()
            self.rollout_metrics = self._rollout()
        self.share.fill_(cosine(self.step / config.updates, config.final_learning_rate))
        self._unchecked[self.step] = self.generator.get_state()
        metrics = self._updates[self.step < config.warm_up, report]()
        self.step += 1
        if self.step % self._check_every == 0 or self.step == config.updates:
            self.check()
        return {**metrics, **self.rollout_metrics}

    def update(self, warm: bool = False, report: bool = True) -> dict[str, Tensor]:
        """Draw a batch and update once: nothing here may read the device."""
        return self.agent.update(*self.draw(warm), extraction=IMITATION if warm else None, report=report)

    def draw(self, warm: bool) -> tuple[Batch, Noise, Tensor]:
        """All that an update is given."""
        agent, config = self.agent, self.agent.config
        next_actions = agent.extraction.needs_next_action
        batch = mixed_batch(self.dataset, self.buffer, self._real, self.generator, warm, next_actions)
        batch = self.penalised(batch)
        noise = Noise.draw(agent.num_agents, config, agent.action_dim, self.generator)
        return batch, noise, self.share

    def penalised(self, batch: Batch) -> Batch:
        """A batch, less what the algorithm's penalty takes from its model's rows."""
        if self.penalty is None or self.buffer is None or self.model is None:
            return batch
        return self.penalty.of_batch(self.model, self.agent, batch)

    def roll_out(self) -> dict[str, Tensor]:
        """One round: nothing here may read the device."""
        assert self.buffer is not None and self.model is not None
        steps = (self.config.rollout_batch_size, self.config.rollout_length)
        return rollout(self.model, self.agent, self.dataset, self.buffer, *steps, self.generator, self.penalty)

    @property
    def capture_seconds(self) -> float:
        """What recording updates and rollouts took."""
        return sum(step.capture_seconds for step in (self._rollout, *self._updates.values()))

    def close(self) -> None:
        """Let go of what was recorded; nothing can be stepped any more."""
        for step in (self._rollout, *self._updates.values()):
            step.close()

    def check(self) -> None:
        """Wait for the device, and learn whether all was finite. Raises NonFiniteError, with the batch, if not."""
        try:
            self.agent.finite.raise_if_bad()
        except NonFiniteError as error:
            self.generator.set_state(self._unchecked[error.step])
            batch, noise, _ = self.draw(error.step < self.config.warm_up)
            given = {f"batch.{name}": value for name, value in vars(batch).items()}
            given |= {f"noise.{name}": value for name, value in vars(noise).items()}
            error.batch = {name: value for name, value in given.items() if value is not None}
            raise
        self._unchecked.clear()

    def _place(self) -> list[Tensor]:
        assert self.buffer is not None
        restored = [self.buffer.rows] if self._restored else []
        return [self.buffer.size, self.buffer.position, *restored]

    def state_dict(self) -> dict[str, object]:
        """All that is needed to continue exactly: weights, optimisers, what was imagined, step and random state.

        The model buffer is left out after the last update, when nothing draws from it any more.
        """
        imagined = self.buffer is not None and not self.done()
        return {
            "agent": self.agent.state_dict(),
            "optimisers": self.agent.optimiser_state(),
            "step": self.step,
            "generator": self.generator.get_state(),
            "buffer": self.buffer.state_dict() if self.buffer is not None and imagined else None,
            "rollout_metrics": dict(self.rollout_metrics) if imagined else {},
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue from what `state_dict` returned.

        States of before have no buffer: what they imagined is imagined anew.
        """
        agent, optimisers, step, generator = (state[key] for key in ("agent", "optimisers", "step", "generator"))
        buffer, metrics = state.get("buffer"), state.get("rollout_metrics", {})
        assert isinstance(agent, dict) and isinstance(optimisers, dict) and isinstance(metrics, dict)
        assert isinstance(step, int) and isinstance(generator, torch.Tensor)
        if self.buffer is not None and buffer is not None:
            assert isinstance(buffer, dict)
            self.buffer.load_state_dict(buffer)
            self._restored = True
            self.rollout_metrics = {name: value.to(self.generator.device) for name, value in metrics.items()}
        self.agent.load_state_dict(agent)
        self.agent.load_optimiser_state(optimisers)
        self.step = step
        self.agent.finite.steps.fill_(step)
        self.generator.set_state(generator)


class SideBySide:
    """Several fits over one dataset and world model, for agents that can not share a stack; on a GPU at once.

    Each has a stream of its own there, so that the small kernels of one fill what the others leave idle. Each needs a
    generator of its own.
    """

    def __init__(self, fits: Sequence[AgentFit]) -> None:
        """Raise ValueError where two fits draw from one generator."""
        self.fits = list(fits)
        if len({id(fit.generator) for fit in self.fits}) < len(self.fits):
            raise ValueError("fits side by side need a generator each")
        cuda = self.fits[0].generator.device.type == "cuda"
        self._streams = [torch.cuda.Stream() if cuda else None for _ in self.fits]

    def take_steps(self, count: int) -> list[dict[str, Tensor]]:
        """Take `count` updates of every fit; returns the metrics of the last ones."""
        metrics: list[dict[str, Tensor]] = [{} for _ in self.fits]
        streams = [stream for stream in self._streams if stream is not None]
        for stream in streams:
            stream.wait_stream(torch.cuda.current_stream())
        try:
            for _ in range(count):
                for number, (fit, own) in enumerate(zip(self.fits, self._streams, strict=True)):
                    with torch.cuda.stream(own):  # does nothing for None
                        metrics[number] = fit.take_step()
        finally:
            for stream in streams:
                torch.cuda.current_stream().wait_stream(stream)
        return metrics
