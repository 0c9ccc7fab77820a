"""A run's history, `history.json` in its folder: what it is made by, and the times that it went on, with changes."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from combo_common.bounded_json import read_json
from combo_common.errors import UserError
from combo_common.files import write_atomically
from latent_combo.config.schema import Config
from latent_combo.pipeline.origin import Origin, changed_settings, settings_that_count

HISTORY = "history.json"
FORMAT = 1


@dataclass(frozen=True)
class Resumption:
    """A time when a run went on."""

    time: str
    """UTC, as ISO 8601 has it."""
    reached: dict[str, int]
    """Steps of each phase that it went on from."""
    changes: list[str]
    """What was not as before: settings and data that were accepted, and the program and the machine, which are said."""


@dataclass(frozen=True)
class History:
    """What a run is made by now, and how often it went on."""

    origin: Origin
    resumptions: list[Resumption] = field(default_factory=list)

    def resumed(self, origin: Origin, reached: Mapping[str, int], changes: list[str]) -> "History":
        """The same, gone on once more."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return History(origin, [*self.resumptions, Resumption(now, dict(reached), changes)])

    @property
    def changes(self) -> list[str]:
        """All changes, each once."""
        return list(dict.fromkeys(change for one in self.resumptions for change in one.changes))

    def write(self, run: Path) -> None:
        """Write it into a run's folder. Raises UserError where it can't."""
        write_atomically(run / HISTORY, json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode())

    @classmethod
    def read(cls, run: Path) -> "History | None":
        """Read a run's; None where it has none, as runs of older versions. Raises UserError for a damaged file."""
        path = run / HISTORY
        try:
            said = read_json(path)
            if said["format"] != FORMAT:
                raise ValueError(f"its format is {said['format']}, not {FORMAT}")
            return cls(Origin(**said["origin"]), [Resumption(**one) for one in said["resumptions"]])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{path} can not be read ({error}); restore it, or remove it to go on unchecked") from error


class ChangedError(UserError):
    """A run that goes on would not be the one that was begun."""

    def __init__(self, message: str, what: str) -> None:
        """The message ends in a remedy, to which others can be added; `what` has changed is noted if it is accepted."""
        super().__init__(message)
        self.what = what


def require_same_settings(history: History | None, config: Config) -> None:
    """Raise ChangedError where a run's settings are not those that it had; a run of older versions does not say.

    A setting that the program has gained or lost since then is no change of the run's.
    """
    if history is None:
        return
    before, now = history.origin.settings, settings_that_count(config)
    if changed := changed_settings(before, now, before.keys() & now.keys()):
        said = f"the settings of {config.out} are not those that it began with: {changed}; put them back"
        raise ChangedError(said, f"settings: {changed}")


def has_other_settings(config: Config) -> bool:
    """Whether the settings of a run's folder are not those that the run had."""
    try:
        require_same_settings(History.read(Path(config.out)), config)
    except ChangedError:
        return True
    return False
