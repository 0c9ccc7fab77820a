"""The paper's offline rule: of several settings, the one whose regulariser is the lowest (section 3, B.2).

Nothing here knows of returns but `rank_correlation`, which is measured after the choice and changes nothing of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RULE = "the lowest E_rho,pi[Q] - E_D[Q] at the end of training"


def choose(regularisers: Sequence[float | None]) -> int:
    """Which of S agents the rule takes, by their regularisers (`measures.regularisers`): the first of the lowest.

    Raises ValueError where an agent has none, for it has no conservatism, or one that is not finite.
    """
    known = [value for value in regularisers if value is not None]
    if not known or len(known) != len(regularisers):
        raise ValueError("an agent without conservatism has no regulariser to be chosen by; set beta above 0 for all")
    if wrong := [agent for agent, value in enumerate(known) if not np.isfinite(value)]:
        raise ValueError(
            f"the regulariser of agent {wrong[0]} is {known[wrong[0]]}, since its values diverged; leave that "
            "candidate out, or lower agent.critic_learning_rate"
        )
    return int(np.argmin(known))


def rank_correlation(regularisers: Sequence[float | None], returns: Sequence[float | None]) -> float | None:
    """Spearman's correlation of the regulariser's negative with the return, in [-1, 1]; 1: the lower, the better.

    Of the agents that have both; None for fewer than two of them, and where either is the same for all. Ties share the
    mean of their ranks.
    """
    both = [(-r, score) for r, score in zip(regularisers, returns, strict=True) if r is not None and score is not None]
    if len(both) < 2:
        return None
    rule, score = (_ranks(np.asarray(column)) for column in zip(*both, strict=True))
    if rule.std() == 0.0 or score.std() == 0.0:
        return None
    return float(np.corrcoef(rule, score)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank of each value (N,), from 0; those that are equal share the mean of theirs."""
    below = (values[None] < values[:, None]).sum(1)
    equal = (values[None] == values[:, None]).sum(1)
    ranks: NDArray[np.float64] = below + (equal - 1) / 2.0
    return ranks


def products(over: Sequence[tuple[str, Sequence[Any]]]) -> dict[str, list[Any]]:
    """Every combination of some settings' values, as a list for each setting: entry i of all is combination i."""
    names = [name for name, _ in over]
    grids = np.meshgrid(*(np.arange(len(values)) for _, values in over), indexing="ij")
    return {
        name: [values[int(i)] for i in grid.ravel()] for name, (_, values), grid in zip(names, over, grids, strict=True)
    }
