"""A run of a comparison as plain data, which any process can be given, and what became of it."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from combo_common.commands import command
from latent_combo.runtime.run_command import run_words
from latent_combo.runtime.run_folder import SETTINGS

LOG = "log.txt"
"""What a run printed, all attempts one after the other, in its folder."""
RECORD = "comparison.json"
"""What a run is known by (`Fingerprint`), in its folder."""
Status = Literal["finished", "diverged", "failed", "stopped", "busy", "waiting"]
"""`diverged`: a loss or gradient was not finite. `busy`: another process trains in its folder. `waiting`: not begun."""


@dataclass(frozen=True)
class Job:
    """One run: everything from its world model to its score is its own."""

    dataset: str
    """As it was asked for."""
    label: str
    """The dataset's name in folders and tables."""
    algorithm: str
    seed: int
    task: str
    split: str
    """Which of D4RL's splits the dataset is; empty for none."""
    obs: str
    run: str
    """The run's folder, as people write it: relative paths are from `working_folder`."""
    working_folder: str
    words: tuple[str, ...]
    """The arguments of `train` that begin it."""
    fingerprint: dict[str, Any] = field(default_factory=dict, compare=False)
    """What it is known by, as `Fingerprint.to_json` has it."""
    program: tuple[str, ...] = (sys.executable, "-P", "-m", "latent_combo.train")
    """What is run with these arguments; -P keeps packages of the working folder out."""

    @property
    def name(self) -> str:
        """Dataset, algorithm and seed, for people."""
        return f"{self.label} {self.algorithm} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """The run's folder, from anywhere on this machine."""
        return Path(self.working_folder) / self.run

    @property
    def next_words(self) -> tuple[str, ...]:
        """The arguments of `train` that begin it, or go on with it where it was begun."""
        return run_words("train", self.run, self.task) if (self.folder / SETTINGS).exists() else self.words

    @property
    def command(self) -> str:
        """The command line that does the same, to be copied into a shell."""
        return command("train", *self.next_words)


@dataclass(frozen=True)
class Outcome:
    """What became of a job."""

    status: Status
    error: str = ""
    """The last line of what went wrong."""
    seconds: float = 0.0
    """Wall time of this attempt; 0 for a run that was there already."""
