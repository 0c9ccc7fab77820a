"""A format as a newcomer would add it: text, a number or vector a column, episodes cut by empty lines."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from combo_common.errors import UserError
from combo_common.files import write_atomically
from data.episode import Episode
from data.formats.base import Format, Named, Source


class Toy(Format):
    """A file `*.toy` of lines: the state, the action that led to it, and what that paid."""

    name: ClassVar[str] = "toy"
    title: ClassVar[str] = "lines of text"
    suffixes: ClassVar[tuple[str, ...]] = (".toy",)
    holds_images: ClassVar[bool] = False
    writable: ClassVar[bool] = True

    def matches(self, path: Path) -> bool:
        """A file of this name."""
        return path.suffix == ".toy"

    def episodes(self, source: Source) -> Iterator[Named]:
        """The episodes; nothing says that the task ended one."""
        size = source.known_task().state_dim
        for number, block in enumerate(source.path.read_text().split("\n\n")):
            rows = np.array([[float(value) for value in line.split()] for line in block.splitlines()])
            state, action, reward = rows[:, :size], rows[1:, size:-1], rows[1:, -1]
            yield f"{source.where}, episode {number}", Episode.from_transitions(action, reward, state=state)

    def write(self, out: str, episodes: Iterator[Episode], source: Source, look: str | None) -> int:
        """Write the file."""
        blocks = []
        for episode in episodes:
            if episode.state is None:
                raise UserError(f"{source.where} has no states")
            rows = np.concatenate([episode.state, episode.action, episode.reward[:, None]], 1)
            blocks.append("\n".join(" ".join(f"{value:.9g}" for value in row) for row in rows))
        write_atomically(Path(out), "\n\n".join(blocks).encode())
        return len(blocks)
