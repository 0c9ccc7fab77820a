"""The kinds of soak tests: which tests each has, and how their figures are told."""

from collections.abc import Callable
from dataclasses import dataclass


class Figures:
    """What the passed tests of a kind have measured, by name; a name that one of them lacks raises KeyError."""

    def __init__(self, tests: list[dict[str, float]]) -> None:
        """Take the figures of each test."""
        self._tests = tests

    def total(self, name: str) -> str:
        """Their sum, as a whole number."""
        return f"{sum(test[name] for test in self._tests):,.0f}"

    def most(self, name: str, digits: int = 0) -> str:
        """The largest."""
        return f"{max(test[name] for test in self._tests):,.{digits}f}"

    def least(self, name: str, digits: int = 0) -> str:
        """The smallest."""
        return f"{min(test[name] for test in self._tests):,.{digits}f}"


@dataclass(frozen=True)
class Kind:
    """Soak tests that do the same thing to different parts, and are told in one row."""

    name: str
    """As `--only` has it."""
    done: str
    """What is done; the first column of its row."""
    tests: tuple[str, ...]
    """What the ids of its tests begin with."""
    told: Callable[[Figures], str]
    """Its figures, in words."""

    def has(self, test: str) -> bool:
        """Whether a test, by its id, is of this kind."""
        return test.startswith(self.tests)


SIGNALS = "tests/test_soak_signals.py::test_"
KILLS = "tests/test_killed_runs.py::test_"
DISK = "tests/test_soak_disk.py::test_"
FUZZ = "tests/test_fuzz.py::test_"
UNTRUSTED = "tests/test_fuzz_untrusted.py::test_"


def _of_kills(figures: Figures) -> str:
    return f"{figures.total('kills')} kills, {figures.total('equal')} of {figures.total('runs')} runs equal"


def _of_cases(figures: Figures) -> str:
    return (
        f"{figures.total('cases')} cases, {figures.total('refused')} refused, slowest {figures.most('slowest_ms')} ms, "
        f"memory grew by {figures.most('growth_mb', 1)} MB"
    )


def _fuzz(name: str, done: str, test: str) -> Kind:
    return Kind(f"fuzz-{name}", f"damaged files: {done}", (f"{FUZZ}{test}[",), _of_cases)


KINDS = (
    Kind(
        "kills-states",
        "SIGKILL of whole runs of states",
        (f"{KILLS}20_of_20_runs_that_sigkill_ends_are_those_of_one_go[state",),
        _of_kills,
    ),
    Kind(
        "kills-pixels",
        "SIGKILL of whole runs of images",
        (f"{KILLS}20_of_20_runs_that_sigkill_ends_are_those_of_one_go[pixels",),
        _of_kills,
    ),
    Kind(
        "kills-saving",
        "SIGKILL while a checkpoint is saved",
        (f"{KILLS}200_kills_inside_saving",),
        lambda figures: f"{figures.total('kills')} kills, {figures.total('kept')} times a whole checkpoint was there",
    ),
    Kind(
        "signals",
        "each signal, to the process and to its group, at each point of a run",
        (
            f"{SIGNALS}it_saves_and_ends",
            f"{SIGNALS}an_interpreter_of_its_own",
            f"{SIGNALS}a_signal_while_another_is_being_served",
        ),
        lambda figures: f"at most {figures.most('seconds_to_end', 1)} s from the signal to the end",
    ),
    Kind(
        "parents",
        "SIGKILL of a run's main process alone",
        (f"{SIGNALS}a_parent_that_is_killed_alone",),
        lambda figures: (
            f"at most {figures.most('seconds_to_end', 1)} s to the end of its {figures.least('processes')} to "
            f"{figures.most('processes')} other processes"
        ),
    ),
    Kind(
        "disks",
        "a small disk of each of many sizes",
        (f"{DISK}a_disk_of_any_size",),
        lambda figures: (
            f"{figures.total('disks')} disks of {figures.least('smallest_mb', 2)} to "
            f"{figures.most('largest_mb', 2)} MB, {figures.total('full')} of them full"
        ),
    ),
    Kind(
        "writes",
        "the disk is full from a single write on, for each one of a run",
        (f"{DISK}every_call_by_which_a_run_writes",),
        lambda figures: f"{figures.total('calls')} writes",
    ),
    _fuzz("npz", "npz", "an_npz_file"),
    _fuzz("own", "an episode with a checksum that agrees", "an_episode_whose_checksum_agrees"),
    _fuzz("dreamer", "an episode of Dreamer or LOMPO", "an_episode_of_dreamers_layout_or_lompos"),
    _fuzz("vd4rl", "a shard of V-D4RL", "a_shard"),
    _fuzz("d4rl", "D4RL", "a_file_of_d4rls_layout"),
    _fuzz("metadata", "the attributes of an HDF5 file", "what_such_a_file_says_of_itself"),
    _fuzz("manifest", "a dataset's manifest", "a_manifest"),
    _fuzz("minari", "Minari", "a_folder_of_minaris"),
    Kind("settings", "hostile settings", (f"{UNTRUSTED}settings[",), _of_cases),
    Kind("checkpoints", "hostile checkpoints", (f"{UNTRUSTED}checkpoints[",), _of_cases),
    Kind(
        "old-checkpoints", "hostile checkpoints of before (`.pt`)", (f"{UNTRUSTED}checkpoints_of_before[",), _of_cases
    ),
    Kind(
        "memory",
        "a long run: updates of agents, and views",
        ("tests/test_soak_memory.py::test_",),
        lambda figures: (
            f"{figures.total('updates')} updates, {figures.total('views')} views: "
            f"{figures.most('before_mb', 1)} MB, then {figures.most('after_mb', 1)} MB; "
            f"{figures.most('files_before')} descriptors, then {figures.most('files_after')}"
        ),
    ),
)
"""In the order in which they are run and told."""


def chosen(names: list[str]) -> list[Kind]:
    """Kinds by their names or the first words of them, `fuzz` being all of `fuzz-...`; all for none.

    Raises ValueError for what is none.
    """
    for name in names:
        if not any(_named(kind, name) for kind in KINDS):
            raise ValueError(f"no kind of soak is called {name}; they are {', '.join(kind.name for kind in KINDS)}")
    return [kind for kind in KINDS if not names or any(_named(kind, name) for name in names)]


def _named(kind: Kind, name: str) -> bool:
    return kind.name == name or kind.name.startswith(f"{name}-")


def sorted_out(tests: list[str]) -> dict[str, list[str]]:
    """The tests of each kind, by the kind's name. Raises ValueError for a test of no kind, or of two."""
    found: dict[str, list[str]] = {kind.name: [] for kind in KINDS}
    for test in tests:
        of = [kind.name for kind in KINDS if kind.has(test)]
        if len(of) != 1:
            raise ValueError(f"{test} is of {len(of)} kinds of soak; mend KINDS in tools/soak/kinds.py")
        found[of[0]].append(test)
    return found
