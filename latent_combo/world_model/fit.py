"""Fitting a world model to segments by maximum likelihood."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from latent_combo.run.guard import check_finite
from latent_combo.run.ranges import require_not_negative, require_positive, require_share
from latent_combo.run.schedule import cosine
from latent_combo.world_model.base import Metrics, Segment, WorldModel


@dataclass(frozen=True)
class FitConfig:
    """How a world model is fitted; the defaults are those of LOMPO's image experiments, which the paper keeps (B.2)."""

    steps: int = 25_000
    """Optimiser steps."""
    batch: int = 64
    """B, sequences in a step."""
    length: int = 50
    """L, rows in a sequence."""
    from_first: float = 0.0
    """Share of the sequences that begin with an episode, besides the uniform windows: the first frames show positions
    that no later ones do, and policies start there."""
    learning_rate: float = 6e-4
    """Adam's."""
    final_learning_rate: float = 1.0
    """Share of `learning_rate` that is left at the last step, on a cosine; 1 keeps it constant."""
    gradient_clip: float = 100.0
    """Largest norm of the whole gradient."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW); 0 is plain Adam."""
    shift: int = 0
    """Each sequence's images are moved by up to this many pixels, the same for all of its frames; 0 for none."""
    held_out_every: int = 250
    """Steps between looks at the loss of held-out episodes."""
    patience: int = 0
    """Looks without an improvement after which the fit ends, for a model that chooses by them; 0 for all steps."""

    def __post_init__(self) -> None:
        require_positive(self, "steps", "batch", "length", "learning_rate", "gradient_clip", "held_out_every")
        require_not_negative(self, "weight_decay", "shift", "patience")
        require_share(self, "from_first", "final_learning_rate")


class Fit:
    """A fit in progress: it can be stepped, saved and continued."""

    def __init__(
        self, model: WorldModel, config: FitConfig, sample: Callable[[], Segment], generator: torch.Generator
    ) -> None:
        self.model, self.config, self.sample, self.generator = model, config, sample, generator
        self.step = 0
        self.stopped = False
        """Whether a look at held-out episodes has ended it."""
        self.optimiser = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    def done(self) -> bool:
        """Whether no step is left."""
        return self.stopped or self.step >= self.config.steps

    def __iter__(self) -> Iterator[Metrics]:
        """Take the remaining steps one by one, yielding each one's metrics.

        Raises NonFiniteError before the optimiser would use a loss or gradient that is not finite.
        """
        while not self.done():
            yield self.take_step()

    def look(self, held_out: Segment) -> None:
        """Look at held-out segments, and end the fit if they say so."""
        self.stopped = self.model.look(held_out, self.config.patience)

    def take_step(self) -> Metrics:
        """Draw a batch, descend once, and return the metrics."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * cosine(
                self.step / self.config.steps, self.config.final_learning_rate
            )
        loss, metrics = self.model.loss(self.sample(), self.generator)
        self.optimiser.zero_grad()
        loss.backward()
        gradients = {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}
        check_finite(loss, gradients, f"world model, step {self.step}")
        metrics["gradient_norm"] = torch.nn.utils.clip_grad_norm_(
            self.model.parameters(), self.config.gradient_clip, foreach=True
        )
        self.optimiser.step()
        self.step += 1
        return metrics

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
        assert isinstance(step, int) and isinstance(generator, torch.Tensor)
        self.model.load_state_dict(model)
        self.optimiser.load_state_dict(optimiser)
        self.step, self.stopped = step, bool(state.get("stopped"))
        self.generator.set_state(generator)
