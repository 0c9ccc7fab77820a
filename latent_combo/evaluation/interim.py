"""Scores during training: they are for people, and nothing of them reaches training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LAST_FIFTH = 0.8
"""Evaluations after this share of the updates tell whether the policy is stable."""


@dataclass(frozen=True, kw_only=True)
class InterimScores:
    """Scores during training, on other episodes than the final score's."""

    steps: list[int] = field(default_factory=list)
    """Updates of the agent at which policies were scored."""
    returns: list[list[float]] = field(default_factory=list)
    """Mean return of each agent, one list (S,) per step."""

    @classmethod
    def read(cls, saved: Mapping[str, Any]) -> "InterimScores":
        """From a checkpoint, which has the two by their names."""
        return cls(steps=list(saved["steps"]), returns=list(saved["returns"]))

    def add(self, step: int, returns: list[float]) -> None:
        """Note the mean returns (S,) after `step` updates."""
        self.steps.append(step)
        self.returns.append(returns)

    def coefficient_of_variation(self, updates: int, stack: int) -> list[float | None]:
        """Standard deviation over mean of each agent's scores in the last fifth of training; None without two."""
        late = [r for step, r in zip(self.steps, self.returns, strict=True) if step > LAST_FIFTH * updates]
        if len(late) < 2:
            return [None] * stack
        table = np.asarray(late)
        coefficients: list[float | None] = (table.std(0) / np.maximum(np.abs(table.mean(0)), 1e-8)).tolist()
        return coefficients


def evaluation_steps(updates: int, evaluations: int) -> set[int]:
    """When to evaluate: half of the evaluations evenly over the first four fifths of training, half over the last."""
    early = np.linspace(0, LAST_FIFTH * updates, evaluations - evaluations // 2 + 1)[1:]
    late = np.linspace(LAST_FIFTH * updates, updates, evaluations // 2 + 1)[1:]
    return {int(step) for step in np.concatenate([early, late])} - {0}
