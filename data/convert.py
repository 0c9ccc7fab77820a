"""`python -m data.convert SRC OUT --to FORMAT`: a dataset in another program's layout.

Formats: `dreamer` (a folder of npz episodes, as V-D4RL's 64 pixels and DreamerV2 have them), `lompo` (the same without
flags), `d4rl` (an HDF5 file of vectors), `minari` (OUT is an id; images are stored as they are) and `own` (this
project's: a folder with a manifest). Nothing is lost that the target can hold; what it can't is said.
"""

import argparse
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

from data.episode import Episode
from data.formats.d4rl import is_d4rl, write_d4rl
from data.formats.dreamer import write_episodes
from data.formats.minari import write_minari
from data.locate import default_data_dir
from data.manifest import Description, describe
from data.render import observe_episodes
from data.source import LAYOUTS, Source, open_source
from data.store import write_dataset
from envs.tasks import LOOKS, get_task
from latent_combo.run.errors import UserError, run_cli

FORMATS = ("dreamer", "lompo", "d4rl", "minari", "own")


def convert(source: Source, out: str, to: str, look: str | None = None, progress: bool = True) -> tuple[int, list[str]]:
    """Write a dataset in a format; returns the number of episodes, and what the format can't hold of it.

    `look` is how images were drawn, which `own` has to know and foreign layouts do not say. Raises UserError for an
    unknown format, as reading and writing do, and where the episodes lack what the format needs.
    """
    if to not in FORMATS:
        raise UserError(f"unknown format {to!r}; it is one of {', '.join(FORMATS)}")
    task, held = source.task, _Held()
    if task is None:
        raise UserError(f"{source.where} does not say which task it is of; name it with --task")
    episodes = held.watch(source.episodes(progress, "converting"))
    if to in ("dreamer", "lompo"):
        count = write_episodes(Path(out), episodes, flags=to == "dreamer")
    elif to == "minari":
        said = f"{task.name}{f', {source.split}' if source.split else ''}: {task.reward}"
        count = write_minari(out, episodes, task, f"{said} (converted by latent-combo)")
    elif to == "d4rl":
        if not is_d4rl(Path(out)):
            raise UserError(f"{out} is to be an HDF5 file; name it {out}.hdf5")
        if source.dataset is not None:  # a recording's vectors are observed in its simulator
            episodes = observe_episodes(source.dataset, episodes)
        metadata = {"task": task.name, "split": source.split} | source.metadata
        write_d4rl(Path(out), _with_states(source.where, episodes), task, metadata)
        count = held.count
    else:
        count = _write_own(source, Path(out), episodes, look)
    return count, held.lost(source, to)


def _with_states(where: str, episodes: Iterator[Episode]) -> Iterator[Episode]:
    for episode in episodes:
        if episode.state is None:
            raise UserError(f"{where} holds no vector observations, which D4RL's layout is of; convert to another")
        yield episode


def _write_own(source: Source, out: Path, episodes: Iterator[Episode], look: str | None) -> int:
    """Write the project's own layout; the manifest is the source's, or says from where it came."""
    assert source.task is not None, "convert asks for it"
    if source.dataset is not None:
        known = {field.name: getattr(source.dataset.manifest, field.name) for field in fields(Description)}
        return write_dataset(out, episodes, Description(**known), progress=False).episodes
    first = next(episodes, None)
    if first is None:
        raise UserError(f"{source.where} has no episodes")
    behaviour = {"source": Path(source.where).name, "layout": LAYOUTS[source.layout], **source.metadata}
    described = describe(source.task, source.split or "unknown", 0, behaviour)
    if first.image is not None:
        if look not in LOOKS:
            raise UserError(f"{source.where} does not say how its images were drawn; tell it with --look fast or full")
        described = replace(described, image_size=first.image.shape[1], look=look)
    return write_dataset(out, _again(first, episodes), described, progress=False).episodes


def _again(first: Episode, rest: Iterator[Episode]) -> Iterator[Episode]:
    yield first
    yield from rest


class _Held:
    """What the episodes that pass by hold."""

    def __init__(self) -> None:
        self.count = 0
        self.keys: set[str] = set()
        self.partial_discounts = False

    def watch(self, episodes: Iterator[Episode]) -> Iterator[Episode]:
        """Look at each."""
        for episode in episodes:
            self.count += 1
            self.keys |= set(episode.columns())
            self.partial_discounts |= bool(((episode.discount != 0.0) & (episode.discount != 1.0)).any())
            yield episode

    def lost(self, source: Source, to: str) -> list[str]:
        """What of that a format can't hold."""
        lost = []
        if to == "d4rl" and "image" in self.keys:
            lost.append("images")
        if to in ("d4rl", "minari") and self.partial_discounts:
            lost.append("discounts between 0 and 1")
        if to != "own" and source.dataset is not None:
            lost.append("the manifest (look, camera, behaviour policies, references, checksums)")
        if to != "d4rl" and source.metadata:
            lost.append("the file's metadata")
        return lost


def main() -> None:
    """Read the command line and convert."""
    parser = argparse.ArgumentParser(
        prog="python -m data.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="a dataset: its path in any layout, its name, or a Minari id")
    parser.add_argument("out", help="the folder or file to make, which must not be there yet; for minari an id")
    parser.add_argument("--to", required=True, choices=FORMATS)
    parser.add_argument("--task", help="of a dataset that does not tell it")
    parser.add_argument("--look", choices=LOOKS, help="how images were drawn, for a dataset that does not tell it")
    parser.add_argument("--skip-corrupt", action="store_true", help="leave damaged files out, and say how many")
    given = parser.parse_args()
    task = get_task(given.task) if given.task else None
    source = open_source(given.source, task, default_data_dir(), given.skip_corrupt)
    count, lost = convert(source, given.out, given.to, given.look)
    print(
        f"{count} episodes in {given.out}"
        + (f"; not in it, for the format has no place: {', '.join(lost)}" if lost else "")
    )


if __name__ == "__main__":
    run_cli(main)
