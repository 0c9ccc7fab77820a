"""`python -m latent_combo.visualise RUN`: draw what a run's model predicts, what its agent values, and what it does."""

import dataclasses
import time
from contextlib import closing
from pathlib import Path

import latent_combo.early  # noqa: F401
from combo_common.cli import run_cli
from combo_common.errors import UserError
from combo_common.files import write_atomically
from combo_common.seeding import generator
from data.dataset import TrajectoryDataset
from data.load import load
from data.split import split_episodes
from latent_combo.agent.offline import OfflineDataset
from latent_combo.config import options
from latent_combo.config.saved import unreadable
from latent_combo.diagnostics.agent import MEDIAN, WORST, AgentViews, show_films
from latent_combo.diagnostics.curves import CURVES, Panels, draw_curves, joined
from latent_combo.diagnostics.model import PROBE_EPISODES, DiagnosticsContext, ModelViews, evenly_chosen
from latent_combo.diagnostics.page import write_report
from latent_combo.diagnostics.style import EXACT
from latent_combo.evaluation.evaluator import Evaluator
from latent_combo.evaluation.result import Result
from latent_combo.evaluation.score import Score
from latent_combo.latents.encode import encode_dataset
from latent_combo.latents.frames import frames_of, stack_frames
from latent_combo.pipeline.build import choose_device
from latent_combo.pipeline.load_run import Run, load_run
from latent_combo.pipeline.same_data import require_same_data
from latent_combo.runtime.media import MediaWriter
from latent_combo.runtime.run_command import run_command
from latent_combo.runtime.run_folder import CLIPS, PICTURES, REPORT, TENSORBOARD, lock_of
from latent_combo.runtime.tensorboard import TensorBoardLog

EVENTS = ".visualise"
"""Suffix of this command's event file, which a later call replaces."""


def visualise(folder: Path, run: Run, seed: int) -> None:
    """Write all views that a run has the parts for, and say what is missing."""
    data = _dataset(run)
    gallery = MediaWriter(folder, TensorBoardLog(folder / TENSORBOARD, EVENTS), EXACT)
    try:
        if data is not None:
            print(f"{len(data.lengths)} episodes of {run.config.dataset}; drawing", flush=True)
            _views(run, data, gallery, seed)
        elif run.agent is not None:
            score = _play(run, seed)
            show_films(gallery, run.task, run.config.look, score, run.agent_step)
        gallery.wait()
    except KeyboardInterrupt:
        gallery.cut_off(0.0)
        raise
    finally:
        gallery.close()
        gallery.board.close()
    if run.agent is None:
        going_on = run_command("train", folder, run.config.task)
        print(f"no agent yet, so no values, calibration and policy; go on with: {going_on}")


def _dataset(run: Run) -> TrajectoryDataset | None:
    """The run's dataset, or None, with a line, where it can't be had. Raises UserError where it was replaced."""
    config = run.config
    try:
        data = load(
            config.dataset, run.task, config.observation_spec, config.data_folder, "memmap", config.skip_corrupt
        )
    except UserError as error:
        print(f"no views of the dataset's episodes: {error}")
        return None
    require_same_data(Path(config.out), config, data)
    return data


def _views(run: Run, data: TrajectoryDataset, gallery: MediaWriter, seed: int) -> None:
    config, device = run.config, choose_device(run.config.device)
    split = split_episodes(len(data.lengths), config.validation_fraction, config.seed_of_split)
    context = DiagnosticsContext.choose(
        run.task, data, split, gallery, config.views, config.encode, config.seed + seed, device
    )
    if config.has_world_model:
        ModelViews(context).after(run.world_model, run.model_step)
    if run.agent is None:
        return
    score = _play(run, seed)
    shown = evenly_chosen(context.train, PROBE_EPISODES)
    if config.has_world_model:
        once = dataclasses.replace(config.encode, num_encodings=1)
        draws = generator(seed, device, "latents")
        encoded: OfflineDataset = encode_dataset(run.world_model, data, shown, once, config.agent, draws)
    else:
        encoded = stack_frames(frames_of(data, device), data, shown, config.agent, held_out=True)
    views = AgentViews(context, run.filter, run.agent, config.observation_spec, simulate=config.score.episodes > 0)
    views.after(encoded, config.agent_fit.rollout_length, score.recorded, run.agent_step)
    if seed or not all((gallery.run / CLIPS / f"{name}.mp4").exists() for name in (MEDIAN, WORST)):
        show_films(gallery, run.task, config.look, score, run.agent_step)


def _play(run: Run, seed: int) -> Score:
    """As many episodes as the run's final score has, which they are for seed 0."""
    policy, config = run.policy(run.config.seed), run.config.score
    with closing(Evaluator(run.task, run.config.observation_spec, policy.num_agents, config)) as evaluator:
        return evaluator.play(policy, config.seed + seed, config.episodes, record=run.config.views.episodes)


def _curves(folder: Path) -> Panels | None:
    """The learning curves, or None, with a line, where the log can't be read."""
    try:
        return draw_curves(folder)
    except UserError as error:
        print(f"no curves: {error}")
        return None


def _result(folder: Path) -> Result | None:
    """What the run came to; None before its end, or where it can't be read, which the page says."""
    try:
        return Result.read(folder)
    except UserError:
        return None


def main() -> None:
    """Read the command line, and draw into the run's folder and its TensorBoard events.

    Raises UserError that says who is in the folder, where a run trains there.
    """
    given = options.visualise()
    with lock_of(given.run):
        draw(given.run, given.task, given.seed)


def draw(folder: Path, task: str | None, seed: int) -> None:
    """Draw all of a run, whose folder is locked, and write its page; `task` as `load_run` has it."""
    started = time.perf_counter()
    curves = _curves(folder)
    page = write_report(folder, curves, unreadable(folder))  # of what there is, before anything else may fail
    write_atomically(folder / REPORT, page.encode())
    visualise(folder, load_run(folder, task).with_selected(_result(folder)), seed)
    if curves is not None:
        write_atomically(folder / CURVES, joined(curves))
    write_atomically(folder / REPORT, write_report(folder, curves).encode())
    print(f"{folder}/{REPORT}, {folder}/{CLIPS}, {folder}/{PICTURES}; {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    run_cli(main)
