"""What was done to a dataset while it was read: a line for each kind of thing, with how often."""

import sys
from dataclasses import dataclass, field


@dataclass
class Notes:
    """Lines for the person who reads a dataset; each is kept once."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, line: str, times: int = 1) -> None:
        """Note something that happened, `times` over."""
        self.counts[line] = self.counts.get(line, 0) + times

    def lines(self) -> list[str]:
        """The lines, each with its number where it is more than one."""
        return [
            line if times == 1 or line.startswith("not read") else f"{line} ({times} times)"
            for line, times in self.counts.items()
        ]

    def report(self, where: str) -> None:
        """Write the lines to the standard error; `where` is what the dataset is called."""
        for line in self.lines():
            print(f"{where}: {line}", file=sys.stderr, flush=True)
