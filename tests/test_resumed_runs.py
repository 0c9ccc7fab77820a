"""What a run may go on with: its own settings, data and checkpoints, alone in its folder; and what else is said."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_pendulum
import toy_runs
from test_checkpoint import same
from test_lock import other
from test_run_killed import Killed, after, save_at_once, saved
from test_run_killed import balance as drawn

from combo_common.errors import UserError
from latent_combo import train as trainer
from latent_combo.agent.fit import AgentFit
from latent_combo.config.command_line import parse
from latent_combo.config.saved import load_config
from latent_combo.config.schema import Config
from latent_combo.evaluation.result import Result
from latent_combo.pipeline import origin
from latent_combo.pipeline.history import HISTORY, History
from latent_combo.pipeline.load_run import load_run
from latent_combo.runtime import checkpoint
from latent_combo.runtime.run_folder import AGENT, LOCK, WORLD_MODEL
from latent_combo.train import train


def balance(folder: Path, out: str) -> Config:
    """The config of a run that draws nothing."""
    config = drawn(folder, out)
    return replace(config, views=replace(config.views, every=0))


TAU = "agent.tau 0.01 then, 0.25 now"


@pytest.fixture(autouse=True)
def _pendulum() -> Iterator[None]:
    with toy_pendulum.registered(), toy_runs.undrawn():
        yield


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed in its agent's 11th update of 12, with checkpoints after 4 and 8; `whole` lies beside."""
    folder = tmp_path_factory.mktemp("resumed")
    with toy_pendulum.registered(), toy_runs.undrawn(), pytest.MonkeyPatch.context() as patched:
        save_at_once(patched)
        train(balance(folder, "whole"))
        patched.setattr(AgentFit, "take_step", after(10, AgentFit.take_step, folder / "run"))
        with pytest.raises(Killed):
            train(balance(folder, "run"))
    return folder / "run.killed"


@pytest.fixture
def run(killed: Path, tmp_path: Path) -> Path:
    shutil.copytree(killed, tmp_path / "run")
    return tmp_path / "run"


def files(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def changed(run: Path, old: str, new: str) -> None:
    settings = (run / "config.yaml").read_text()
    assert settings.count(old) == 1
    (run / "config.yaml").write_text(settings.replace(old, new))


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["train", *map(str, words)])
    trainer.main()


def test_changed_settings_are_refused_or_taken_knowingly_and_noted(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(run, "  tau: 0.01", "  tau: 0.25")
    changed(run, "save_every: 4", "save_every: 3")  # of which no number depends
    before = files(run)
    line = f"^the settings of {run} are not those that it began with: {TAU}; put them back, or "
    with pytest.raises(UserError, match=f"{line}take the change knowingly: .*train --resume {run} --accept-changes$"):
        command(monkeypatch, "--resume", run)
    left = files(run)
    assert {path: left[path] for path in before} == before
    command(monkeypatch, "--resume", run, "--accept-changes")
    assert f"note: {run} goes on with a change of its settings: {TAU}\n" in capsys.readouterr().err
    result, history = Result.read(run), History.read(run)
    assert result is not None and history is not None
    assert (result.resumed, result.changes) == (1, [f"settings: {TAU}"])
    (resumption,) = history.resumptions
    assert resumption.reached == {"world_model": 12, "agent": 8} and resumption.changes == result.changes
    assert history.origin.settings["agent.tau"] == 0.25

    # a finished one stays as it is, and goes on where its settings let it, to as many numbers as it has agents
    command(monkeypatch, "--resume", run, "--accept-changes")
    assert "is finished, and stays as it is" in capsys.readouterr().out
    changed(run, "  updates: 12", "  updates: 14")
    command(monkeypatch, "--resume", run, "--accept-changes")
    again = Result.read(run)
    assert again is not None and again.resumed == 2 and len(again.changes) == 2
    assert checkpoint.load(run / AGENT, torch.device("cpu"))["fit"]["step"] == 14 and len(again.agents) == 2


def test_the_option_is_for_runs_that_go_on() -> None:
    with pytest.raises(UserError, match="--accept-changes is for a run that goes on: --resume RUN --accept-changes"):
        parse(["--accept-changes", "--seed", "1"])
    with pytest.raises(UserError, match="--resume RUN stands alone"):
        parse(["--resume", "run", "--accept-changes", "--seed", "1"])


def test_another_program_and_machine_are_said_and_noted_and_no_number_differs(
    run: Path, killed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = json.loads((run / HISTORY).read_text())
    said["origin"]["versions"]["torch"] = "1.0"
    said["origin"]["machine"]["threads"] = "96"
    (run / HISTORY).write_text(json.dumps(said))
    monkeypatch.setattr(origin, "source", lambda: "other")
    config = load_config(run)
    result = train(config, resume=True)
    (note,) = (line for line in capsys.readouterr().err.splitlines() if f"note: {run} goes on by" in line)
    for told in ("another version of this program's code", "torch 1.0 then,", "threads 96 then,"):
        assert told in note and any(told in change for change in result.changes)
    assert note.endswith("numbers may differ from those of one go")
    assert same(saved(run, AGENT), saved(killed.with_name("whole"), AGENT))


def test_a_damaged_checkpoint_costs_an_interval_and_no_more(
    run: Path, killed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run / "checkpoints" / "agent-0000008" / "tensors.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    (run / "checkpoints" / "agent-0000016.partial").mkdir()
    train(load_config(run), resume=True)
    told = capsys.readouterr()
    assert f"warning: {file} has another SHA-256" in told.err and "agent at update 4" in told.out
    assert same(saved(run, AGENT), saved(killed.with_name("whole"), AGENT))
    names = sorted(path.name for path in (run / "checkpoints").glob("agent*"))
    assert names == ["agent-0000008", "agent-0000008.damaged", "agent-0000012"]


def test_a_folder_that_is_in_use_is_refused_and_stays_as_it_is(run: Path, tmp_path: Path) -> None:
    for out, resume in ((run, True), (tmp_path / "new", False)):
        config = load_config(run) if resume else balance(tmp_path, "new")
        (out / LOCK).unlink(missing_ok=True)
        process = other(out / LOCK)
        try:
            before: dict[Path, bytes] = files(out)
            with pytest.raises(UserError, match=rf"^{out} is in use by process {process.pid} on .*; wait for it, or"):
                train(config, resume)
            assert files(out) == before
        finally:
            process.kill()
            process.wait()
    assert train(balance(tmp_path, "new")).resumed == 0  # and is taken over
    assert not (tmp_path / "new" / LOCK).exists()


@pytest.mark.parametrize("content", [None, "{", '{"format": 1}', '{"format": 7}', "[]"])
def test_a_run_that_does_not_say_goes_on_and_a_damaged_word_is_named(
    run: Path, content: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / HISTORY).unlink()
    config: Any = load_config(run)
    if content is not None:
        (run / HISTORY).write_text(content)
        with pytest.raises(UserError, match=f"{HISTORY} can not be read .*; restore it, or remove it to go on"):
            train(config, resume=True)
        return
    assert train(config, resume=True).resumed == 1


def test_a_run_of_before_goes_on_and_imagines_anew(run: Path) -> None:
    """Its checkpoints are files of torch.save, without the model buffer, and it has no history."""
    for name in (WORLD_MODEL, AGENT):
        state = checkpoint.load(run / name, torch.device("cpu"))
        for new in ("buffer", "rollout_metrics"):
            state["fit"].pop(new, None)
        state.pop("meter")
        torch.save(state, run / f"{name}.pt")
    for folder in (run / "checkpoints").glob("*-*"):
        shutil.rmtree(folder)
    (run / HISTORY).unlink()
    assert load_run(run).agent_step == 8
    result = train(load_config(run), resume=True)
    assert result.resumed == 1 and load_run(run).agent_step == 12


@pytest.mark.parametrize(
    "state", [{}, {"fit": {"step": "x"}, "seconds": {}}, {"fit": {"step": 1}, "seconds": {"a": None}}]
)
def test_a_whole_checkpoint_of_something_else_is_a_line(run: Path, state: dict[str, Any]) -> None:
    checkpoint.save(run / AGENT, 9, state)
    with pytest.raises(UserError, match="agent-0000009 is not of this version of the program; train that part anew"):
        train(load_config(run), resume=True)
