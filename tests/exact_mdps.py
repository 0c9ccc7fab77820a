"""Random finite MDPs that are solved exactly, datasets of known counts, and COMBO's and CQL's critics in closed form.

All is numpy, float64. In shapes S counts states and A actions, and a pair (s, a) is a row of a matrix (S A, S A).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MDP:
    """States, actions, dynamics, rewards, a start and a discount."""

    transition: Array
    """(S, A, S): P(s'|s, a)."""
    reward: Array
    """(S, A), in [-1, 1] for the true one: R_max = 1."""
    start: Array
    """(S,): mu_0."""
    gamma: float = 0.9

    def operator(self, policy: Array) -> Array:
        """P^pi (S A, S A): from a pair to the next pair."""
        return np.einsum("ijk,kl->ijkl", self.transition, policy).reshape(policy.size, policy.size)

    def summed(self, policy: Array, each: Array) -> Array:
        """`S^pi each`, S^pi = (I - gamma P^pi)^-1: the discounted sum of a quantity of pairs, (S, A)."""
        matrix = np.eye(policy.size) - self.gamma * self.operator(policy)
        return np.linalg.solve(matrix, each.ravel()).reshape(policy.shape)

    def q(self, policy: Array) -> Array:
        """Q^pi (S, A)."""
        return self.summed(policy, self.reward)

    def at_start(self, policy: Array, q: Array) -> float:
        """E_{s ~ mu_0, a ~ pi}[q(s, a)]."""
        return float((self.start[:, None] * policy * q).sum())

    def objective(self, policy: Array) -> float:
        """J(M, pi), the expected discounted return."""
        return self.at_start(policy, self.q(policy))

    def occupancy(self, policy: Array, first: Array | None = None) -> Array:
        """The discounted distribution of pairs (S, A) of sum 1, from pairs `first` (S, A), or mu_0's."""
        begin = self.start[:, None] * policy if first is None else first
        matrix = np.eye(policy.size) - self.gamma * self.operator(policy).T
        return (1.0 - self.gamma) * np.linalg.solve(matrix, begin.ravel()).reshape(policy.shape)

    def mixed(self, other: "MDP", share: Array | float) -> "MDP":
        """This MDP by a `share` of each pair ((S, A) or one for all), the other by the rest."""
        weight = np.broadcast_to(np.asarray(share, float), self.reward.shape)
        return replace(
            self,
            transition=weight[..., None] * self.transition + (1.0 - weight[..., None]) * other.transition,
            reward=weight * self.reward + (1.0 - weight) * other.reward,
        )


def total_variation(one: Array, other: Array) -> Array:
    """Half of the L1 distance over the last axis."""
    distance: Array = 0.5 * np.abs(one - other).sum(-1)
    return distance


def random_policy(rng: np.random.Generator, states: int = 6, actions: int = 3, concentration: float = 1.0) -> Array:
    """A stochastic policy (S, A), at least 0.02 for every action."""
    return 0.94 * rng.dirichlet(np.full(actions, concentration), states) + 0.06 / actions


def random_mdp(rng: np.random.Generator, states: int = 6, actions: int = 3, gamma: float = 0.9) -> MDP:
    """Dynamics with a few likely successors, and rewards uniform in [-1, 1]."""
    transition = rng.dirichlet(np.full(states, 0.3), (states, actions))
    return MDP(transition, rng.uniform(-1.0, 1.0, (states, actions)), rng.dirichlet(np.ones(states)), gamma)


@dataclass(frozen=True)
class Data:
    """What a dataset of N transitions comes to."""

    counts: Array
    """(S, A): |D(s, a)|."""
    empirical: MDP
    """The MDP of its frequencies and mean rewards; of a pair without data, where no one asks for it, the uniform one of
    reward 0."""

    @property
    def d(self) -> Array:
        """d(s, a), (S, A) of sum 1."""
        share: Array = self.counts / self.counts.sum()
        return share

    @property
    def behaviour(self) -> Array:
        """The data's pi_beta(a|s); uniform in states without data."""
        of_state = self.counts.sum(1, keepdims=True)
        return np.where(of_state > 0, self.counts / np.where(of_state > 0, of_state, 1.0), 1.0 / self.counts.shape[1])


def sample_data(
    rng: np.random.Generator, mdp: MDP, behaviour: Array, size: int, noise: float = 0.3, least: int = 0
) -> Data:
    """Draw `size` pairs from d^{pi_beta}, at least `least` of each pair; rewards have a standard deviation `noise`."""
    drawn = rng.multinomial(size, mdp.occupancy(behaviour).ravel()).reshape(behaviour.shape)
    counts = np.maximum(drawn, least)
    following = np.stack(
        [rng.multinomial(n, p) for n, p in zip(counts.ravel(), mdp.transition.reshape(-1, len(mdp.start)), strict=True)]
    )
    successor = following.reshape(*counts.shape, -1) / np.maximum(counts, 1)[..., None]
    seen = counts > 0
    reward = mdp.reward + noise * rng.standard_normal(counts.shape) / np.sqrt(np.maximum(counts, 1))
    return Data(
        counts.astype(float),
        replace(
            mdp,
            transition=np.where(seen[..., None], successor, 1.0 / len(mdp.start)),
            reward=np.where(seen, reward, 0.0),
        ),
    )


def infinite_data(mdp: MDP, behaviour: Array) -> Data:
    """What data without sampling error come to: d is d^{pi_beta}, and the empirical MDP is the true one."""
    return Data(mdp.occupancy(behaviour), mdp)


def wrong_model(rng: np.random.Generator, mdp: MDP, error: float, optimism: float = 0.0) -> MDP:
    """A share `error` of the dynamics is another's, and rewards are too high by `optimism`."""
    other = rng.dirichlet(np.full(len(mdp.start), 0.3), mdp.reward.shape)
    return replace(mdp, transition=(1.0 - error) * mdp.transition + error * other, reward=mdp.reward + optimism)


def ratio(above: Array, below: Array) -> Array:
    """`above / below`, 0 where both are 0: pairs of which nothing is known, and nothing asked."""
    assert not ((below == 0.0) & (above != 0.0)).any(), "a pair is penalised that d_f does not cover"
    quotient: Array = np.divide(above, below, out=np.zeros_like(above), where=below != 0.0)
    return quotient


@dataclass(frozen=True)
class Combo:
    """Eq. 2 for one policy, rho = d^pi of the model, d_f = f d + (1 - f) rho (mu = pi), as Lemma A.1 has it."""

    policy: Array
    data: Data
    model: MDP
    f: float
    paper_operator: bool = False
    """False: the minimiser of eq. 2, whose target at a pair is the empirical one by the share f d / d_f of its rows.
    True: B = f B_empirical + (1 - f) B_model at every pair, as the paper analyses it."""

    @cached_property
    def rho(self) -> Array:
        """rho(s, a)."""
        return self.model.occupancy(self.policy)

    @cached_property
    def d_f(self) -> Array:
        """d_f(s, a)."""
        return self.f * self.data.d + (1.0 - self.f) * self.rho

    @cached_property
    def penalty(self) -> Array:
        """(rho - d) / d_f."""
        return ratio(self.rho - self.data.d, self.d_f)

    @cached_property
    def share(self) -> Array:
        """Of the empirical backup at each pair."""
        return np.full(self.policy.shape, self.f) if self.paper_operator else ratio(self.f * self.data.d, self.d_f)

    @cached_property
    def interpolant(self) -> MDP:
        """The f-interpolant MDP M_f, whose Bellman operator the target is."""
        return self.data.empirical.mixed(self.model, self.share)

    def q(self, beta: float) -> Array:
        """The fixed point of eq. 4, Q = B Q - beta (rho - d) / d_f."""
        of_f = self.interpolant
        return of_f.summed(self.policy, of_f.reward - beta * self.penalty)

    @cached_property
    def nu(self) -> float:
        """nu(rho, f) of eq. 5."""
        return float((self.rho * self.penalty).sum())

    @cached_property
    def nu_visited(self) -> float:
        """The same under the pairs that the policy visits in the f-interpolant MDP, not in the model."""
        return float((self.interpolant.occupancy(self.policy) * self.penalty).sum())


def cql_q(policy: Array, data: Data, beta: float) -> Array:
    """The fixed point of CQL's eq. 1 with mu = pi: Q = B_empirical Q - beta (pi - pi_beta) / pi_beta."""
    penalty = ratio(policy - data.behaviour, data.behaviour)
    return data.empirical.summed(policy, data.empirical.reward - beta * penalty)


def greedy(q: Array) -> Array:
    """The deterministic policy (S, A) of the largest values."""
    return np.eye(q.shape[1])[q.argmax(1)]
