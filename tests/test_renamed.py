"""Settings by names of before are read, with a line that names the new word."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from toy_runs import undrawn

import latent_combo
from combo_common.errors import UserError
from latent_combo.config.command_line import check, parse, settings_files
from latent_combo.config.parser import setting_types
from latent_combo.config.saved import load_config, save_config
from latent_combo.diagnostics.curves import read_series
from latent_combo.diagnostics.page import write_report
from latent_combo.evaluation.result import Result
from latent_combo.runtime import checkpoint
from latent_combo.runtime.renamed import GROUPS, METRICS, RESULT_FIELDS, SETTINGS, renamed, with_new_names
from latent_combo.runtime.run_folder import AGENT, WORLD_MODEL
from latent_combo.runtime.settings_file import read_mapping, say
from latent_combo.train import train

OLD = {
    "held_out": 0.2,
    "world_model": {"kl_weight": 0.5, "rssm": {"hidden": 30}, "conv": {"decoder_input": 64}},
    "fit": {"steps": 30, "from_first": 0.3, "held_out_every": 7, "shift": 1},
    "encode": {"views": 3, "shift": 2},
    "agent": {
        **{"actions": 3, "discount": 0.98, "f": 0.25, "from_first": 0.1, "mu": "policy", "rho": "dataset", "stack": 2},
        "target_rate": 0.03,
    },
    "agent_fit": {"branches": 40, "horizon": 3, "looks": 2, "rounds_kept": 4},
}
NEW = [
    *("--rssm.kl-weight", "0.5", "--rssm.dynamics.hidden", "30", "--rssm.conv.decoder-input", "64"),
    *("--validation-fraction", "0.2", "--world-model-fit.steps", "30", "--world-model-fit.validate-every", "7"),
    *("--world-model-fit.episode-start-fraction", "0.3", "--world-model-fit.random-shift", "1"),
    *("--encode.num-encodings", "3", "--encode.random-shift", "2", "--agent.num-sampled-actions", "3"),
    *("--agent.gamma", "0.98", "--agent.real-ratio", "0.25", "--agent.episode-start-fraction", "0.1"),
    *("--agent.rollout-actions", "policy", "--agent.penalty-states", "dataset", "--agent.num-agents", "2"),
    *("--agent.tau", "0.03", "--agent-fit.rollout-batch-size", "40", "--agent-fit.rollout-length", "3"),
    *("--agent-fit.evaluations", "2", "--agent-fit.model-retain-rounds", "4"),
]


def test_all_names_of_before_mean_what_they_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "before.yaml"
    file.write_text(yaml.safe_dump(OLD))
    now = parse(NEW)[0]
    assert not capsys.readouterr().err
    assert parse(["--config", str(file)])[0] == now
    assert settings_files(["--config", str(file)])[-1] == file
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"note: in {file}, " in said
    assert "fit.held_out_every is now called world_model_fit.validate_every" in said
    assert "agent.f is now called agent.real_ratio" in said


def test_a_command_line_of_before_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    old = ["--fit.steps=30", "--agent.f", "0.25", "--agent.rho", "dataset", "--held-out", "0.2"]
    old += ["--world-model.kl-weight", "0.5", "--world_model.rssm.hidden=30"]
    new = ["--world-model-fit.steps=30", "--agent.real-ratio", "0.25", "--agent.penalty-states", "dataset"]
    new += ["--rssm.kl-weight", "0.5", "--rssm.dynamics.hidden=30"]
    assert parse(old)[0] == parse([*new, "--validation-fraction", "0.2"])[0]
    said = capsys.readouterr().err
    assert "--agent.f is now called --agent.real-ratio" in said
    assert "--world-model.rssm.hidden is now called --rssm.dynamics.hidden" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--world-model", '{"kl_weight": 0.5, "rssm": {"hidden": 30}}', "--fit", '{"from_first": 0.3}'],
        ['--world_model={"kl_weight": 0.5, "rssm": {"hidden": 30}}', '--fit={"from_first": 0.3}'],
        ["--config", "FILE"],
    ],
)
def test_json_of_before_is_read(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "before.json"
    file.write_text('{"world_model": {"kl_weight": 0.5, "rssm": {"hidden": 30}}, "fit": {"from_first": 0.3}}')
    say.cache_clear()
    made = parse([str(file) if word == "FILE" else word for word in words])[0]
    assert (made.rssm.kl_weight, made.rssm.dynamics.hidden) == (0.5, 30)
    assert (made.world_model, made.world_model_fit.episode_start_fraction) == (None, 0.3)
    assert "rssm.dynamics" in capsys.readouterr().err


def test_settings_of_before_are_read_in_python() -> None:
    made = latent_combo.make_config(world_model={"kl_weight": 0.5, "rssm": {"hidden": 30}}, fit={"steps": 3})
    assert (made.rssm.kl_weight, made.rssm.dynamics.hidden, made.world_model_fit.steps) == (0.5, 30, 3)


def settings_of_before(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings, nested as in a run's file, by the names that they had."""
    back = {new: old for old, new in GROUPS.items()}
    own = {f"{name.rpartition('.')[0]}.{new}".strip("."): name.rpartition(".")[2] for name, new in SETTINGS.items()}

    def before(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
        return {own.get(f"{prefix}.{name}".strip("."), name): value for name, value in values.items()}

    inner = {name: before(name, value) if isinstance(value, dict) else value for name, value in settings.items()}
    named = before("", inner).items()
    return {back[name] if name in back and isinstance(value, dict) else name: value for name, value in named}


def test_settings_of_a_run_of_before_are_read_back(tmp_path: Path) -> None:
    now = parse(NEW)[0]
    save_config(now, tmp_path / "config.yaml")
    old = settings_of_before(yaml.safe_load((tmp_path / "config.yaml").read_text()))
    assert "fit" in old and "held_out" in old and "rssm" in old["world_model"] and old["fitted"] is None
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    assert vars(load_config(tmp_path)) == {**vars(now), "out": str(tmp_path)}


def test_a_run_of_before_is_loaded_reported_and_resumed(finished: Path, tmp_path: Path, short: None) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns("views", "videos", "tensorboard"))
    result, series = Result.read(run), read_series(run / "metrics.csv")
    assert result is not None
    (run / "config.yaml").write_text(
        yaml.safe_dump(settings_of_before(yaml.safe_load((run / "config.yaml").read_text())), sort_keys=False)
    )
    said = json.loads((run / "result.json").read_text())
    fields = {new: old for old, new in RESULT_FIELDS.items()}
    said["seconds"] = {fields.get(name, name): value for name, value in said["seconds"].items()}
    (run / "result.json").write_text(json.dumps({fields.get(name, name): value for name, value in said.items()}))
    metrics = (run / "metrics.csv").read_text()
    for old, new in (*METRICS.items(), ("held_out_", "validation_")):
        metrics = metrics.replace(f",{new}", f",{old}")
    (run / "metrics.csv").write_text(metrics)
    for name in (WORLD_MODEL, AGENT):
        state = checkpoint.load(run / name, torch.device("cpu"))
        state["seconds"] = {fields.get(part, part): value for part, value in state["seconds"].items()}
        state = {fields.get(part, part): value for part, value in state.items()}
        checkpoint.save(run / name, state["fit"]["step"], state)
    assert "looks" in state and "looks" in state["seconds"] and "held_out_told_q" in metrics

    loaded, whole = latent_combo.load_run(run), latent_combo.load_run(finished)
    assert {**vars(loaded.config), "out": ""} == {**vars(whole.config), "out": ""}
    assert Result.read(run) == result and read_series(run / "metrics.csv") == series
    assert "another version" not in write_report(run)

    with undrawn():
        again = train(load_config(run), resume=True)
    assert again.evaluations == result.evaluations and [a.returns for a in again.agents] == [
        a.returns for a in result.agents
    ]
    assert again.seconds.keys() == result.seconds.keys()
    assert "held_out_told_q" not in (run / "metrics.csv").read_text()


def test_the_new_names_are_settings_and_the_old_ones_are_none() -> None:
    known = set(setting_types())
    for old, own in SETTINGS.items():
        group = old.rpartition(".")[0]
        assert f"{group}.{own}".strip(".") in known and old not in known, old
        assert renamed(old) == f"{group}.{own}".strip(".")
    assert set(GROUPS.values()) <= {name.partition(".")[0] for name in known}


def test_where_both_names_are_given_the_new_one_counts() -> None:
    both = {"world_model_fit": {"steps": 4}, "fit": {"steps": 3, "batch": 2}, "agent": {"real_ratio": 0.2, "f": 0.1}}
    assert with_new_names(both)[0] == {"world_model_fit": {"steps": 4, "batch": 2}, "agent": {"real_ratio": 0.2}}
    both = {"rssm": {"conv": {"image_size": 16}}, "world_model": {"conv": {"image_size": 32, "bfloat16": True}}}
    assert with_new_names(both)[0] == {"rssm": {"conv": {"image_size": 16, "bfloat16": True}}}
    assert with_new_names({"world_model": "runs/a"}) == ({"world_model": "runs/a"}, {})
    assert with_new_names({"world_model": {"kl_weight": 2.0}, "fitted": "runs/a"})[0] == {
        "rssm": {"kl_weight": 2.0},
        "world_model": "runs/a",
    }


def test_a_file_of_before_is_found_and_read_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "before.yaml").write_text("{agent: {f: 0.25}, out: 2026-01-01}")
    monkeypatch.setenv("HOME", str(tmp_path))
    for words in (["--config", "~/before.yaml"], ["--config=~/before.yaml"], ["--config", f"{tmp_path}/before.yaml"]):
        check(words)
        made = parse(words)[0]
        assert (made.agent.real_ratio, made.out) == (0.25, "2026-01-01")


def test_settings_of_a_group_given_together_have_the_names_of_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = parse(["--agent.gamma", "0.9", "--world-model-fit.random-shift=1", "--world-model-fit.steps", "30"])[0]
    file = tmp_path / "agent.yaml"
    file.write_text("discount: 0.9")
    fit = ["--fit", '{"shift": 1, "steps": 30}']
    for agent in (["--agent", '{"discount": 0.9}'], ["--agent={discount: 0.9}"], ["--agent", str(file)]):
        assert parse([*agent, *fit])[0] == now
    said = capsys.readouterr().err
    assert "in the command line, --agent.discount is now called --agent.gamma, --fit is now called" in said
    assert "--fit.shift is now called --world-model-fit.random-shift" in said
    assert parse(["--agent", '{"gamma": 0.9, "discount": 0.5}', *fit])[0] == now  # of both names the new one counts
    assert parse(["--agent.gamma=0.5", "--agent", '{"gamma": 0.9}', *fit])[0] == now  # the last one wins
    capsys.readouterr()
    assert parse(["--agent", '{"gamma": 0.9, "network": {"hidden": 8}}'])[0].agent.network.hidden == 8
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--agent", "{beta"], "agent is {beta, but it is a group of settings; set --agent.NAME"),
        (["--agent", "5"], "agent is 5, but it is a group of settings"),
        (["--agent"], "agent is given nothing, but it is a group of settings"),
        (["--agent", '{"beta": "much"}'], "agent.beta is much; it is one value"),
        (["--agent", '{"bta": 1}'], "there is no setting agent.bta; did you mean agent.beta?"),
        (["--config", '{"seed": 1}'], "--config names a YAML file of settings"),
    ],
)
def test_a_group_that_holds_no_settings_is_refused(arguments: list[str], named: str) -> None:
    with pytest.raises(UserError) as error:
        parse(arguments)
    assert named in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_name_in_a_file_is_answered_with_what_was_perhaps_meant(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    for content, name in (("agent: {bta: 1}", "agent.bta"), ("agnt: {beta: 1}", "agnt.beta")):
        file.write_text(content)
        with pytest.raises(UserError, match=f"there is no setting {name}; did you mean agent.beta?"):
            parse(["--config", str(file)])


def test_a_file_of_settings_is_read_as_it_is_now_and_not_as_somebody_left_what_it_said(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("agent: {beta: 2.0}")
    first = read_mapping(file)
    first["agent"]["beta"] = 9.0  # a caller's own
    assert read_mapping(file) == {"agent": {"beta": 2.0}}
    file.write_text("agent: {beta: 3.0}")
    assert parse(["--config", str(file)])[0].agent.beta == 3.0


def test_one_command_line_leaves_nothing_to_the_next() -> None:
    before = parse([])[0]
    assert parse(["--agent.num_agents", "2", "--agent.beta", "[1,2]"])[0].agent.beta == [1.0, 2.0]
    assert parse([])[0] == before
