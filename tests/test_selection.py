"""The offline rule: what it chooses, how that is scored, and the paper's own tables as the oracle of its direction."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from matplotlib.figure import Figure
from small_agents import SMALL, A, draws, make_agent, random_batch
from toy_results import a_result
from toy_runs import toy, undrawn

from combo_common.errors import StoppedError, UserError
from latent_combo import visualise
from latent_combo.agent.batch import Noise
from latent_combo.agent.selection import RULE, choose, products, rank_correlation
from latent_combo.api.run import load_run
from latent_combo.config.candidates import with_candidates
from latent_combo.config.command_line import parse
from latent_combo.diagnostics import curves
from latent_combo.diagnostics.curves import read_series
from latent_combo.diagnostics.episodes import draw_episodes
from latent_combo.diagnostics.page import write_report
from latent_combo.evaluate import scores
from latent_combo.evaluation.evaluator import Evaluator
from latent_combo.evaluation.result import Result
from latent_combo.evaluation.score import Score
from latent_combo.pipeline import agent_phase
from latent_combo.pipeline.load_run import Run
from latent_combo.select import table
from latent_combo.train import train

PUBLISHED = {
    "halfcheetah-medium": [(54.2, -778.6), (40.8, -236.8)],
    "halfcheetah-medium-replay": [(55.1, 28.9), (9.3, 283.9)],
    "halfcheetah-medium-expert": [(89.4, 189.8), (90.0, 6.5)],
    "hopper-medium": [(75.0, -740.7), (97.2, -2035.9)],
    "hopper-medium-replay": [(89.5, 37.7), (28.3, 107.2)],
    "hopper-medium-expert": [(111.1, -705.6), (75.3, -64.1)],
    "walker2d-medium": [(1.9, 51.5), (81.9, -1991.2)],
    "walker2d-medium-replay": [(56.0, -157.9), (27.0, 53.6)],
    "walker2d-medium-expert": [(10.3, -788.3), (103.3, -3891.4)],
    "hopper-medium, mu": [(97.2, -2035.9), (52.6, -14.9)],
    "walker2d-medium, mu": [(7.9, -106.8), (81.9, -1991.2)],
    "hopper-medium, rho": [(97.2, -2035.9), (56.0, -6.0)],
    "walker2d-medium, rho": [(1.8, 14617.4), (81.9, -1991.2)],
    "hopper-medium, f": [(97.2, -2035.9), (93.8, -21.3)],
    "walker2d-medium, f": [(70.9, -1707.0), (81.9, -1991.2)],
}
"""Score and regulariser of two candidates each: tables 4 to 7 of the paper."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_rule_takes_the_better_one_in_each_row_of_the_papers_tables(name: str) -> None:
    scores, regularisers = zip(*PUBLISHED[name], strict=True)
    assert scores[choose(regularisers)] == max(scores)
    assert rank_correlation(regularisers, scores) == pytest.approx(1.0)


def test_an_agent_without_a_regulariser_can_not_be_chosen_from() -> None:
    assert choose([3.0, -1.0, -1.0]) == 1
    for none in ([1.0, None], []):
        with pytest.raises(ValueError, match="no regulariser to be chosen by"):
            choose(none)
    with pytest.raises(ValueError, match="regulariser of agent 1 is nan, .* diverged"):
        choose([1.0, float("nan"), float("-inf")])


def test_the_rank_correlation_is_spearmans() -> None:
    regularisers, returns = [3.0, -2.0, 0.5, 0.5, 9.0], [10.0, 40.0, 20.0, 70.0, 10.0]
    expected = scipy.stats.spearmanr([-r for r in regularisers], returns).statistic
    assert rank_correlation(regularisers, returns) == pytest.approx(expected)
    assert rank_correlation([1.0, None, 2.0], [5.0, 9.0, None]) is None
    assert rank_correlation([1.0, 2.0], [5.0, 5.0]) is None


def test_every_combination_is_a_candidate() -> None:
    assert products([("beta", ["0.5", "5"]), ("rollout_actions", ["uniform", "policy"])]) == {
        "beta": ["0.5", "0.5", "5", "5"],
        "rollout_actions": ["uniform", "policy", "uniform", "policy"],
    }
    config, _ = parse(with_candidates(["--over", "beta=0.5,5", "--over=agent.rollout-actions=uniform,policy"]))
    assert config.select and config.agent.num_agents == 4
    assert config.agent.beta == [0.5, 0.5, 5.0, 5.0]
    assert config.agent.rollout_actions == ["uniform", "policy", "uniform", "policy"]
    assert parse(with_candidates([]))[0].agent.beta == [0.5, 1.0, 5.0]
    # whatever number of agents the preset has
    for preset, over, count in (("gpu", [], 3), ("small", ["--over", "beta=0.5,5"], 2)):
        assert parse(with_candidates(["--preset", preset, *over]))[0].agent.num_agents == count
    with pytest.raises(UserError, match="num_agents is 4, but beta lists 3 agents"):
        parse(with_candidates(["--agent.num_agents", "4"]))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--over", "betta=1,2"], "names 'betta'.*did you mean beta"),
        (["--over", "beta=1"], "gives 1 values; a choice needs two"),
        (["--over", "beta=1,5,1"], "names 1 twice; agents that are alike"),
        (["--algorithm", "sac"], "sac has agent.beta 0.0, and no other to choose from"),
        (["--algorithm=bc", "--over", "anchor=1,5"], "bc has agent.anchor 0.0, and no other"),
        (["--over"], "--over has no setting"),
        (["--over", "--preset", "small"], "--over has no setting"),
        (["--resume", "runs/one"], "train --resume RUN"),
        (["--select", "false"], "leave it out"),
        (["--agent.beta", "[1,2]"], "--agent.beta would be replaced.*--over beta=VALUE,VALUE"),
        (["--over", "rollout_actions=uniform,policy", "--agent.rollout-actions=policy"], "would be replaced"),
        (["--over", "beta=1,2", "--over", "agent.beta=3,4"], "names beta twice"),
    ],
)
def test_candidates_that_are_none_are_refused(arguments: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        with_candidates(arguments)


def test_a_stack_without_a_choice_is_refused() -> None:
    for settings, told in (
        (["--agent.beta", "[0,1]"], "an agent has agent.beta 0"),
        (["--agent.num_agents", "1"], "there is one agent"),
        (["--agent.num_agents", "2", "--algorithm", "bc"], "an agent has agent.beta 0"),
    ):
        with pytest.raises(UserError, match=told):
            parse(["--select", "true", *settings])


def test_an_agent_alone_acts_and_values_as_in_its_stack() -> None:
    configs = [dataclasses.replace(SMALL, beta=beta, policy_average=0.9) for beta in (0.5, 1.0, 5.0)]
    stack = make_agent(*configs)
    stack.scale_values(3.0, 2.0)
    for step in range(3):
        stack.update(random_batch(3, step), Noise.draw(3, SMALL, A, draws(step)))
    alone = stack.alone(2, configs[2])
    batch = random_batch(3)
    assert torch.equal(alone.acting(batch.feature[2:]).loc, stack.acting(batch.feature).loc[2:])
    for own, all_of_them in ((alone.critic, stack.critic), (alone.target, stack.target)):
        value = all_of_them(batch.feature, batch.action[:, :, None])[:, 2:]
        torch.testing.assert_close(own(batch.feature[2:], batch.action[2:, :, None]), value)
    assert alone.num_agents == 1 and alone.config.beta == 5.0


def test_the_table_says_none_where_nothing_was_measured() -> None:
    last = table(a_result(np.array([[1.0], [2.0]]))).splitlines()[-1]
    assert last.split() == ["1", "-1.50", "none", "40.0"]


def test_the_score_is_of_the_chosen_agent_alone(
    data_dir: Path, tmp_path: Path, short: None, blank_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule's numbers are put in place of the measured ones, so that the second of three is chosen."""
    monkeypatch.setattr(agent_phase, "regularisers", lambda fit: [1.0, -5.0, 0.0])
    options = ["--agent.num_agents", "3", "--agent.beta", "[0.5,1,5]", "--score.episodes", "2", "--views.every", "0"]
    options += ["--agent_fit.evaluations", "1"]
    with undrawn():
        result = train(toy(data_dir, tmp_path / "run", "--select", "true", *options))
    assert result.selected == 1 and result.episodes == 2
    assert [len(agent.returns) for agent in result.agents] == [0, 2, 0]
    assert result.return_mean == result.agents[1].return_mean
    assert [agent.regulariser for agent in result.agents] == [1.0, -5.0, 0.0]
    last = result.evaluations.returns[-1]
    assert result.rank_correlation == rank_correlation([1.0, -5.0, 0.0], last)
    assert "selected    agent 1, beta 1.0, by the regularisers 1.00, -5.00, 0.00" in str(result)
    series = read_series(tmp_path / "run" / "metrics.csv")
    over = [series["agent", f"validation_q_bias/{agent}"][-1][1] for agent in range(3)]
    assert [agent.values_minus_returns for agent in result.agents] == pytest.approx(over)
    head, first = (line.split("  ") for line in table(result).splitlines()[1:3])
    assert [cell for cell in head if cell][1:] == ["regulariser", "values - returns", "last interim score"]
    assert [cell.strip() for cell in first if cell] == ["1, beta 1.0", "-5.00", f"{over[1]:.1f}", f"{last[1]:.1f}"]
    # the same agent of a run that scores all of them, on the same episodes
    with undrawn():
        whole = train(toy(data_dir, tmp_path / "all", *options[:-1], "0"))
    assert whole.selected is None and whole.agents[1].returns == result.agents[1].returns
    # what reads the run takes it
    run = load_run(tmp_path / "run")
    assert run.selected == 1
    assert torch.equal(run.actor().first.weight[0], run.agents.acting.first.weight[1])
    again = Result.read(tmp_path / "run")
    assert again is not None and again.selected == 1
    assert json.loads((tmp_path / "run" / "result.json").read_text())["selected"] == 1
    page = write_report(tmp_path / "run")
    assert "agent 1, beta 1.0 (selected)" in page and page.count("(selected)") == 1
    assert f"agent 1, beta 1.0 was selected, which has {RULE}" in page
    assert "selected" not in write_report(tmp_path / "all").partition("<pre")[0]
    drawn: list[Run] = []
    monkeypatch.setattr(visualise, "visualise", lambda folder, run, seed: drawn.append(run))
    monkeypatch.setattr(sys, "argv", ["visualise", str(tmp_path / "run")])
    visualise.main()
    assert drawn[0].agent is not None and drawn[0].agent.num_agents == 1 and drawn[0].policy(0).agents == range(1, 2)
    assert torch.equal(drawn[0].agent.acting.first.weight[0], run.agents.acting.first.weight[1])
    # the legends are of the agent that has a score
    axes = Figure().subplots()
    curves._returns(axes, read_series(tmp_path / "run" / "metrics.csv"), again)
    assert "final score, 2 episodes" in axes.get_legend_handles_labels()[1]
    episodes = draw_episodes(again).axes[0].get_legend_handles_labels()[1]
    assert {"an episode", "mean of the agent"} <= set(episodes)
    played = np.asarray([[1.0], [2.0], [3.0]])
    told = scores(run.trained, Score(played, None, None, played), again.selected)
    assert [line.split(": ")[0] for line in told.splitlines()[:3]] == [
        "agent 0, beta 0.5",
        "agent 1, beta 1.0 (selected)",
        "agent 2, beta 5.0",
    ]


def test_a_run_that_was_stopped_while_it_was_scored_chooses_by_the_same_numbers(
    data_dir: Path, tmp_path: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the rule is measured on is imagined, and not there any more when the run goes on."""
    seen: list[list[float | None]] = []

    def chosen(regularisers: list[float | None]) -> int:
        seen.append(regularisers)
        return choose(regularisers)

    def stopped(*given: object, **more: object) -> None:
        raise StoppedError("stopped")

    monkeypatch.setattr(agent_phase, "choose", chosen)
    options = ["--agent.beta", "[0.5,5]", "--agent_fit.evaluations", "0", "--views.every", "0"]
    config = toy(data_dir, tmp_path / "run", "--select", "true", *options)
    with undrawn(), monkeypatch.context() as patched, pytest.raises(StoppedError):
        patched.setattr(Evaluator, "final", stopped)
        train(config)
    with undrawn():
        result = train(*parse(["--resume", str(tmp_path / "run")]))
    assert len(seen) == 2 and seen[0] == seen[1] == [agent.regulariser for agent in result.agents]
    assert result.selected == choose(seen[0])
