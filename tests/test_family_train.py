"""Each algorithm trains and scores from one command, on states and on pixels as it is for."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_pendulum
import toy_runs
from test_state_train import BALANCE, SHORT, balance

from combo_common.errors import UserError
from latent_combo.agent.algorithms import ALGORITHMS
from latent_combo.config.command_line import parse
from latent_combo.config.schema import Config
from latent_combo.train import train

QUIET = ("--views.every", "0", "--views.clips", "1", "--agent_fit.evaluations", "1", "--score.episodes", "1")
OF_STATES = [name for name, algorithm in ALGORITHMS.items() if algorithm.obs in ("state", None)]
OF_PIXELS = ["lompo", "dreamer", "td3-bc"]
OWN_METRICS = {
    "bear": {"behaviour_mmd", "multiplier", "behaviour_log_prob"},
    "brac-p": {"behaviour_kl", "behaviour_log_prob"},
    "brac-v": {"behaviour_kl", "behaviour_log_prob"},
}
"""That an algorithm logs beside those of all."""


@pytest.fixture(autouse=True)
def pendulum() -> Iterator[None]:
    """The task is known, and no views are drawn, which are the same for all."""
    with toy_pendulum.registered(), toy_runs.undrawn():
        yield


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a world model of the toy pendulum."""
    place = tmp_path_factory.mktemp("states")
    with toy_pendulum.registered(), toy_runs.undrawn():
        train(balance(place, "model", *SHORT, *QUIET))
    return place


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording of the walker and a world model of it."""
    place = tmp_path_factory.mktemp("pixels")
    with toy_runs.short_episodes(), toy_runs.undrawn():
        train(toy_runs.toy(toy_runs.record(place), place / "model", *QUIET))
    return place


def without_fit(options: str) -> list[str]:
    """Options but for those of a world model's fit."""
    words = options.split()
    kept: list[str] = []
    for word in words:
        if word.startswith("--"):
            fits = word.startswith("--world_model_fit")
        if not fits:
            kept.append(word)
    return kept


def logged(run: Path) -> dict[str, list[float]]:
    """The agent's metrics, by their names without the number of an agent."""
    found: dict[str, list[float]] = {}
    with (run / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            if row["phase"] == "agent":
                found.setdefault(row["name"].split("/")[0], []).append(float(row["value"]))
    return found


def on_states(name: str, states: Path) -> Config:
    """A toy run's config on the fitted model."""
    chosen = BALANCE.replace("--agent.beta 0.1", "").replace("--agent.num_sampled_actions 4", "")
    options = without_fit(chosen + " --agent_fit.updates 12 --agent_fit.warm_up 4 --agent.num_sampled_actions 10")
    places = ["--dataset", str(states / "toy-pendulum.hdf5"), "--data_dir", str(states), "--out", str(states / name)]
    own = ["--world-model", str(states / "model"), "--algorithm", name, "--log_every", "2"]
    return parse([*options, *places, *own, *QUIET])[0]


@pytest.mark.parametrize("name", OF_STATES)
def test_from_states(name: str, states: Path) -> None:
    config = on_states(name, states)
    result = train(config)
    assert result.algorithm == name and result.episodes == 2
    metrics = logged(states / name)
    assert all(math.isfinite(value) for values in metrics.values() for value in values)
    assert OWN_METRICS.get(name, set()) <= metrics.keys()
    assert ("model_reward" in metrics) == (config.agent.real_ratio != 1.0)


def test_a_penalty_lowers_the_rewards_that_are_imagined(states: Path) -> None:
    rewards = {}
    for name in ("mbpo", "mopo", "morel"):
        if not (states / name).exists():  # where the test above was not run
            test_from_states(name, states)
        rewards[name] = logged(states / name)["model_reward"][0]  # of the first round, by the same actions
    assert rewards["mopo"] < rewards["mbpo"] and rewards["morel"] <= rewards["mbpo"]


@pytest.mark.parametrize("name", OF_PIXELS)
def test_from_pixels(name: str, pixels: Path) -> None:
    options = [*without_fit(toy_runs.TOY), "--data_dir", str(pixels), "--out", str(pixels / name)]
    with toy_runs.short_episodes():
        result = train(parse([*options, "--world-model", str(pixels / "model"), "--algorithm", name, *QUIET])[0])
    assert result.algorithm == name and result.episodes == 2
    assert all(math.isfinite(value) for values in logged(pixels / name).values() for value in values)


def test_an_algorithm_is_for_the_observations_that_it_makes_sense_for() -> None:
    for name, obs, told in (
        ("lompo", "state", "lompo is for images; for states use mopo"),
        ("mopo", "pixels", "mopo is for states; for images use lompo"),
        ("morel", "pixels", "morel is for states; for images use lompo"),
    ):
        with pytest.raises(UserError, match=told):
            parse(["--algorithm", name, "--obs", obs])


def test_what_an_algorithm_usually_has_gives_way_to_a_file_but_for_one_of_another(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    for said, anchor in (("", 1.0), ("algorithm: td3-bc\n", 1.0), ("algorithm: combo\n", 2.5)):
        file.write_text(f"{said}agent:\n  anchor: 1.0\n  beta: 3.0\n")
        agent = parse(["--config", str(file), "--algorithm", "td3-bc"])[0].agent
        assert agent.anchor == anchor and agent.beta == 0.0
    file.write_text("algorithm: td3-bc\nagent:\n  anchor: 1.0\n")
    assert parse(["--config", str(file)])[0].agent.anchor == 1.0


def test_what_an_algorithm_usually_has_may_be_set_otherwise() -> None:
    assert parse(["--algorithm", "lompo"])[0].agent.penalty_weight == 5.0
    assert parse(["--algorithm", "lompo", "--agent.penalty_weight", "[1,2]"])[0].agent.penalty_weight == [1.0, 2.0]
    assert parse(["--algorithm", "td3-bc"])[0].agent.anchor == 2.5
    assert parse(["--algorithm", "td3-bc", "--agent.anchor", "1.0"])[0].agent.anchor == 1.0
    with pytest.raises(UserError, match="algorithm is td3-bc, which has agent.backup smoothed"):
        parse(["--algorithm", "td3-bc", "--agent.backup", "mode"])
