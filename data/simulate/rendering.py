"""Pictures and vector observations out of recorded physics."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from combo_common.commands import same_command
from combo_common.errors import StoppedError, UserError
from combo_common.progress import progress_bar
from combo_common.staging import staged_folder
from combo_common.versions import version_of
from data.episode import Episode
from data.formats.manifest import Description, Manifest, check_fits
from data.formats.native import Dataset, DatasetWriter
from data.rules import lacks
from data.simulate.relabelling import observed
from data.simulate.workers import in_order, processes_for
from data.skipped import Skipped
from envs.registry import find_task, get_task, told_task
from envs.task import Task

WORTHWHILE = 5_000
"""Frames below which starting processes takes longer than drawing."""
DRAWS = ("mujoco", "dm-control", "metaworld", "gymnasium")
"""Packages that decide what a drawn state looks like."""
SIZES = range(16, 641)
"""Image sizes that MuJoCo's off-screen buffer has room for."""


@dataclass(frozen=True)
class RenderWorkerMaker:
    """What makes a painter, in whichever process."""

    recording: Dataset
    task: Task
    """Itself, not its name: a task of one's own is registered in the first process alone."""
    size: int
    look: str

    def __call__(self) -> "RenderWorker":
        """Make the environment, and with it the GL context, here."""
        return RenderWorker(self.recording, self.task, self.size, self.look)


class RenderWorker:
    """Draws episodes of a recording, each by the name of its file."""

    def __init__(self, recording: Dataset, task: Task, size: int, look: str) -> None:
        # Imported here because it loads the simulator and a GL library, which datasets of images do without.
        from envs.make import make

        self._recording, self._task, self._size = recording, task, size
        self._env = make(task, "state", look, size)

    def __call__(self, name: str) -> Episode | str:
        """The episode with its images, and with states if it had none; or what is wrong with its file.

        Raises UserError for a black frame.
        """
        try:
            episode = self._recording.read(name)
        except UserError as error:
            return str(error)
        assert episode.physics is not None  # the manifest says so, and reading has checked it
        images = np.empty((episode.length + 1, self._size, self._size, 3), np.uint8)
        for image, physics in zip(images, episode.physics, strict=True):
            image[:] = self._env.render_physics(physics)
        state = episode.state
        if state is None:
            state = observed(self._env, self._task, episode)
        return replace(episode, image=images, state=state)

    def close(self) -> None:
        """Free the GL context."""
        self._env.close()


def render_episodes(
    recording: Dataset,
    size: int,
    look: str,
    progress: bool = True,
    processes: int | None = None,
    skipped: Skipped | None = None,
    done: tuple[int, int] = (0, 0),
    task: Task | None = None,
) -> Iterator[Episode]:
    """Yield the episodes of a recording with `image` (T+1, size, size, 3), and `state` if they had none.

    The first ones, `done` of (episodes, frames), are left out. `task` is what they are drawn as, by default their own
    task; see `drawn_as`.

    `processes` is one a core if it is left open and there is much to draw. The episodes are the same whatever their
    number; memory holds a few of them a process at a time. `skipped` has damaged files left out, counted and reported.
    Raises UserError when the recording does not fit its task or holds no physics, and when a frame cannot be drawn or
    is black.
    """
    manifest = recording.manifest
    if task is None:
        task = told_task(manifest.task, str(recording.folder))
        check_fits(manifest, task, (look, size), str(recording.folder))
    if manifest.physics_dim is None:
        if manifest.state_dim is not None:
            raise lacks(str(recording.folder), "image", ("state",))
        raise UserError(f"{recording.folder} holds no physics to draw from; collect it again with data.collect")
    if size not in SIZES:
        raise UserError(f"images of {size} pixels cannot be drawn; choose a size of {SIZES[0]} to {SIZES[-1]}")
    frames = manifest.transitions + manifest.episodes
    count = processes_for(processes, frames, WORTHWHILE)
    files = list(manifest.files)[done[0] :]
    said = f"drawing {recording.folder.name}"
    with progress_bar(total=frames, initial=done[1], desc=said, unit="frame", disable=not progress) as bar:
        for episode in in_order(RenderWorkerMaker(recording, task, size, look), files, min(count, len(files))):
            if isinstance(episode, str):
                if skipped is None:
                    raise UserError(episode)
                skipped.reasons.append(episode)
                continue
            bar.update(episode.length + 1)
            yield episode
            if skipped is not None:
                skipped.read += 1
    if skipped is not None:
        skipped.report(str(recording.folder))


def images_of(episode: Episode, task: str) -> NDArray[np.uint8] | None:
    """What an episode's rows look like, (T+1, H, W, 3): its images, or else its physics drawn; None without either.

    Without a GL library there are no pictures of physics, either.
    """
    if episode.image is not None or episode.physics is None:
        return episode.image
    try:
        of = find_task(task)
        if of is None or episode.physics.shape[1] != of.physics_dim:
            return None
        from envs.make import make

        env = make(of, "state")
        images = np.stack([env.render_physics(physics) for physics in episode.physics])
        env.close()
    except UserError:
        return None
    return images


def observe_episodes(dataset: Dataset, episodes: Iterator[Episode]) -> Iterator[Episode]:
    """Yield episodes of a dataset with `state` (T+1, S), observed in the simulator where they had none.

    Raises UserError when a dataset has neither states nor physics.
    """
    manifest = dataset.manifest
    if manifest.state_dim is not None:
        yield from episodes
        return
    if manifest.physics_dim is None:
        raise UserError(f"{dataset.folder} holds neither states nor physics to observe them from; use another dataset")
    from envs.make import make

    task = told_task(manifest.task, str(dataset.folder))
    env = make(task, "state")
    for episode in episodes:
        assert episode.physics is not None  # the manifest says so, and reading has checked it
        yield replace(episode, state=observed(env, task, episode))


def drawn_as(name: str, manifest: Manifest, where: str) -> Task:
    """The task of that name, if a recording is of it, or of one that only another camera films.

    Raises UserError where the two differ in anything else.
    """
    task = get_task(name)
    check_fits(replace(manifest, task=task.name, camera=task.camera), task, None, where)
    if task.name != manifest.task and task.reward != manifest.reward:
        raise UserError(
            f"{where} is of {manifest.task}, whose reward is another than that of {task.name}; give it that reward by "
            "data relabel, or draw it without --task"
        )
    return task


def render_dataset(
    source: Path,
    out: Path,
    size: int | None,
    look: str,
    progress: bool = True,
    processes: int | None = None,
    task: str | None = None,
) -> Manifest:
    """Make a dataset of images, `size` pixels square (None: the task's), out of a recording.

    `task` names what it is drawn and described as, where that is not its own task; see `drawn_as`.

    What a process that was stopped or killed has drawn of the same recording, at the same size, is kept. Raises
    UserError as `render_episodes` and `write_dataset` do, and when `source` has images already; StoppedError by Ctrl-C.
    """
    recording = Dataset(source)
    manifest = recording.manifest
    if manifest.kind != "recording":
        raise UserError(f"{source} holds images already; render the recording that it was made from")
    where = str(source)
    drawn = told_task(manifest.task, where) if task is None else drawn_as(task, manifest, where)
    size = drawn.image_size if size is None else size
    known = {field.name: getattr(manifest, field.name) for field in fields(Description)}
    seen = {"task": drawn.name, "camera": drawn.camera, "image_size": size, "look": look}
    description = Description(**{**known, **seen})
    drawn_by = {name: version_of(name) for name in DRAWS}
    origin = json.dumps([recording.fingerprint(), asdict(description), drawn_by], sort_keys=True)
    try:
        with staged_folder(out, origin) as partial:
            writer = DatasetWriter(partial, out, description)
            for name in manifest.files:
                if not writer.keep(_is_drawn_of(recording, name)):
                    break
            done = (writer.episodes, writer.transitions + writer.episodes)
            if writer.episodes:
                print(f"{out}: going on after {done[0]} of {len(recording)} episodes", flush=True)
            if writer.episodes < len(recording):
                for episode in render_episodes(recording, size, look, progress, processes, done=done, task=drawn):
                    writer.add(episode)
            return writer.finish()
    except KeyboardInterrupt as error:
        again = same_command("data.render")
        raise StoppedError(f"stopped; the same command continues with what is drawn of {out}: {again}") from error


def _is_drawn_of(recording: Dataset, name: str) -> Callable[[Episode], bool]:
    """Whether an episode with images is the recording's episode of a name, drawn."""

    def is_of(drawn: Episode) -> bool:
        recorded = recording.read(name)
        return all(
            np.array_equal(column, drawn.columns().get(key, np.empty(0))) for key, column in recorded.columns().items()
        )

    return is_of
