"""What a comparison is asked for, as plain data."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Given:
    """What a command line asks for."""

    out: Path
    datasets: tuple[str, ...]
    algorithms: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: tuple[str, ...]
    """Arguments of `train` for all runs."""
    own: dict[str, tuple[str, ...]]
    """Further ones, by algorithm."""
    table: int | None
    workers: int
    backend: str
    again: bool
