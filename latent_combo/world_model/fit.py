"""Fitting a world model to segments by maximum likelihood."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from combo_common.validation import require_not_negative, require_positive, require_share
from latent_combo.numerics.adam import Adam
from latent_combo.numerics.capture import CapturedStep
from latent_combo.numerics.finite import FiniteCheck, NonFiniteError
from latent_combo.numerics.schedule import cosine
from latent_combo.world_model.base import Metrics, Segment, WorldModel


@dataclass(frozen=True)
class FitConfig:
    """How a world model is fitted; the defaults are those of LOMPO's image experiments, which the paper keeps (B.2)."""

    steps: int = 25_000
    """Optimiser steps of the world model."""
    batch: int = 64
    """Sequences in a batch."""
    length: int = 50
    """L, rows in a sequence."""
    episode_start_fraction: float = 0.0
    """Share of the sequences that begin with an episode, besides the uniform windows: the first frames show positions
    that no later ones do, and policies start there."""
    learning_rate: float = 6e-4
    """Adam's."""
    final_learning_rate: float = 1.0
    """Final learning rate as a share of the initial one, on a cosine; 1 keeps it constant."""
    gradient_clip: float = 100.0
    """Largest norm of the whole gradient."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW); 0 is plain Adam."""
    random_shift: int = 0
    """Each sequence's images are moved by up to this many pixels, the same for all of its frames; 0 for none."""
    validate_every: int = 250
    """Steps between validations, which measure the loss of held-out episodes."""
    patience: int = 0
    """Validations without an improvement after which fitting stops, for a model that chooses its weights by them; 0
    never stops early."""

    def __post_init__(self) -> None:
        require_positive(self, "steps", "batch", "length", "learning_rate", "gradient_clip", "validate_every")
        require_not_negative(self, "weight_decay", "random_shift", "patience")
        require_share(self, "episode_start_fraction", "final_learning_rate")


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
    ) -> None:
        """Fit `model` to what `sample` draws, with random numbers of `generator`, on whose device all is.

        `prepare` is called with the number of each step before it: for what can't be part of a CUDA graph. `graphs`
        says whether steps become one (`CapturedStep`), and `check_every` how often the program waits for the device to
        learn whether all was finite: at every step on a CPU, where that costs nothing, or else every 50.
        """
        self.model, self.config, self.sample, self.generator, self.prepare = model, config, sample, generator, prepare
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
            graphs,
        )
        self._check_every = (1 if device.type == "cpu" else 50) if check_every is None else check_every
        self._unchecked: dict[int, Tensor] = {}

    def done(self) -> bool:
        """Whether no step is left."""
        return self.stopped or self.step >= self.config.steps

    def __iter__(self) -> Iterator[Metrics]:
        """Take the remaining steps one by one, yielding each one's metrics.

        Raises NonFiniteError for a loss or gradient that is not finite, which never reaches the weights.
        """
        while not self.done():
            yield self.take_step()

    def validate(self, held_out: Segment) -> None:
        """Look at held-out segments, and end the fit if they say so."""
        self.stopped = self.model.validate(held_out, self.config.patience)

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
