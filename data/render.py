"""Draw a recording: `python -m data.render SRC OUT` makes a dataset of images out of recorded physics."""

import argparse
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.episode import Episode
from data.locate import default_data_dir, resolve
from data.manifest import Description, Manifest, check_fits
from data.store import Dataset, write_dataset
from envs.tasks import get_task
from latent_combo.run.errors import UserError, run_cli

SIZES = range(16, 641)
"""Image sizes that MuJoCo's off-screen buffer has room for."""


def render_episodes(recording: Dataset, size: int, look: str, progress: bool = True) -> Iterator[Episode]:
    """Yield the episodes of a recording with `image` (T+1, size, size, 3), and `state` if they had none.

    Memory holds one episode at a time. Raises UserError when the recording does not fit its task or holds no physics,
    and when a frame cannot be drawn or is black.
    """
    # Imported here because it loads the simulator and a GL library, which datasets of images do without.
    from envs.make import make

    manifest = recording.manifest
    task = get_task(manifest.task)
    check_fits(manifest, task, (look, size), str(recording.folder))
    if manifest.physics_dim is None:
        raise UserError(f"{recording.folder} holds no physics to draw from; collect it again with data.collect")
    if size not in SIZES:
        raise UserError(f"images of {size} pixels cannot be drawn; choose a size of {SIZES[0]} to {SIZES[-1]}")
    env = make(task.name, "state", look, size)
    frames = manifest.transitions + manifest.episodes
    try:
        with tqdm(total=frames, desc=f"drawing {recording.folder.name}", unit="frame", disable=not progress) as bar:
            for episode in recording:
                assert episode.physics is not None  # the manifest says so, and reading has checked it
                images = np.empty((episode.length + 1, size, size, 3), np.uint8)
                for image, physics in zip(images, episode.physics, strict=True):
                    image[:] = env.render_physics(physics)
                    bar.update()
                state = episode.state
                if state is None:
                    state = np.stack([env.observe_physics(physics) for physics in episode.physics])
                yield replace(episode, image=images, state=state)
    finally:
        env.close()


def observe_episodes(dataset: Dataset, progress: bool = True) -> Iterator[Episode]:
    """Yield the episodes of a dataset with `state` (T+1, S), observed in the simulator where they had none.

    Raises UserError when a dataset has neither states nor physics.
    """
    manifest = dataset.manifest
    if manifest.state_dim is not None:
        yield from dataset
        return
    if manifest.physics_dim is None:
        raise UserError(f"{dataset.folder} holds neither states nor physics to observe them from; use another dataset")
    from envs.make import make

    env = make(manifest.task, "state")
    for episode in tqdm(dataset, desc=f"observing {dataset.folder.name}", unit="episode", disable=not progress):
        assert episode.physics is not None  # the manifest says so, and reading has checked it
        yield replace(episode, state=np.stack([env.observe_physics(physics) for physics in episode.physics]))


def render_dataset(source: Path, out: Path, size: int | None, look: str, progress: bool = True) -> Manifest:
    """Make a dataset of images, `size` pixels square (None: the task's), out of a recording.

    Raises UserError as `render_episodes` and `write_dataset` do, and when `source` has images already.
    """
    recording = Dataset(source)
    manifest = recording.manifest
    if manifest.kind != "recording":
        raise UserError(f"{source} holds images already; render the recording that it was made from")
    size = size or get_task(manifest.task).image_size
    known = {field.name: getattr(manifest, field.name) for field in fields(Description)}
    description = Description(**{**known, "image_size": size, "look": look})
    episodes = render_episodes(recording, size, look, progress)
    return write_dataset(out, episodes, description, total=len(recording), progress=False)


def main() -> None:
    """Read the command line and make the dataset."""
    parser = argparse.ArgumentParser(prog="python -m data.render", description=__doc__)
    parser.add_argument("source", help="a recording: its folder or its name")
    parser.add_argument("out", type=Path, help="the folder to make")
    parser.add_argument("--size", type=int, help="pixels of the square images (default: the task's)")
    parser.add_argument("--look", default="fast", help="fast, or full: as dm_control draws it, 10 times slower")
    options = parser.parse_args()
    source = resolve(options.source, None, default_data_dir())
    manifest = render_dataset(source, options.out, options.size, options.look)
    print(f"{manifest.episodes} episodes, {manifest.transitions} transitions in {options.out}")


if __name__ == "__main__":
    run_cli(main)
