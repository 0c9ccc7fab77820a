"""Fitting a world model to segments by maximum likelihood."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from latent_combo.numerics.adam import Adam
from latent_combo.numerics.capture import CapturedStep
from latent_combo.numerics.data_parallel import Group
from latent_combo.numerics.finite import FiniteCheck, NonFiniteError
from latent_combo.numerics.schedule import cosine
from latent_combo.world_model.base import Metrics, Segment, WorldModel
from latent_combo.world_model.settings import FitConfig


class Fit:
    """A fit in progress: it can be stepped, saved and continued."""

    def __init__(
        self,
        model: WorldModel,
        config: FitConfig,
        sample: Callable[[], Segment],
        generator: torch.Generator,
        prepare: Callable[[int], None] | None = None,
        graphs: str = "auto",
        check_every: int | None = None,
        group: Group | None = None,
    ) -> None:
        """Fit `model` to what `sample` draws, with random numbers of `generator`, on whose device all is.

        `prepare` is called with the number of each step before it: for what can't be part of a CUDA graph. `graphs`
        says whether steps become one (`CapturedStep`), and `check_every` how often the program waits for the device to
        learn whether all was finite: at every step on a CPU, where that costs nothing, or else every 50. With a
        `group`, `sample` draws a process's share of a batch, and losses, gradients and metrics are means over all.
        """
        self.model, self.config, self.sample, self.generator, self.prepare = model, config, sample, generator, prepare
        self.group = group
        self.step = 0
        self.stopped = False
        """Whether a validation has ended it."""
        device = generator.device
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.optimiser = Adam(self.parameters, weight_decay=config.weight_decay)
        self.finite = FiniteCheck("world model", {"model": names}, device)
        self.rate = torch.zeros((), device=device)
        """() float32: the learning rate of the step."""
        self._descend = CapturedStep(
            "a step of the world model",
            self.descend,
            lambda: [*self.optimiser.tensors(), *self.finite.tensors()],
            generator,
            graphs if group is None else "off",
        )
        self._check_every = (1 if device.type == "cpu" else 50) if check_every is None else check_every
        self._unchecked: dict[int, Tensor] = {}

    def begin_together(self) -> None:
        """Let all processes of the group stand where the first one does."""
        assert self.group is not None
        step, random = torch.tensor(self.step), self.generator.get_state()
        tensors = [*self.model.state_dict().values(), *self.optimiser.tensors(), *self.finite.tensors(), step, random]
        self.group.take_over(tensors)
        self.step = int(step)
        self.generator.set_state(random)

    def done(self) -> bool:
        """Whether no step is left."""
        return self.stopped or self.step >= self.config.steps

    def __iter__(self) -> Iterator[Metrics]:
        """Take the remaining steps one by one, yielding each one's metrics.

        Raises NonFiniteError for a loss or gradient that is not finite, which never reaches the weights.
        """
        while not self.done():
            yield self.take_step()

    def validate(self, validation: Segment) -> None:
        """Look at held-out segments, and end the fit if they say so."""
        self.stopped = self.model.validate(validation, self.config.patience)

    def take_step(self, report: bool = True) -> Metrics:
        """Draw a batch, descend once, and return the metrics, which the next step writes anew.

        They come with the loss, so `report` changes nothing; an agent's fit has fewer without it.
        """
        self.rate.fill_(
            self.config.learning_rate * cosine(self.step / self.config.steps, self.config.final_learning_rate)
        )
        if self.prepare is not None:
            self.prepare(self.step)
        self._unchecked[self.step] = self.generator.get_state()
        metrics = self._descend()
        self.step += 1
        if self.step % self._check_every == 0 or self.done():
            self.check()
        return metrics

    def descend(self) -> Metrics:
        """Draw a batch and descend once: nothing here may read the device."""
        self.finite.begin()
        loss, metrics = self.model.loss(self.sample(), self.generator)
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True)
        if self.group is not None:
            loss, *means = self.group.mean([loss.detach(), *gradients, *metrics.values()])
            gradients = tuple(means[: len(gradients)])
            metrics = dict(zip(metrics, means[len(gradients) :], strict=True))
        norms = self.finite.see("model", loss, gradients)
        metrics["gradient_norm"] = torch.linalg.vector_norm(norms)
        # the whole gradient is divided by what its norm exceeds the clip by
        excess = (metrics["gradient_norm"] / self.config.gradient_clip).clamp(min=1.0)
        self.optimiser.step(gradients, self.rate, skip=self.finite.bad, divisor=excess)
        return metrics

    @property
    def capture_seconds(self) -> float:
        """What recording the step took."""
        return self._descend.capture_seconds

    def close(self) -> None:
        """Let go of the recorded step, whose memory is the GPU's largest part; nothing can be stepped any more."""
        self._descend.close()

    def check(self) -> None:
        """Wait for the device, and learn whether all was finite. Raises NonFiniteError, with the batch, if not."""
        try:
            self.finite.raise_if_bad()
        except NonFiniteError as error:
            self.generator.set_state(self._unchecked[error.step])
            if self.prepare is not None:
                self.prepare(error.step)
            error.batch = self.sample().tensors()
            raise
        self._unchecked.clear()

    def state_dict(self) -> dict[str, object]:
        """All that is needed to continue exactly: weights, optimiser, step and random state."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "stopped": self.stopped,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue from what `state_dict` returned."""
        model, optimiser, step, generator = (state[key] for key in ("model", "optimiser", "step", "generator"))
        assert isinstance(model, dict) and isinstance(optimiser, dict)
        assert isinstance(step, int) and isinstance(generator, Tensor)
        self.model.load_state_dict(model)
        self.optimiser.load_state_dict(optimiser)
        self.step, self.stopped = step, bool(state.get("stopped"))
        self.finite.steps.fill_(step)
        self.generator.set_state(generator)
