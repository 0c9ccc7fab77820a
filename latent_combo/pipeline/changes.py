"""What is not as it was when a run goes on: refused, or taken knowingly, and noted in the run's history."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from combo_common.commands import command
from combo_common.errors import UserError
from latent_combo.pipeline.history import ChangedError, History
from latent_combo.pipeline.origin import Origin


class Changes:
    """The changes of a run that goes on; a new one has none."""

    def __init__(self, run: Path, resumes: bool, accepted: bool, going_on: tuple[object, ...]) -> None:
        """Of a run's folder; `going_on` are the arguments of `train` that go on with it."""
        self.run, self.resumes, self.accepted, self.going_on = run, resumes, accepted, going_on
        self.found: list[str] = []
        """Those that were accepted, of settings and data."""

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note what the body finds changed of a run that goes on, where that is accepted.

        Raises UserError, with the remedy, where it is not.
        """
        try:
            yield
        except ChangedError as change:
            if not self.resumes:
                raise
            if not self.accepted:
                accepting = command("train", *self.going_on, "--accept-changes")
                raise UserError(f"{change}, or take the change knowingly: {accepting}") from change
            print(f"note: {self.run} goes on with a change of its {change.what}", file=sys.stderr)
            self.found.append(change.what)

    def keep(self, now: Origin, reached: Mapping[str, int]) -> History:
        """Write what the run is made by; of one that goes on, that it does, from the steps of each phase in `reached`.

        A line says in what program and machine are not as they were: numbers may then be others than in one go.
        """
        history = History(now)
        if self.resumes:
            before = History.read(self.run) or history
            if other := list(now.otherwise(before.origin)):
                told = "; ".join(other)
                print(f"note: {self.run} goes on by {told}; numbers may differ from those of one go", file=sys.stderr)
            history = before.resumed(now, reached, [*self.found, *other])
        history.write(self.run)
        return history
