"""The whole, end to end, at toy size."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_runs import HORIZON, toy, undrawn

from combo_common.cli import run_cli
from combo_common.errors import UserError
from data.conversion import convert
from data.simulate.rendering import render_dataset
from data.source import open_source
from envs.registry import get_task
from latent_combo.config.command_line import parse
from latent_combo.evaluate import main as evaluate_main
from latent_combo.pipeline import agent_phase
from latent_combo.pipeline.load_run import load_run
from latent_combo.runtime import checkpoint
from latent_combo.train import main as train_main
from latent_combo.train import train
from latent_combo.visualise import main as visualise_main
from latent_combo.world_model import tune
from latent_combo.world_model.fit import Fit

TASK = get_task("walker-walk")
pytestmark = pytest.mark.usefixtures("short")


def weights(out: Path) -> dict[str, torch.Tensor]:
    cpu = torch.device("cpu")
    model = checkpoint.load(out / "checkpoints/world_model", cpu)["fit"]["model"]
    agent = checkpoint.load(out / "checkpoints/agent", cpu)["fit"]["agent"]
    return {**model, **agent}


def assert_same_weights(run: Path, other: Path) -> None:
    expected = weights(other)
    for name, value in weights(run).items():
        assert bool((value == expected[name]).all()), name


Done = subprocess.CompletedProcess[str]


def command(module: str, *arguments: object) -> Done:
    """A command in a process of its own, whose episodes are short."""
    script = [sys.executable, str(Path(__file__).with_name("toy_command.py")), module]
    return subprocess.run([*script, *map(str, arguments)], capture_output=True, text=True, check=False)


def command_here(main: Callable[[], None], *arguments: object) -> Done:
    """The same in this process, which has imported what it takes."""
    out, err, argv = io.StringIO(), io.StringIO(), ["command", *map(str, arguments)]
    given = mock.patch.object(sys, "argv", argv)
    with given, redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run_cli(main)
    assert isinstance(ended.value.code, int)
    return Done(argv, ended.value.code, out.getvalue(), err.getvalue())


def test_a_run_leaves_all_that_it_promises(finished: Path) -> None:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    result = json.loads((finished / "result.json").read_text(), parse_constant=refuse)
    assert {
        "task", "obs", "dataset", "algorithm", "preset", "seed", "episodes", "return_mean", "return_std",
        "normalised_score", "success_rate", "dataset_return_mean", "world_model", "seconds", "rates", "versions",
    } <= result.keys()  # fmt: skip
    model = result["world_model"]
    assert 0.3 <= model.pop("real_vs_imagined_accuracy") <= 1.0
    assert {"height", "pitch, sine", "right knee, velocity"} <= model.pop("probes").keys()
    for figure in model.values():
        assert figure.keys() == {"1", "5", "15", "50"}
    found = {"q_minus_return", "dream_over_true_return", "max_variance_latent_error_rank_random_at_5"}
    assert found <= result["diagnostics"].keys()
    assert {"views", "views_in_background"} <= result["seconds"].keys()
    assert len(result["agents"]) == 2
    assert load_run(finished).policy(seed=0).sample is load_run(finished).config.encode.sample is True
    assert result["normalised_score"] == pytest.approx(TASK.normalised_score(result["return_mean"]))
    kept = ("horizon", "latent_kl", "probes", "calibration_1", "calibration_5", "conservatism", "counterfactual")
    for name in (
        *("config.yaml", "curves.png", "report.html"),
        *(f"videos/{name}" for name in ("policy.mp4", "worst.mp4", "dreams.mp4", "dreams.npz")),
        *(f"videos/held_out_0.{kind}" for kind in ("mp4", "npz")),
        *(f"views/{name}.png" for name in kept),
    ):
        assert (finished / name).stat().st_size > 100, name
    assert not list(finished.rglob("*.tmp*"))
    board = EventAccumulator(str(finished / "tensorboard"))
    board.Reload()
    tags = board.Tags()
    images = {f"world_model/{name}" for name in ("held_out_0", "horizon", "dreams")} | {"agent/counterfactual"}
    assert images <= set(tags["images"])
    assert {"values/dataset_pairs", "values/model_pairs", "values/random_pairs"} <= set(tags["histograms"])
    steps = [image.step for image in board.Images("world_model/held_out_0")]
    assert steps == [4, 6]  # every 4 of 6 steps, and at the end
    rows = list(csv.DictReader((finished / "metrics.csv").open()))
    logged = {(row["phase"], row["name"]) for row in rows}
    assert {
        ("world_model", "kl"),
        ("world_model", "validation_image"),
        ("agent", "q_data/1"),
        ("agent", "score/0"),
    } <= logged
    assert all(np.isfinite(float(row["value"])) for row in rows)


def test_segments_longer_than_the_episodes_are_refused_before_anything_is_written(
    data_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"the longest has {HORIZON + 1}"):
        train(toy(data_dir, tmp_path / "run", "--world_model_fit.length", str(HORIZON + 2)))
    assert not (tmp_path / "run").exists()


def test_what_is_scored_and_drawn_of_a_run_does_not_reach_training(
    data_dir: Path, finished: Path, tmp_path: Path
) -> None:
    """The finished run was drawn whole; another one is scored otherwise, and nothing is drawn of it."""
    other = tmp_path / "other"
    scored = ("--score.seed", "77", "--score.seed_during_training", "78", "--agent_fit.evaluations", "1")
    with undrawn():
        train(toy(data_dir, other, *scored, "--views.every", "0", "--views.clips", "2", "--views.episodes", "1"))
    assert_same_weights(other, finished)


@pytest.mark.parametrize("layout", ["dreamer", "minari"])
def test_training_on_another_programs_copy_is_training_on_the_data(
    layout: str, data_dir: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    own, out = tmp_path / "own", str(tmp_path / "walker_walk" / "64px")
    render_dataset(data_dir / "tiny", own, 64, "fast", progress=False)
    dataset = "copy/walker-walk-v0" if layout == "minari" else out
    if layout == "minari":
        pytest.importorskip("minari")
    convert(open_source(str(own), None, tmp_path), dataset, layout, progress=False)
    sparing = ("--views.every", "0", "--agent_fit.evaluations", "0", "--score.episodes", "0")
    with undrawn():
        train(toy(tmp_path, tmp_path / "run", "--dataset", dataset, "--look", "fast", *sparing))
    assert_same_weights(tmp_path / "run", finished)


def test_a_stopped_run_goes_on_to_the_same_world_model(
    data_dir: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, step = tmp_path / "stopped", Fit.take_step

    def press_ctrl_c(self: Fit, report: bool = True) -> object:
        metrics = step(self, report)
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return metrics

    with monkeypatch.context() as patch:
        patch.setattr(Fit, "take_step", press_ctrl_c)
        with undrawn(), pytest.raises(UserError, match=f"--resume {out}"):
            train(toy(data_dir, out))
    assert not (out / "result.json").exists()
    config, resume = parse(["--resume", str(out)])
    assert resume
    with undrawn():
        train(config, resume)
    assert_same_weights(out, finished)
    steps = [int(r["step"]) for r in csv.DictReader((out / "metrics.csv").open()) if r["name"] == "kl"]
    assert steps == sorted(steps) == sorted(set(steps))


def test_bad_input_is_one_line_and_exit_code_2_and_changes_nothing(finished: Path, data_dir: Path) -> None:
    before = (finished / "config.yaml").read_bytes()
    run = partial(command_here, train_main)
    for train_with, arguments, named in (
        (partial(command, "latent_combo.train"), ["--out", finished], "holds a run already"),
        (run, ["--task", "walker-wlak", "--out", finished.parent / "new"], "walker-walk"),
        (run, ["--dataset", "nowhere", "--out", finished.parent / "new"], "nowhere"),
        (run, ["--dataset", "tiny", "--out", finished / "config.yaml" / "below"], "below"),
    ):
        done = train_with("--data_dir", data_dir, *arguments)
        assert done.returncode == 2, done.stderr
        line = done.stderr.strip().splitlines()[-1]
        assert line.startswith("error: ") and named in line
        assert "Traceback" not in done.stderr
    assert (finished / "config.yaml").read_bytes() == before
    assert not (finished.parent / "new").exists()


@pytest.mark.parametrize("preset", ["paper", "gpu"])
def test_the_presets_of_a_gpu_train_as_they_are_but_shorter(
    preset: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_phase, "regularisers", partial(agent_phase.regularisers, batches=2))
    monkeypatch.setattr(tune, "REPEATS", 1)
    agents, anchor, mu = {"paper": (1, 0.0, "uniform"), "gpu": (4, 2.5, "policy")}[preset]
    arguments = f"""--preset {preset} --dataset tiny --data_dir {data_dir} --out {tmp_path / "paper"} --device cpu
        --world_model_fit.steps 2 --world_model_fit.batch 2 --world_model_fit.length 20 --agent_fit.updates 2
        --agent_fit.rollout_batch_size 10 --score.processes 1
        --agent_fit.warm_up {int(preset == "gpu")} --agent_fit.evaluations 0 --score.episodes 1
        --validation_fraction 0.3 --views.clips 1
        --views.segments 8"""
    with undrawn():
        result = train(parse(arguments.split())[0])
    assert result.episodes == agents and np.isfinite(result.return_mean)
    assert result.agent == {
        "beta": 1.0 if preset == "paper" else 0.5,
        "real_ratio": 0.5,
        "penalty_states": "mix",
        "rollout_actions": mu,
        "extraction": "value",
        "anchor_by": "size",
        "anchor": anchor,
        "trajectory_temperature": None,
        "backup": "sample",
        "episode_start_fraction": 0.0,
        "scale_beta": False,
        "policy_average": 0.0,
        "batch": 256,
        "bfloat16": False,
    }
    trained = weights(tmp_path / "paper")
    assert trained["actor.first.weight"].shape == (agents, 384, 256)
    assert trained["critic.feature_in.weight"].shape == (2 * agents, 384, 256)
    assert all(bool(value.isfinite().all()) for value in trained.values())


def test_a_finished_run_is_scored_and_drawn_again(finished: Path, tmp_path: Path, blank_figures: None) -> None:
    scored = command_here(evaluate_main, finished, "--episodes", 1)
    assert scored.returncode == 0, scored.stderr
    assert "agent 1: return" in scored.stdout
    assert f"dataset {json.loads((finished / 'result.json').read_text())['dataset_return_mean']:.1f}" in scored.stdout
    result = json.loads((finished / "result.json").read_text())
    assert f"return {result['agents'][0]['return_mean']:.1f}" in scored.stdout  # the same policy, the same seeds
    run = load_run(finished)
    assert run.agent is not None and run.agent.averaged is not None and run.policy(0).actor is run.agent.averaged
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy, ignore=shutil.ignore_patterns("views", "videos", "report.html"))
    drawn = command_here(visualise_main, copy)
    assert drawn.returncode == 0, drawn.stderr
    for folder in ("views", "videos"):
        assert sorted(os.listdir(copy / folder)) == sorted(os.listdir(finished / folder))
    assert (copy / "report.html").exists()
    clip = Path("videos") / "held_out_0.npz"
    with np.load(finished / clip) as before, np.load(copy / clip) as after:
        for name in before:  # the same clips, however they are made
            assert np.array_equal(before[name], after[name], equal_nan=True), name


def test_a_finished_run_says_so_and_stays_as_it_is(finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    done = command_here(train_main, "--resume", finished)
    assert done.returncode == 0, done.stderr
    assert f"{finished} is finished, and stays as it is" in done.stdout and "normalised" in done.stdout
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_what_a_run_lacks_is_said_and_the_rest_is_drawn(
    data_dir: Path, finished: Path, tmp_path: Path, blank_figures: None
) -> None:
    half = tmp_path / "half"
    shutil.copytree(finished, half, ignore=shutil.ignore_patterns("agent-*", "result.json", "views", "videos"))
    drawn = command_here(visualise_main, half)
    assert drawn.returncode == 0, drawn.stderr
    assert "no agent yet" in drawn.stdout and f"--resume {half}" in drawn.stdout
    assert (half / "videos" / "held_out_0.mp4").exists() and not (half / "views" / "conservatism.png").exists()
    page = (half / "report.html").read_text()
    assert "This run is not finished" in page and "Conservatism" in page

    lost = tmp_path / "lost"
    shutil.copytree(finished, lost, ignore=shutil.ignore_patterns("views", "videos"))
    (lost / "metrics.csv").unlink()
    config = (lost / "config.yaml").read_text()
    (lost / "config.yaml").write_text(config.replace("dataset: tiny", "dataset: gone"))
    drawn = command_here(visualise_main, lost)
    assert drawn.returncode == 0, drawn.stderr
    assert "no views of the dataset's episodes: " in drawn.stdout and "gone" in drawn.stdout
    assert f"no curves: {lost} has no metrics.csv" in drawn.stdout
    assert (lost / "videos" / "policy.mp4").exists() and not (lost / "videos" / "held_out_0.mp4").exists()

    for replaced, by in (("kl_weight", "weight_of_kl"), ("deterministic: 16", "deterministic: 24")):
        (lost / "config.yaml").write_text(config.replace(replaced, by))
        refused = command_here(visualise_main, lost)
        assert refused.returncode == 2
        (line,) = (line for line in refused.stderr.splitlines() if line.startswith("error: "))
        assert "not of this version of the program" in line
