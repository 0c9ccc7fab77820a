"""`python -m data.convert SRC OUT --to FORMAT`: a dataset in another program's layout.

Formats: `dreamer` (a folder of npz episodes, as V-D4RL's 64 pixels and DreamerV2 have them), `lompo` (the same without
flags), `d4rl` (an HDF5 file of vectors), `minari` (OUT is an id; images are stored as they are) and `own` (this
project's: a folder with a manifest). Nothing that is read is lost where the target can hold it; what isn't in it is
said.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from math import isfinite
from pathlib import Path

import combo_common.own_packages  # noqa: F401
from combo_common.cli import Parser, run_cli
from combo_common.errors import UserError
from data.episode import DTYPES, Episode
from data.formats.d4rl import is_d4rl, write_d4rl
from data.formats.dreamer import write_episodes
from data.formats.manifest import Description, describe
from data.formats.minari import write_minari
from data.formats.native import write_dataset
from data.load import check_sizes
from data.options import add_data_dir
from data.render import observe_episodes
from data.safe.hdf5 import open_hdf5
from data.safe.npz import open_npz
from data.source import LAYOUTS, Source, open_source
from envs.tasks import LOOKS, Task, get_task

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
    episodes = held.watch(source, task, source.episodes(progress, "converting"))
    if to == "lompo":
        episodes = _told_by_discounts(episodes)
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


def _told_by_discounts(episodes: Iterator[Episode]) -> Iterator[Episode]:
    """Episodes whose last discount is 0 where the task ended them and only there, for a layout without flags."""
    for episode in episodes:
        discount = episode.discount.copy()
        discount[-1] = 0.0 if episode.is_terminal[-1] else discount[-1] or 1.0
        yield replace(episode, discount=discount)


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
    references = [_number(source.metadata.get(f"{of}_return")) for of in ("random", "expert")]
    described = describe(source.task, source.split or "unknown", 0, behaviour, *references)
    described = replace(described, reward=source.metadata.get("reward", described.reward))
    if first.image is not None:
        if look not in LOOKS:
            raise UserError(f"{source.where} does not say how its images were drawn; tell it with --look fast or full")
        described = replace(described, image_size=first.image.shape[1], look=look)
    return write_dataset(out, _again(first, episodes), described, progress=False).episodes


def _number(text: str | None) -> float | None:
    """A finite number out of a file's metadata; None where there is none."""
    with suppress(TypeError, ValueError):
        number = float(text or "")
        return number if isfinite(number) else None
    return None


def _again(first: Episode, rest: Iterator[Episode]) -> Iterator[Episode]:
    yield first
    yield from rest


class _Held:
    """What the episodes that pass by hold."""

    def __init__(self) -> None:
        self.count = 0
        self.keys: set[str] = set()
        self.other_discounts = self.other_last = self.other_state = False

    def watch(self, source: Source, task: Task, episodes: Iterator[Episode]) -> Iterator[Episode]:
        """Look at each; another program's vectors of other sizes than the task's are left out.

        Raises UserError for actions that are not of the task's size, and for what only some episodes hold.
        """
        where = source.where
        for episode in episodes:
            if source.dataset is None and episode.state is not None and episode.state.shape[1] != task.state_dim:
                self.other_state = True
                episode = replace(episode, state=None)
            held = episode.columns()
            check_sizes(where, task, **{key: held[key] for key in ("action", "state") if key in held})
            if self.count and (some := set(held) ^ self.keys):
                raise UserError(
                    f"{where}: only some episodes have {', '.join(sorted(some))}; convert those that are alike"
                )
            self.count += 1
            self.keys = set(held)
            other = episode.discount != 1.0 - episode.is_terminal
            self.other_discounts |= bool(other.any())
            self.other_last |= bool((episode.discount[-1] == 0.0) != episode.is_terminal[-1])
            yield episode

    def lost(self, source: Source, to: str) -> list[str]:
        """What of that a format can't hold, and what is not read of the source's."""
        lost = []
        if to == "d4rl" and "image" in self.keys:
            lost.append("images")
        if to in ("d4rl", "minari") and self.other_discounts:
            lost.append("discounts that are neither 1 nor 0 where the task ended")
        if self.other_state:
            lost.append("`state`, which is not the task's vector observation")
        if to == "lompo" and self.other_last:
            lost.append("last discounts that say otherwise than is_terminal")
        if to != "own" and source.dataset is not None:
            lost.append("the manifest (look, camera, behaviour policies, references, checksums)")
        if to not in ("d4rl", "own") and source.metadata:
            lost.append("the file's metadata")
        return lost + _unread(source, self.keys)


def _unread(source: Source, read: set[str]) -> list[str]:
    """What a source has that is not read, and so is in no copy of it."""
    if source.layout == "minari":
        return ["Minari's metadata (description, authors, references) and infos but for the physics"]
    if source.layout == "dreamer":
        other: set[str] = set()
        for file in source.files:
            with suppress(UserError), open_npz(file, str(file)) as npz:  # damaged ones were left out
                other |= set(npz.headers) - set(DTYPES)
        return [f"the keys {', '.join(sorted(other))}"] if other else []
    if source.layout != "d4rl":
        return []
    unread = []
    with open_hdf5(source.files[0]) as columns:
        if "infos" in columns.names() and "physics" not in read:
            unread.append("what is below infos/, and numbers below metadata/")
        if columns.dataset("next_observations") is None:
            unread.append(
                "what episodes ended in, which the file does not tell (a time limit loses its last step, a terminal "
                "row repeats the observation before)"
            )
    return unread


def main() -> None:
    """Read the command line and convert."""
    parser = Parser("data.convert", __doc__)
    parser.add_argument("source", help="a dataset: its path in any layout, its name, or a Minari id")
    parser.add_argument("out", help="the folder or file to make, which must not be there yet; for minari an id")
    parser.add_argument("--to", required=True, choices=FORMATS)
    parser.add_argument("--task", help="of a dataset that does not tell it")
    parser.add_argument("--look", choices=LOOKS, help="how images were drawn, for a dataset that does not tell it")
    parser.add_argument("--skip-corrupt", action="store_true", help="leave damaged files out, and say how many")
    add_data_dir(parser)
    given = parser.parse_args()
    task = get_task(given.task) if given.task else None
    source = open_source(given.source, task, given.data_dir, given.skip_corrupt)
    count, lost = convert(source, given.out, given.to, given.look)
    print("; ".join([f"{count} episodes in {given.out}", *(f"not in it: {what}" for what in lost)]))


if __name__ == "__main__":
    run_cli(main)
