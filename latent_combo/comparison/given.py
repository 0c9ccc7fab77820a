"""What a comparison is asked for, as plain data."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Resources:
    """Where Ray runs, and what each run has there; None: Ray's scheduler chooses."""

    address: str | None = None
    """Of a cluster (`auto` or HOST:PORT); None: Ray is started on this machine."""
    cpus: float | None = None
    gpus: float | None = None


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
    workers: int | None
    """Runs at a time; None: 1 on this machine, and on a cluster as many as it has room for."""
    backend: str
    again: bool
    resources: Resources = Resources()
