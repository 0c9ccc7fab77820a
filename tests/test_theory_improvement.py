"""COMBO's proposition 4.3 and Lemma A.2 on MDPs that are solved exactly: safe policy improvement.

docs/notes/theory.md has what came out; symbols are those of tests/test_theory.py. J_f(pi) is the return in the
f-interpolant MDP with one f for all pairs, as the proposition has it, and eq. 21 is
J_hat(pi) = J_f(pi) - beta nu(rho^pi, f) / (1 - gamma).
"""

from collections.abc import Iterator

import numpy as np
import pytest
from exact_mdps import (
    MDP,
    Combo,
    Data,
    greedy,
    infinite_data,
    random_mdp,
    random_policy,
    sample_data,
    total_variation,
    wrong_model,
)

EXACT = 1e-9
PROBLEMS = 20


def problems(size: int | None, error: float) -> Iterator[tuple[MDP, Data, MDP]]:
    """MDPs, data of `size` transitions (None: without sampling error), and models of which a share `error` is wrong."""
    for seed in range(PROBLEMS):
        rng = np.random.default_rng(seed)
        mdp, behaviour = random_mdp(rng), random_policy(rng)
        data = infinite_data(mdp, behaviour) if size is None else sample_data(rng, mdp, behaviour, size, least=1)
        yield mdp, data, wrong_model(rng, mdp, error)


def estimated(combo: Combo, beta: float) -> float:
    """J_hat of eq. 21."""
    return combo.interpolant.objective(combo.policy) - beta * combo.nu / (1.0 - combo.model.gamma)


def improved(data: Data, model: MDP, f: float, beta: float) -> tuple[Combo, Combo]:
    """Conservative policy iteration from the behaviour: eq. 2 solved, then a step of a share towards the greedy policy
    (eq. 3), which is kept if eq. 21 rises, else the share is halved. Returns what it ends with, and the behaviour.
    """
    best = behaviour = Combo(data.behaviour, data, model, f, paper_operator=True)
    step = 1.0
    for _ in range(40):
        candidate = Combo((1.0 - step) * best.policy + step * greedy(best.q(beta)), data, model, f, paper_operator=True)
        if estimated(candidate, beta) > estimated(best, beta) + 1e-12:
            best = candidate
        else:
            step *= 0.5
    return best, behaviour


def alpha(mdp: MDP, combo: Combo) -> float:
    """What Lemma A.2 bounds |J_f(pi) - J(M, pi)| by, of the errors themselves and not their concentration:
    under d^pi of M, 2 gamma R_max / (1 - gamma)^2 (f TV(P_empirical, P) + (1 - f) TV(P_model, P)), and the errors of
    rewards / (1 - gamma)."""
    policy, f, gamma = combo.policy, combo.f, mdp.gamma
    most = float(np.abs(combo.interpolant.reward).max())
    shares = ((f, combo.data.empirical), (1.0 - f, combo.model))
    dynamics = sum(share * total_variation(of.transition, mdp.transition) for share, of in shares)
    rewards = sum(share * np.abs(of.reward - mdp.reward) for share, of in shares)
    each = 2.0 * gamma * most / (1.0 - gamma) ** 2 * dynamics + rewards / (1.0 - gamma)
    return float((mdp.occupancy(policy) * each).sum())


def test_lemma_a2_as_printed_is_of_first_order_only() -> None:
    """Claim (f = 1, rewards known): |J(M_1, pi) - J(M, pi)| <= gamma / (1 - gamma) |E_{d^pi}[(P - P_1) Q^pi]|, of M.

    Of an exact difference either the distribution or the values are those of M_1. With both of M it is a first-order
    expansion, and it is violated in about half of 300 MDPs with 60 transitions; with d^pi of M_1 it is an equality.
    The bounds that follow from it use |Q| <= R_max / (1 - gamma) alone, and hold (below).
    """
    violated = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        mdp, policy = random_mdp(rng), random_policy(rng)
        other = sample_data(rng, mdp, random_policy(rng), 60, noise=0.0, least=1).empirical
        each = (mdp.transition - other.transition) @ (policy * mdp.q(policy)).sum(1) * mdp.gamma / (1.0 - mdp.gamma)
        difference = abs(other.objective(policy) - mdp.objective(policy))
        violated += difference > abs(float((mdp.occupancy(policy) * each).sum())) + EXACT
        assert difference == pytest.approx(abs(float((other.occupancy(policy) * each).sum())), abs=EXACT)
    assert 100 < violated < 200


@pytest.mark.parametrize("f", [0.2, 0.5, 0.9])
def test_the_return_in_the_f_interpolant_mdp_is_off_by_alpha_at_most(f: float) -> None:
    """And term (1): with C_P = max sqrt|D(s, a)| |P_empirical - P|_1 as measured, E_a[|P_empirical - P|_1] in a state
    is at most C_P sqrt(|A| / |D(s)|) sqrt(D_CQL + 1), D_CQL = E_pi[pi / pi_beta - 1], with the data's pi_beta."""
    for mdp, data, model in problems(size=200, error=0.2):
        for policy in (data.behaviour, greedy(mdp.reward), random_policy(np.random.default_rng(7))):
            combo = Combo(policy, data, model, f, paper_operator=True)
            assert abs(combo.interpolant.objective(policy) - mdp.objective(policy)) <= alpha(mdp, combo) + EXACT
            apart = 2.0 * total_variation(data.empirical.transition, mdp.transition)
            concentration = (np.sqrt(data.counts) * apart).max()
            d_cql = (policy * (policy / data.behaviour - 1.0)).sum(1)
            bound = concentration * np.sqrt(policy.shape[1] / data.counts.sum(1)) * np.sqrt(d_cql + 1.0)
            assert ((policy * apart).sum(1) <= bound + EXACT).all()


@pytest.mark.parametrize("beta", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("f", [0.2, 0.5, 0.9])
def test_prop_4_3_without_errors_the_policy_is_better_by_the_third_term(f: float, beta: float) -> None:
    """Claim: J(pi_out) >= J(pi_beta) - zeta, zeta = errors of data + errors of the model - beta C / (1 - gamma), where
    C = nu(rho^out, f) - nu(rho^beta, f) > 0.

    Measured where both errors are 0, so that the bound is beta C / (1 - gamma) and nothing else: it holds, C is
    positive, and the policy is better than the behaviour. It is so for any policy of a higher J_hat, which is all that
    the proof uses of pi_out. The improvement shrinks as beta grows."""
    for mdp, data, model in problems(size=None, error=0.0):
        out, behaviour = improved(data, model, f, beta)
        gain = mdp.objective(out.policy) - mdp.objective(behaviour.policy)
        third = beta * (out.nu - behaviour.nu) / (1.0 - mdp.gamma)
        assert gain >= third - EXACT and third > 0.0


@pytest.mark.parametrize("beta", [0.05, 5.0])
@pytest.mark.parametrize("size", [200, 2000])
def test_prop_4_3_with_errors_the_bound_holds_and_says_little(size: int, beta: float) -> None:
    """zeta with the errors themselves, alpha(pi_out) + alpha(pi_beta) - beta C / (1 - gamma); eq. 26 prints the errors
    of the rewards with a minus, and once. The bound holds everywhere and is never below 0, so that it promises no
    improvement: the policies improve by far more than it knows of."""
    better = promised = 0
    for mdp, data, model in problems(size, error=0.1):
        out, behaviour = improved(data, model, 0.5, beta)
        gain = mdp.objective(out.policy) - mdp.objective(behaviour.policy)
        zeta = alpha(mdp, out) + alpha(mdp, behaviour) - beta * (out.nu - behaviour.nu) / (1.0 - mdp.gamma)
        assert gain >= -zeta - EXACT
        better, promised = better + (gain > -EXACT), promised + (zeta < 0.0)
    assert better >= PROBLEMS - 1 and promised == 0


def test_prop_4_3_a_larger_beta_does_not_make_the_third_term_larger() -> None:
    """Remark 3 lets beta grow until beta C / (1 - gamma) outweighs the errors. But pi_out depends on beta: from
    J_hat(pi_out) >= J_hat(pi_beta), beta C / (1 - gamma) <= J_f(pi_out) - J_f(pi_beta), which no beta raises above
    max J_f - J_f(pi_beta), so that a constant C > 0 ends at some beta. Measured over what `improved`
    ends with: from beta 0.5 to 50, C falls by more than beta rises, so that the term falls."""
    third: dict[float, list[float]] = {0.5: [], 5.0: [], 50.0: []}
    for mdp, data, model in problems(size=None, error=0.0):
        for beta, found in third.items():
            out, behaviour = improved(data, model, 0.5, beta)
            found.append(beta * (out.nu - behaviour.nu) / (1.0 - mdp.gamma))
            gain = out.interpolant.objective(out.policy) - behaviour.interpolant.objective(behaviour.policy)
            assert found[-1] <= gain + EXACT
    small, medium, large = (float(np.mean(found)) for found in third.values())
    assert small > 3.0 * medium > 9.0 * large


def test_greedy_steps_of_eq_3_do_not_maximise_eq_21() -> None:
    """The proof takes pi_out as a maximiser of J_hat. Eq. 2 and 3 alternate with rho fixed meanwhile, and rho follows
    the policy: a whole greedy step lands where nothing of the penalty was yet. With beta = 0.05 the alternation ends
    above the behaviour's J_hat; with beta = 0.5 it ends below it at nearly all problems (and the returns of some are
    below the behaviour's), while the small steps of `improved` never do."""
    worse: dict[float, list[tuple[bool, bool]]] = {0.05: [], 0.5: []}
    for mdp, data, model in problems(size=None, error=0.0):
        for beta, found in worse.items():
            combo = behaviour = Combo(data.behaviour, data, model, 0.5, paper_operator=True)
            for _ in range(30):
                combo = Combo(greedy(combo.q(beta)), data, model, 0.5, paper_operator=True)
            found.append(
                (
                    estimated(combo, beta) < estimated(behaviour, beta),
                    mdp.objective(combo.policy) < mdp.objective(behaviour.policy),
                )
            )
            assert estimated(improved(data, model, 0.5, beta)[0], beta) >= estimated(behaviour, beta)
    assert np.sum(worse[0.05]) == 0
    assert sum(below for below, _ in worse[0.5]) >= PROBLEMS - 2 and sum(lower for _, lower in worse[0.5]) >= 2
