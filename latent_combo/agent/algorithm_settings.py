"""Settings that one algorithm alone reads; plain data, read without torch."""

from dataclasses import dataclass
from typing import Literal

from combo_common.validation import require_choices, require_not_negative, require_positive


@dataclass(frozen=True)
class MorelConfig:
    """When an imagined step halts (Kidambi et al., 2020); read by the algorithm `morel`."""

    threshold: float = 1.0
    """Disagreement of two members beyond which a step halts, as a multiple of the largest one on the dataset's own
    transitions (the inverse of what MOReL's code calls the coefficient of pessimism)."""
    offset: float = 30.0
    """How far the reward of a step that halts lies below the least one of the dataset: kappa is that reward's
    negative."""

    def __post_init__(self) -> None:
        require_positive(self, "threshold")
        require_not_negative(self, "offset")


@dataclass(frozen=True)
class BearConfig:
    """How near the policy stays to the cloned behaviour (Kumar et al., 2019); read by the algorithm `bear`."""

    threshold: float = 0.05
    """Maximum mean discrepancy that the policy may have; a Lagrange multiplier holds it there."""
    kernel: Literal["laplacian", "gaussian"] = "laplacian"
    """exp(-|x - y|_1 / (2 width)), or exp(-|x - y|^2 / (2 width)), of actions before their tanh."""
    width: float = 10.0
    """Of the kernel; BEAR's code has 10 or 20 for the Laplacian one and 20 for the Gaussian one, by task."""
    samples: int = 5
    """Actions of the policy, and of the behaviour, that a state's discrepancy is estimated from; at most half of
    `num_sampled_actions`."""

    def __post_init__(self) -> None:
        require_choices(self)
        require_positive(self, "threshold", "width", "samples")
