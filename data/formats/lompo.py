"""LOMPO's layout: DreamerV2's without flags, where a last discount of 0 says that the task ended the episode."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from data.episode import Episode
from data.formats.base import Contents, Source
from data.formats.dreamer import Dreamer, write_episodes


class Lompo(Dreamer):
    """Written without flags; it is read as Dreamer's, of which such a folder is one."""

    name: ClassVar[str] = "lompo"
    title: ClassVar[str] = "npz episodes as of LOMPO"

    def matches(self, path: Path) -> bool:
        """None: Dreamer's format reads these, too."""
        return False

    def write(self, out: str, episodes: Iterator[Episode], source: Source, look: str | None) -> int:
        """Write a folder of one file an episode, whose last discount is 0 where the task ended it and only there."""
        return write_episodes(Path(out), map(_told_by_discounts, episodes), flags=False)

    def cannot_hold(self, contents: Contents) -> list[str]:
        """Last discounts are taken to tell the ending."""
        odd = ["last discounts that say otherwise than is_terminal"] if contents.last_discount else []
        return [*odd, *super().cannot_hold(contents)]


def _told_by_discounts(episode: Episode) -> Episode:
    discount = np.where(episode.discount == 0.0, np.float32(1.0), episode.discount)
    discount[-1] = 0.0 if episode.is_terminal[-1] else discount[-1]
    return replace(episode, discount=discount)
