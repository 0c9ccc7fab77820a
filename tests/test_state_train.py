"""Training from states, by the same code as from pixels."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import toy_pendulum
from test_layers import SOURCES

from combo_common.errors import UserError
from latent_combo import visualise
from latent_combo.config.command_line import parse
from latent_combo.config.schema import Config
from latent_combo.diagnostics.page import find_views, write_report
from latent_combo.pipeline.load_run import load_run
from latent_combo.runtime.media import MediaWriter
from latent_combo.runtime.run_folder import PICTURES
from latent_combo.train import train
from latent_combo.world_model.fit import Fit

BALANCE = """
    --obs state --products mkl --validation_fraction 0.1 --world_model_fit.steps 1000 --world_model_fit.batch 448
    --world_model_fit.validate_every 100 --world_model_fit.patience 0
    --ensemble.hidden 64 --ensemble.weight_decay=[1e-5,1e-5,1e-5]
    --agent.num_agents 2 --agent.batch 128 --agent.num_sampled_actions 4 --agent.network.hidden 64
    --agent.actor_network.hidden 64
    --agent.network.layers 2 --agent.actor_network.layers 2 --agent.critic_learning_rate 1e-3
    --agent.actor_learning_rate 1e-3 --agent.alpha_learning_rate 1e-3 --agent.beta 0.1 --agent.rollout_actions policy
    --agent.tau 0.02 --agent.gamma 0.97
    --agent_fit.updates 500 --agent_fit.warm_up 100 --agent_fit.rollout_length 5
    --agent_fit.rollout_batch_size 200 --agent_fit.rollout_every 100 --agent_fit.evaluations 2
    --agent_fit.final_learning_rate 0.1
    --score.episodes 10 --score.processes 1 --score.episodes_during_training 2 --device cpu
    --views.every 0 --views.clips 1
"""
SHORT = (
    "--world_model_fit.steps",
    "40",
    "--world_model_fit.validate_every",
    "20",
    "--agent_fit.updates",
    "12",
    "--agent_fit.warm_up",
    "4",
    "--score.episodes",
    "2",
)
BRIEF = (*SHORT, "--save_every", "5")


@pytest.fixture(autouse=True)
def pendulum(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The task is known, and nothing can be drawn, as on a machine without a GL library."""

    def nothing(*given: object) -> None:
        raise UserError("nothing draws here")

    monkeypatch.setattr("latent_combo.diagnostics.agent.film", nothing)
    with toy_pendulum.registered():
        yield


def balance(folder: Path, out: str, *more: str) -> Config:
    """The config of a run on the clumsy policy's data."""
    path = folder / "toy-pendulum.hdf5"
    if not path.exists():
        toy_pendulum.dataset(path)
    places = ["--dataset", str(path), "--data_dir", str(folder), "--out", str(folder / out)]
    return parse([*BALANCE.split(), *places, *more])[0]


def test_combo_is_better_than_the_policy_that_it_learned_from(
    tmp_path: Path, blank_figures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train(balance(tmp_path, "run"))
    behaviour = [episode.episode_return for episode in toy_pendulum.behave(60, 0)]
    assert result.dataset_return_mean == pytest.approx(np.mean(behaviour), rel=1e-4)
    for agent in result.agents:  # every one of the stack, over ten episodes
        assert agent.return_mean > 1.5 * np.mean(behaviour)
    model = result.world_model
    assert model.one_step["explained"] > 0.9
    for error, still in zip(model.one_step["one_step_rmse"], model.one_step["copy_rmse"], strict=True):
        assert error < 0.6 * still
    assert model.open_loop["open_loop_nrmse"][5] < 0.56 * model.open_loop["copy_last_nrmse"][5]
    assert not any("psnr" in name for name in model.open_loop)  # which is a measure of images
    elites = model.one_step["elites"]
    assert len(elites) == 5 and sorted(set(elites)) == sorted(elites)
    assert "no film of the policy: nothing draws here" in capsys.readouterr().out


def test_a_run_is_stopped_resumed_and_drawn_as_one_of_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_figures: None
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(MediaWriter, "_submit", lambda gallery, work: None)  # nothing is drawn of this one
        whole = train(balance(tmp_path, "whole", *BRIEF))
    take, calls = Fit.take_step, iter(range(1000))

    def stop(self: Fit, report: bool = True) -> object:
        if next(calls) == 27:
            raise UserError("stopped")
        return take(self, report)

    config = balance(tmp_path, "parts", *BRIEF)
    with monkeypatch.context() as patched:
        patched.setattr(Fit, "take_step", stop)
        with pytest.raises(UserError, match="stopped"):
            train(config)
    parts = train(config, resume=True)
    for name in ("agents", "world_model"):
        assert getattr(parts, name) == getattr(whole, name), name
    run = tmp_path / "parts"
    assert json.loads((run / "result.json").read_text())["obs"] == "state"
    pictures = {path.stem for path in (run / PICTURES).glob("*.png")}
    assert {"horizon", "dreams", "probes", "conservatism", "calibration_1", "counterfactual"} <= pictures
    before = {path.name: path.stat().st_mtime_ns for path in (run / PICTURES).glob("*.png")}
    visualise.visualise(run, load_run(run), 0)
    assert all((run / PICTURES / name).stat().st_mtime_ns > then for name, then in before.items())
    page = write_report(run)
    assert "dream of one episode" in page and "What each latent dimension adds" not in page
    _, missing = find_views(run, states=True)
    assert missing == ["An episode of the first agent", "Its worst episode"]  # nothing draws here


def test_the_trainer_is_one_for_all_kinds_of_observations() -> None:
    """What is observed may matter where data is read, a world model made, a setting checked, and a page laid out.

    And where grids of runs are planned, or an algorithm says what it is for.
    """
    asking = {
        name
        for name, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("pixels", "obs")
        and name.startswith("latent_combo")
        and not name.startswith("latent_combo.comparison.")
    }
    assert asking == {
        "latent_combo.agent.algorithms",
        "latent_combo.api.policy_file",
        "latent_combo.api.run",
        "latent_combo.config.command_line",
        "latent_combo.config.layers",
        "latent_combo.config.schema",
        "latent_combo.pipeline.build",
        "latent_combo.pipeline.checks",
        "latent_combo.pipeline.needs",
        "latent_combo.pipeline.prepare",
    }
    for name in (
        "latent_combo.train",
        "latent_combo.pipeline.loop",
        "latent_combo.pipeline.model_phase",
        "latent_combo.pipeline.agent_phase",
        "latent_combo.latents.encode",
    ):
        mentioned = {node.id for node in ast.walk(SOURCES[name]) if isinstance(node, ast.Name)}
        assert not mentioned & {"RecurrentWorldModel", "EnsembleWorldModel"}, name


def test_shifts_are_of_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shifts move images"):
        balance(tmp_path, "run", "--world_model_fit.random_shift", "2")


def test_endings_that_the_task_does_not_know_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "toy-pendulum.hdf5"
    made = toy_pendulum.dataset(path)
    fallen = sum(bool(episode.is_terminal[-1]) for episode in made)
    assert fallen > 50
    with h5py.File(path, "a") as file:  # a dataset of another robot: its last states are no falls of this one
        file["next_observations"][...] = 1e-3 * file["next_observations"][()]
        file["observations"][...] = 1e-3 * file["observations"][()]
    with pytest.raises(UserError, match="0% of their last states end toy-pendulum"):
        train(balance(tmp_path, "run"))
    assert not (tmp_path / "run").exists()


def test_too_few_episodes_to_hold_some_out_are_refused(tmp_path: Path) -> None:
    toy_pendulum.dataset(tmp_path / "toy-pendulum.hdf5", episodes=1)
    with pytest.raises(UserError, match="too few to train on some and hold out"):
        train(balance(tmp_path, "run"))
    assert not (tmp_path / "run").exists()
