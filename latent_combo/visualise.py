"""`python -m latent_combo.visualise RUN`: draw what a run's model predicts and what its policy does."""

import argparse
from pathlib import Path

from data.load import load_pixels
from data.locate import default_data_dir
from data.segments import SegmentSampler, split_episodes
from latent_combo.clips import FPS, open_loop_clip
from latent_combo.curves import draw_curves
from latent_combo.fit_world_model import CLIP, CONTEXT, SHOWN
from latent_combo.load_run import load_run
from latent_combo.run.errors import run_cli
from latent_combo.run.files import write_atomically
from latent_combo.run.seeding import generator, numpy_generator
from latent_combo.run.video import write_gif, write_mp4
from latent_combo.score import Scorer, film


def main() -> None:
    """Read the command line, and write clips into the run's `videos` folder."""
    parser = argparse.ArgumentParser(prog="python -m latent_combo.visualise", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--seed", type=int, default=0, help="which held-out segments, and which episode, are shown")
    given = parser.parse_args()
    run = load_run(given.run)
    config, videos = run.config, given.run / "videos"
    write_atomically(given.run / "curves.png", draw_curves(given.run))
    print(f"learning curves in {given.run / 'curves.png'}")
    data = load_pixels(
        config.dataset,
        run.task,
        config.look,
        Path(config.data_dir).expanduser() if config.data_dir else default_data_dir(),
        "memmap",
        config.world_model.conv.image_size,
    )
    _, held_out = split_episodes(len(data.lengths), config.held_out, config.seed)
    device = next(run.world_model.parameters()).device
    segment = SegmentSampler(data, held_out, CLIP).spread(SHOWN, numpy_generator(given.seed, "clips")).to(device)
    clip = open_loop_clip(run.world_model, segment, CONTEXT, generator(given.seed, device, "clips"))
    write_gif(videos / "open_loop.gif", clip, fps=10)
    print(f"open-loop prediction in {videos / 'open_loop.gif'}")
    if run.agent is None:
        print("no policy to show: this run has no agent yet")
        return
    policy = run.policy(given.seed)
    scorer = Scorer(run.task, config.look, config.world_model.conv.image_size, policy.stack, 1)
    physics = scorer.score(policy, config.score.seed + given.seed).physics
    scorer.close()
    write_mp4(videos / "policy.mp4", film(run.task, config.look, physics), FPS)
    print(f"the first agent's episode in {videos / 'policy.mp4'}")


if __name__ == "__main__":
    run_cli(main)
