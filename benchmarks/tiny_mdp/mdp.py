"""A point on a line that is to reach 1, with data of half of its actions.

A push a in [-1, 1] moves the point by 0.3 a, within [-2, 2], and costs its distance to 1 afterwards. A push of more
than 0.5 slips, and costs 10 for each unit beyond. The behaviour is uniform in [-0.2, 0.5]: its data never show that a
push slips, and on the way to 1 more of a push was always better. The optimum, the largest push that does not slip until
1 is reached, lies within its actions.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Policy = Callable[[Array], Array]
"""From places (N,) to actions (N,)."""

HORIZON = 20
GAMMA = 0.9
GOAL, STRIDE, EDGE = 1.0, 0.3, 2.0
LIMIT, SLIP = 0.5, 10.0
LOW, HIGH = -0.2, 0.5
"""Of the behaviour's actions."""
STARTS = np.linspace(-1.5, -0.5, 101)
"""Places that returns are averaged over; episodes start uniformly between the first and the last."""
UNTIL = 150
"""Steps of a return, of which the rest is discounted to 1e-7."""


def step(place: Array, action: Array) -> tuple[Array, Array]:
    """The next places and the rewards, (N,) each."""
    following = np.clip(place + STRIDE * action, -EDGE, EDGE)
    return following, -np.abs(following - GOAL) - SLIP * np.maximum(0.0, np.abs(action) - LIMIT)


def optimum(place: Array) -> Array:
    """The largest push that does not slip, and then that which stays at the goal."""
    return np.clip((GOAL - place) / STRIDE, -LIMIT, LIMIT)


def behaviour(rng: np.random.Generator) -> Policy:
    """The policy that the data are of."""
    return lambda place: rng.uniform(LOW, HIGH, len(place))


def true_return(policy: Policy, start: Array = STARTS, first: Array | None = None) -> Array:
    """Discounted returns (N,) of a policy from places `start`, after actions `first` if they are given: Q^pi or V^pi.

    The simulator draws nothing, so that a deterministic policy has them exactly, and a stochastic one a sample.
    """
    place, total, weight = start, np.zeros_like(start), 1.0
    for number in range(UNTIL):
        action = policy(place) if first is None or number else first
        place, reward = step(place, action)
        total, weight = total + weight * reward, weight * GAMMA
    return total


def collect(rng: np.random.Generator, episodes: int) -> tuple[Array, Array, Array]:
    """Places, actions and rewards of E episodes of the behaviour, (E, HORIZON + 1) each, in Dreamer indexing."""
    policy, place = behaviour(rng), rng.uniform(STARTS[0], STARTS[-1], episodes)
    rows = [(place, np.zeros(episodes), np.zeros(episodes))]
    for _ in range(HORIZON):
        action = policy(place)
        place, reward = step(place, action)
        rows.append((place, action, reward))
    places, actions, rewards = (np.stack(column, 1) for column in zip(*rows, strict=True))
    return places, actions, rewards
