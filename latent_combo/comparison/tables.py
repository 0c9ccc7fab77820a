"""The datasets and algorithms of the paper's tables, as this project calls them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of the paper."""

    datasets: tuple[str, ...]
    algorithms: tuple[str, ...]
    seeds: int
    """Runs of each; the paper's number."""
    obs: str

    @property
    def settings(self) -> tuple[str, ...]:
        """Arguments of `train` that come before those of the command line."""
        return (f"--obs={self.obs}", "--preset=paper")


GENERALISATION = ("halfcheetah-jump", "ant-angle", "sawyer-door-close")
"""Tasks that the behaviour policies did not solve (section 5.1)."""
ROBOTS = ("halfcheetah", "hopper", "walker2d")
SPLITS = ("random", "medium", "medium-replay", "medium-expert")
WALKER = ("medium-replay", "medium", "medium-expert", "expert")
DOOR = ("medium-expert", "expert")

TABLES = {
    1: Table(GENERALISATION, ("combo", "mopo", "morel", "cql"), 6, "state"),
    2: Table(
        (*(f"walker-walk-{split}" for split in WALKER), *(f"sawyer-door-{split}" for split in DOOR)),
        ("combo", "lompo", "mbpo", "sac", "cql-pixels", "drq-bc", "bc"),
        3,
        "pixels",
    ),
    3: Table(
        tuple(f"{robot}-{split}" for split in SPLITS for robot in ROBOTS),
        ("bc", "combo", "mopo", "morel", "cql", "sac", "bear", "brac-p", "brac-v"),
        6,
        "state",
    ),
    8: Table(GENERALISATION, ("combo", "cql-mbpo"), 6, "state"),
}
"""By their numbers. Table 2 has `drq-bc` and `bc` besides: latent-space MBPO is `mbpo`, and SLAC offline `sac`."""
