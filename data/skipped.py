"""Files of a dataset that are left out because they are damaged, where that was asked for."""

import sys
from dataclasses import dataclass, field


@dataclass
class Skipped:
    """What was left out of a dataset because it could not be read."""

    read: int = 0
    reasons: list[str] = field(default_factory=list)

    def report(self, where: str) -> None:
        """Say how many there are, and the first of them."""
        if self.reasons:
            total = self.read + len(self.reasons)
            print(f"{where}: left out {len(self.reasons)} of {total} files; first {self.reasons[0]}", file=sys.stderr)
