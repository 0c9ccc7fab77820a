"""An algorithm is an entry: what it sets, how its policy is had, and what it takes from imagined rewards."""

import dataclasses
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_agents import CPU, SMALL, draws
from toy_algorithm import FilteredImitation, registered
from toy_models import Drift

from combo_common.errors import UserError
from envs.registry import get_task
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.algorithms import ALGORITHMS, PENALTY_WORDS, Algorithm, register
from latent_combo.agent.extractions.known import EXTRACTIONS
from latent_combo.agent.fit import AgentFit
from latent_combo.agent.penalties.known import PENALTIES, penalty_of
from latent_combo.agent.replay import EncodedDataset
from latent_combo.agent.settings import FOLLOWS_VALUES, AgentConfig, AgentFitConfig, NetworkConfig
from latent_combo.config.command_line import parse
from latent_combo.config.saved import load_config, save_config
from latent_combo.pipeline import agent_phase


@pytest.fixture
def filtered() -> Iterator[Algorithm]:
    with registered() as algorithm:
        yield algorithm


def drifting(config: AgentConfig) -> EncodedDataset:
    """Steps of Drift's truth under uniform actions, each an episode of its own, whose reward grows with the action."""
    g = draws(3)
    start, action = torch.randn(400, 2, generator=g), torch.rand(400, 2, generator=g) - 0.5
    rows = torch.stack([start, start + action], 1).flatten(0, 1)
    is_first = torch.arange(800) % 2 == 0
    actions = torch.stack([torch.zeros_like(action), action], 1).flatten(0, 1)
    reward = torch.where(is_first, 0.0, rows[:, 0])
    return EncodedDataset.from_rows(rows[None], actions, reward, (~is_first).float(), is_first, config)


def trained(algorithm: Algorithm, updates: int) -> AgentFit:
    """An agent of an algorithm on those steps."""
    network = NetworkConfig(hidden=32, layers=2)
    config = AgentConfig(
        network=network, actor_network=network, batch=64, num_sampled_actions=2, critic_learning_rate=3e-3,
        actor_learning_rate=3e-3, gamma=0.0, **dict(algorithm.settings),  # type: ignore[arg-type]
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        agent = ConservativeActorCritic([config], 2, 2, CPU)
    schedule = AgentFitConfig(updates=updates, rollout_batch_size=100, rollout_length=1, rollout_every=50)
    fit = AgentFit(agent, Drift(), drifting(config), schedule, draws(), penalty=penalty_of(algorithm))
    list(fit)
    return fit


def test_a_toy_algorithm_is_one_file_and_one_line(filtered: Algorithm, tmp_path: Path) -> None:
    config, _ = parse(["--algorithm", "filtered-mbpo"])
    assert (config.algorithm, config.agent.extraction) == ("filtered-mbpo", "filtered")
    assert (config.agent.beta, config.agent.penalty_states, config.agent.rollout_actions) == (0.0, "dataset", "policy")
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path).agent == config.agent
    for option, told in (("penalty_states=mix", "penalty_states dataset"), ("extraction=value", "extraction filtered")):
        with pytest.raises(UserError, match=f"algorithm is filtered-mbpo, which has agent.{told}"):
            parse(["--algorithm", "filtered-mbpo", f"--agent.{option}"])


def test_without_its_line_a_toy_algorithm_is_unknown() -> None:
    with pytest.raises(UserError, match="unknown algorithm 'filtered-mbpo'; it is one of combo, cql-mbpo"):
        parse(["--algorithm", "filtered-mbpo"])
    assert FilteredImitation.name not in {**EXTRACTIONS, **FOLLOWS_VALUES}


def test_a_toy_algorithm_learns_by_its_own_extraction_and_penalty(filtered: Algorithm) -> None:
    """The dataset's actions are uniform in +-0.5, and the first pays: bc has their mean, the filter the better half."""
    fits = {algorithm.name: trained(algorithm, 100) for algorithm in (filtered, ALGORITHMS["bc"])}
    state = torch.randn(1, 200, 2, generator=draws(4))
    modes = {name: fit.agent.actor(state).mode.detach().mean((0, 1)) for name, fit in fits.items()}
    assert abs(float(modes["bc"][0])) < 0.1 and float(modes["filtered-mbpo"][0]) > 0.3
    assert all(abs(float(mode[1])) < 0.2 for mode in modes.values())
    buffer = fits["filtered-mbpo"].buffer
    assert fits["bc"].buffer is None and buffer is not None
    # members push by 1, 1.1 and 1.2 times the action: their rewards have a standard deviation of a tenth of it
    truth = buffer.feature[..., 0] + buffer.action[..., 0]
    torch.testing.assert_close(buffer.reward, truth - 2.0 * 0.1 * buffer.action[..., 0].abs())


class Begun(Exception):
    """A fit would have begun."""


def test_a_run_hands_rollouts_the_penalty_of_its_algorithm(
    filtered: Algorithm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*given: object, penalty: object) -> None:
        raise Begun(penalty)

    monkeypatch.setattr(agent_phase, "AgentFit", begin)
    for name, penalty in (("filtered-mbpo", filtered.penalty), ("combo", None)):
        config, _ = parse(["--algorithm", name])
        session: Any = SimpleNamespace(config=config, task=get_task(config.task), device=CPU)
        with pytest.raises(Begun) as begun:
            agent_phase.fit_agent(session, Drift(), drifting(config.agent), drifting(config.agent), Any)  # type: ignore[arg-type]
        assert begun.value.args == (penalty,)


def test_what_an_algorithm_sets_is_typed_and_possible() -> None:
    for name, algorithm in ALGORITHMS.items():
        assert algorithm.name == name and algorithm.paper
        sets = {**algorithm.defaults, **algorithm.settings}
        own = {
            setting: value for setting, value in sets.items() if "." not in setting
        }  # those of groups are tried below
        config = AgentConfig(**own)  # type: ignore[arg-type]
        for setting, value in own.items():
            assert type(getattr(config, setting)) is type(value), setting
        assert EXTRACTIONS[config.extraction].follows_values == FOLLOWS_VALUES[config.extraction]
        assert algorithm.extraction is None and algorithm.penalty in (None, *PENALTIES)  # by their words
        made = parse(["--obs", algorithm.obs or "pixels", "--algorithm", name])[0].agent
        for setting, value in sets.items():
            assert attrgetter(setting)(made) == value, setting
    assert EXTRACTIONS.keys() == FOLLOWS_VALUES.keys()
    assert dataclasses.replace(SMALL, **dict(ALGORITHMS["combo"].settings)) == SMALL  # type: ignore[arg-type]


OWN = ["--preset", "own", "--dataset", "d", "--task", "dmc:cartpole-swingup"]


@pytest.mark.parametrize(
    ("preset", "other", "anchor", "of_their_own"),
    [
        (OWN, "state", 2.0, {"td3-bc": 2.5, "rebrac": 100.0, "drq-bc": 2.5}),
        (["--obs", "state"], "pixels", 16.0, {"td3-bc": 2.5, "rebrac": 100.0}),
    ],
)
def test_a_presets_anchor_is_for_policies_of_eq_3_on_conservative_critics(
    preset: list[str], other: str, anchor: float, of_their_own: dict[str, float]
) -> None:
    """By the spread of values: COMBO and CQL differ in nothing else, and no other algorithm has it."""
    anchors = {
        name: (agent.anchor, agent.anchor_by)
        for name in ALGORITHMS
        if ALGORITHMS[name].obs != other
        for agent in [parse([*preset, "--algorithm", name])[0].agent]
    }
    by_size = {name: own for name, (own, unit) in anchors.items() if own and unit == "size"}
    assert by_size == of_their_own
    by_spread = {name: own for name, (own, unit) in anchors.items() if own and unit != "size"}
    assert by_spread == dict.fromkeys({"combo", "cql-mbpo", "cql", "cql-pixels"} & anchors.keys(), anchor)


def test_an_anchor_for_a_policy_that_follows_no_values_is_refused(filtered: Algorithm) -> None:
    assert parse([*OWN, "--algorithm", "filtered-mbpo"])[0].agent.anchor == 0.0
    with pytest.raises(UserError, match='anchor is a part of eq. 3, which extraction "filtered" does not follow'):
        parse([*OWN, "--algorithm", "filtered-mbpo", "--agent.anchor", "3"])


def test_an_algorithm_that_is_wrong_is_refused(filtered: Algorithm) -> None:
    with pytest.raises(ValueError, match="algorithm mine sets betta, which is no setting of AgentConfig"):
        Algorithm("mine", "nobody's", {"betta": 1.0})
    with pytest.raises(ValueError, match="sets extraction imitation, but has filtered; leave it out of settings"):
        Algorithm("mine", "nobody's", {"extraction": "imitation"}, FilteredImitation())
    with pytest.raises(ValueError, match="sets extraction imitate, which there is not"):
        Algorithm("mine", "nobody's", {"extraction": "imitate"})
    with pytest.raises(ValueError, match="algorithm mine has penalty 'mopoo'; it is a Penalty or one of mopo, lompo"):
        Algorithm("mine", "nobody's", penalty="mopoo")
    assert set(PENALTY_WORDS) == PENALTIES.keys()
    assert dataclasses.replace(filtered, name="mine").settings == filtered.settings
    with pytest.raises(ValueError, match="there is an algorithm filtered-mbpo already; give yours another name"):
        register(Algorithm("filtered-mbpo", "nobody's"))
    with pytest.raises(ValueError, match="there is an extraction filtered already; give yours another name"):
        register(Algorithm("mine", "nobody's", extraction=FilteredImitation()))
    with pytest.raises(ValueError, match="algorithm mine has no world model; give it obs pixels and no penalty"):
        Algorithm("mine", "nobody's", has_world_model=False)
    assert "mine" not in ALGORITHMS
    with pytest.raises(TypeError):
        ALGORITHMS["combo"].settings["beta"] = 0.0  # type: ignore[index]


@pytest.mark.parametrize(
    ("algorithm", "weight", "users"),
    [
        ("combo", "penalty_weight", "mopo, lompo, mobile, dreamer"),
        ("td3-bc", "behaviour_weight", "brac-p, brac-v, rebrac"),
    ],
)
def test_a_weight_that_nothing_of_an_algorithm_has_is_refused(algorithm: str, weight: str, users: str) -> None:
    with pytest.raises(
        UserError, match=f"agent.{weight} is 3.0, but nothing in algorithm {algorithm} has .* or use one of {users}"
    ):
        parse(["--algorithm", algorithm, f"--agent.{weight}", "3"])


@pytest.mark.parametrize(("algorithm", "weight"), [("lompo", "penalty_weight"), ("brac-v", "behaviour_weight")])
def test_a_weight_that_an_algorithm_has_is_taken(algorithm: str, weight: str) -> None:
    config, _ = parse(["--algorithm", algorithm, f"--agent.{weight}", "3"])
    assert getattr(config.agent, weight) == 3.0


def test_an_algorithm_of_ones_own_has_what_weights_it_likes(filtered: Algorithm) -> None:
    assert not filtered.lacks("penalty_weight") and not filtered.lacks("behaviour_weight")
