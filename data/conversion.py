"""A dataset in another format, and what is not in the copy."""

from collections.abc import Iterator
from dataclasses import replace

from combo_common.errors import UserError
from data.episode import Episode
from data.formats.base import Contents, Source
from data.formats.registry import format_named
from data.rules import check_sizes
from data.simulate.rendering import observe_episodes
from envs.task import Task


def convert(source: Source, out: str, to: str, look: str | None = None, progress: bool = True) -> tuple[int, list[str]]:
    """Write a dataset in a format; returns the number of episodes, and what the format can't hold of it.

    `look` is how images were drawn, which `own` has to know and foreign layouts do not say. Raises UserError for an
    unknown format, as reading and writing do, and where the episodes lack what the format needs.
    """
    target, held = format_named(to), _Held()
    task = source.known_task()
    episodes = held.watch(source, task, source.episodes(progress, "converting"))
    if source.dataset is not None and not target.holds_images:  # a recording's vectors are observed in its simulator
        episodes = observe_episodes(source.dataset, episodes)
    count = target.write(out, episodes, source, look)
    other = ["`state`, which is not the task's vector observation"] if held.other_state else []
    return count, [*target.cannot_hold(held.contents(source)), *other, *source.format.unread(source, held.keys)]


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

    def contents(self, source: Source) -> Contents:
        """That, and what the source knows beside."""
        return Contents(
            self.keys, self.other_discounts, self.other_last, source.dataset is not None, bool(source.metadata)
        )
