"""The parts of a run's result, each typed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.task import Task
from latent_combo.evaluation.fields import FieldError
from latent_combo.runtime.renamed import metric_now

FEATURES = ("real_vs_imagined_accuracy", "probes")
"""Figures of a world model's features, among all that `result.json` has of it."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a run was asked for, as far as its result says it; config.yaml has all."""

    obs: str
    """pixels or state."""
    dataset: str
    """The dataset, as the run was given it."""
    algorithm: str
    """One of `agent.algorithms.ALGORITHMS`."""
    preset: str
    """The preset that the settings started from."""
    seed: int
    """The run's seed."""
    agent: dict[str, Any]
    """The agent's settings that tell algorithms apart."""
    pretrained_world_model: str | None
    """Where the world model came from; None for the run's own."""


@dataclass(frozen=True, kw_only=True)
class DatasetReturns:
    """Undiscounted returns of the episodes of a dataset."""

    mean: float
    """Mean over all episodes."""
    most: float
    """The best episode's."""
    drawn: float
    """Mean over the training episodes, weighted as the agent draws their rows."""


@dataclass(frozen=True, kw_only=True)
class AgentResult:
    """What one agent of the stack came to."""

    label: str = ""
    """Its number, and the settings that it alone has."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The settings in which it differs from other agents of the stack."""
    returns: list[float] = field(default_factory=list)
    """The undiscounted return of every episode that counts, in order of their seeds."""
    return_mean: float | None
    """Mean over its episodes; None, as the next two, where none was played."""
    return_std: float | None = 0.0
    """Standard deviation over its episodes."""
    normalised_score: float | None
    """0 is a random policy, 100 an expert."""
    last_fifth_std_over_mean: float | None = None
    """Coefficient of variation of its interim scores in the last fifth of training; None for fewer than two."""
    regulariser: float | None = None
    """E_rho[Q(s, a)], a of the policy, less E_D[Q] (B.2); None without conservatism."""
    values_beyond_reach: float | None = None
    """Share of held-out pairs whose value is above the most that rewards like the dataset's can come to; None in
    results of before."""
    values_minus_returns: float | None = None
    """Mean of Q(s, a) less the discounted rewards that followed in the data, over held-out pairs whose return is
    complete (`validation_q_bias`); None where no return is, and in results of before."""

    @classmethod
    def of(
        cls,
        task: Task,
        returns: NDArray[np.float64],
        label: str,
        settings: dict[str, Any],
        coefficient_of_variation: float | None,
        regulariser: float | None,
        beyond_reach: float | None = None,
        minus_returns: float | None = None,
    ) -> "AgentResult":
        """From its E returns (E,), NaN of episodes that do not count; for the rest see the fields."""
        returns = returns[np.isfinite(returns)]
        mean = mean_of(returns)
        return cls(
            label=label,
            settings=settings,
            returns=[float(value) for value in returns],
            return_mean=mean,
            return_std=None if mean is None else float(returns.std()),
            normalised_score=None if mean is None else task.normalised_score(mean),
            last_fifth_std_over_mean=coefficient_of_variation,
            regulariser=regulariser,
            values_beyond_reach=beyond_reach,
            values_minus_returns=minus_returns,
        )


@dataclass(frozen=True, kw_only=True)
class WorldModelResult:
    """How well the world model predicts held-out episodes."""

    open_loop: dict[str, dict[int, float]] = field(default_factory=dict)
    """`OpenLoop.figures`: each figure's name to its values, by steps ahead."""
    one_step: dict[str, Any] = field(default_factory=dict)
    """`WorldModel.one_step_metrics`: figures of single steps, for a model that is fitted to those."""
    features: dict[str, Any] = field(default_factory=dict)
    """What the views found of its features: `real_vs_imagined_accuracy` (see `panels.probes`), and the R² of `probes`
    by the names of what they read."""

    def to_json(self) -> dict[str, Any] | None:
        """All figures by their names, on one level; steps ahead are strings, as JSON has them. None without any."""
        by_steps = {name: {str(k): value for k, value in some.items()} for name, some in self.open_loop.items()}
        return {**by_steps, **self.one_step, **self.features} or None

    @classmethod
    def from_json(cls, said: Any) -> "WorldModelResult":
        """Sort the figures of `to_json` into their groups. Raises FieldError for anything else."""
        if said is None:
            return cls()
        if not isinstance(said, Mapping):
            raise FieldError(f"has {said!r} for world_model")
        said = {metric_now(name): value for name, value in said.items()}
        features = {name: value for name, value in said.items() if name in FEATURES}
        rest = {name: value for name, value in said.items() if name not in FEATURES}
        open_loop = {name: value for name, value in rest.items() if isinstance(value, dict)}
        try:
            by_steps = {name: {int(k): float(v) for k, v in some.items()} for name, some in open_loop.items()}
        except (TypeError, ValueError) as error:
            raise FieldError("has figures of world_model that are none") from error
        return cls(
            open_loop=by_steps,
            one_step={name: value for name, value in rest.items() if name not in open_loop},
            features=features,
        )


def mean_of(returns: NDArray[np.float64]) -> float | None:
    """The mean of returns (N,); None of none."""
    return float(returns.mean()) if returns.size else None
