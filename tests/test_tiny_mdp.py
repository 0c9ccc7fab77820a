"""The order of the algorithms where the returns of all policies are known (benchmarks/tiny_mdp)."""

import json
from pathlib import Path

import numpy as np
import pytest
import toy_algorithm

from benchmarks.tiny_mdp import __main__ as command
from benchmarks.tiny_mdp import mdp, training
from benchmarks.tiny_mdp.training import Outcome, Rows, config_of, fit_model, outcomes, train
from combo_common.errors import UserError

DATA = -15.6
"""The behaviour's discounted return, within 0.1."""


def test_the_optimum_is_that_of_dynamic_programming() -> None:
    """Places 0.01 apart, and pushes of which each moves by a whole number of these: the grid is exact."""
    places = np.round(np.arange(-200, 201) * 0.01, 2)
    value = np.zeros(401)
    for _ in range(mdp.UNTIL):
        options = []
        for push in np.arange(-30, 31) / 30.0:
            following, reward = mdp.step(places, np.full(401, push))
            options.append(reward + mdp.GAMMA * value[np.rint(following * 100.0).astype(int) + 200])
        value = np.max(options, 0)
    np.testing.assert_allclose(mdp.true_return(mdp.optimum), value[50:151], atol=1e-6)


def test_the_data_never_slip_and_the_optimum_is_within_their_actions() -> None:
    _, action, reward = mdp.collect(np.random.default_rng(0), 500)
    assert mdp.LOW <= action.min() < -0.19 and 0.49 < action.max() <= mdp.HIGH == mdp.LIMIT
    returns = mdp.true_return(mdp.behaviour(np.random.default_rng(0)), np.repeat(mdp.STARTS, 100))
    assert returns.mean() == pytest.approx(DATA, abs=0.1)
    assert mdp.step(np.zeros(1), np.ones(1))[1] == pytest.approx(-0.7 - 5.0)
    place = np.array([-1.0, 0.3])
    first = np.array([0.4, -0.1])
    following, reward = mdp.step(place, first)
    expected = reward + mdp.GAMMA * mdp.true_return(mdp.optimum, following)
    np.testing.assert_allclose(mdp.true_return(mdp.optimum, place, first), expected, atol=1e-6)


def trained(algorithms: tuple[str, ...], seeds: int, updates: int) -> dict[str, list[Outcome]]:
    rows, configs = Rows.collect(0), {name: config_of(name, seeds, updates) for name in algorithms}
    model = fit_model(rows, configs[algorithms[0]])
    return {name: outcomes(name, train(config, rows, model), model) for name, config in configs.items()}


def require_order(found: dict[str, list[Outcome]]) -> None:
    """Without conservatism values are far above what the policies return, which is below the data's."""
    for name in found.keys() & {"sac", "mbpo"}:
        assert all(one.overestimation > 10.0 and one.achieved < DATA - 5.0 and one.reach > 0.9 for one in found[name])
    for name in found.keys() & {"cql", "combo", "cql-mbpo"}:
        assert all(one.overestimation < 2.5 and one.achieved > DATA + 0.5 and one.reach < 0.6 for one in found[name])
    assert all(abs(one.achieved - DATA) < 1.0 for one in found.get("bc", []))


def test_conservatism_keeps_the_values_of_what_the_data_never_tried_down() -> None:
    require_order(trained(("sac", "combo"), seeds=1, updates=600))


@pytest.mark.slow
def test_the_order_of_the_family() -> None:
    require_order(trained(("combo", "cql-mbpo", "mbpo", "cql", "sac", "bc"), seeds=3, updates=1000))


def test_the_command_trains_what_is_registered_with_its_penalty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "MODEL_STEPS", 3)
    lowered: list[float] = []
    lower = toy_algorithm.Disagreement.of_step
    monkeypatch.setattr(toy_algorithm.Disagreement, "of_step", lambda *given: lowered.append(1.0) or lower(*given))
    with toy_algorithm.registered():
        arguments = ["--algorithms", "filtered-mbpo", "bc", "--seeds", "2", "--updates", "2", "--out", str(tmp_path)]
        monkeypatch.setattr("sys.argv", ["tiny_mdp", *arguments])
        command.main()
    assert len(lowered) == 5  # the steps of one round of rollouts
    kept = json.loads((tmp_path / "result.json").read_text())
    assert [(one["algorithm"], one["seed"]) for one in kept["agents"]] == [
        *(("filtered-mbpo", 0), ("filtered-mbpo", 1), ("bc", 0), ("bc", 1))
    ]
    assert kept["data"] == pytest.approx(DATA, abs=0.1) and kept["optimum"] == pytest.approx(-8.76, abs=0.01)
    assert (tmp_path / "values.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("sys.argv", ["tiny_mdp", "--algorithms", "comb"])
    with pytest.raises(UserError, match="unknown algorithm"):
        command.main()


def test_an_algorithm_that_does_not_suit_states_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(name: str, *given: object) -> None:
        raise UserError(f"{name} sees images")

    monkeypatch.setattr(command, "config_of", refuse)
    assert command.chosen(None, 1, 1, 1.0) == {}
    assert "left out: combo sees images" in capsys.readouterr().out
