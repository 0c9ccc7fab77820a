"""The command line of `latent_combo.compare`, read and checked without torch."""

import math
import sys
from argparse import ArgumentTypeError, Namespace

from combo_common.cli import Parser
from combo_common.errors import UserError
from combo_common.paths import given_path
from combo_common.suggest import did_you_mean, nearest
from latent_combo.comparison.backends import BACKENDS
from latent_combo.comparison.given import Given, Resources
from latent_combo.comparison.tables import TABLES

SEEDS = 3
"""Runs of each algorithm on each dataset, without a word of how many."""
DESCRIPTION = """Train every algorithm on every dataset with every seed, each run from world model to score, then write
tables and pictures into OUT. What is finished is left as it is, what was cut off goes on.

All other options are settings of `train`, the same for every run, such as --obs, --preset or --agent.beta."""


def read(arguments: list[str] | None = None) -> Given:
    """Read a command line; None: this process's. Raises UserError for what is wrong, but of `settings`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    if arguments and arguments[0].startswith("-") and not {"-h", "--help", "--version"} & set(arguments):
        raise UserError(f"the folder of the comparison comes first: {parser.prog} OUT {arguments[0]} ...")
    given, settings = parser.parse_known_args(arguments)
    table = None if given.table is None else TABLES[given.table]
    datasets = given.datasets or (() if table is None else table.datasets)
    algorithms = given.algorithms or (() if table is None else table.algorithms)
    for name, values in (("datasets", datasets), ("algorithms", algorithms)):
        if not values:
            raise UserError(f"--{name} names none; give some, with commas between, or a --table of the paper")
    if given.workers is not None and given.workers < 1:
        raise UserError(f"--workers is {given.workers}; at least 1 is needed")
    own = dict[str, tuple[str, ...]]()
    for algorithm, setting in given.set:
        if algorithm not in algorithms:
            meant = did_you_mean(nearest(algorithm, algorithms))
            raise UserError(f"--set is of {algorithm}, which is not among --algorithms {','.join(algorithms)}{meant}")
        own[algorithm] = (*own.get(algorithm, ()), f"--{setting}")
    return Given(
        out=given.out,
        datasets=datasets,
        algorithms=algorithms,
        seeds=given.seeds or tuple(range(SEEDS if table is None else table.seeds)),
        settings=(*(() if table is None else table.settings), *settings),
        own=own,
        table=given.table,
        workers=given.workers,
        backend=given.backend,
        again=given.again,
        resources=_resources(given),
    )


def _resources(given: Namespace) -> Resources:
    """What is asked of Ray. Raises UserError for what it can't do, and for options of Ray without it."""
    asked = {"--ray-address": given.ray_address, "--cpus-per-run": given.cpus_per_run}
    asked |= {"--gpus-per-run": given.gpus_per_run}
    if given.backend != "ray" and (named := [name for name, value in asked.items() if value is not None]):
        raise UserError(f"{named[0]} is of --backend ray, and this comparison runs plain processes; leave it out")
    if given.cpus_per_run is not None and given.cpus_per_run < 1:
        raise UserError(f"--cpus-per-run is {given.cpus_per_run}; at least 1 is needed")
    gpus = given.gpus_per_run
    if gpus is not None and not (0 <= gpus <= 1 or (math.isfinite(gpus) and gpus == int(gpus) and gpus > 0)):
        raise UserError(f"--gpus-per-run is {gpus:g}; it is a share of one GPU (0.5), or a whole number of them")
    return Resources(given.ray_address, given.cpus_per_run, gpus)


def check(arguments: list[str]) -> None:
    """Answer --help, and raise UserError for what no run of the comparison can have."""
    given = read(arguments)
    from latent_combo.comparison.grid import jobs  # here: it takes a second to import, and help does without

    jobs(given)


def _parser() -> Parser:
    parser = Parser("latent_combo.compare", DESCRIPTION)
    parser.add_argument(
        "out", type=given_path, help="the folder of the comparison; each run has OUT/DATASET/ALGORITHM/seedN"
    )
    parser.add_argument("--datasets", type=_names, help="names or paths, with commas between")
    parser.add_argument("--algorithms", type=_names, help="words of `train --algorithm`, with commas between")
    parser.add_argument(
        "--seeds", type=_seeds, help=f"how many (3: 0, 1 and 2), or which (4,7 or 4,) (default: {SEEDS})"
    )
    parser.add_argument(
        "--set",
        type=_own,
        action="append",
        default=[],
        metavar="ALGORITHM:NAME=VALUE",
        help="a setting of one algorithm alone, such as combo:agent.beta=0.5; may be repeated",
    )
    parser.add_argument(
        "--table",
        type=int,
        choices=sorted(TABLES),
        help="datasets, algorithms, seeds, --obs and --preset of a table of the paper",
    )
    parser.add_argument(
        "--workers", type=int, help="runs at a time (default: 1; on a cluster, as many as it has room for)"
    )
    parser.add_argument(
        "--backend", choices=sorted(BACKENDS), default="processes", help="who runs them (default: %(default)s)"
    )
    parser.add_argument(
        "--ray-address",
        metavar="auto|HOST:PORT",
        help="a cluster of Ray to run on, instead of this machine alone (--backend ray)",
    )
    parser.add_argument(
        "--cpus-per-run", type=int, help="CPUs and threads of a run of Ray (default: its share of this machine's; 1)"
    )
    parser.add_argument(
        "--gpus-per-run",
        type=float,
        help="GPUs of a run of Ray, or its share of one (default: its share of this machine's; 1 where there are any)",
    )
    parser.add_argument(
        "--again", action="store_true", help="run anew what differs or has diverged; the old run is kept aside"
    )
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _seeds(text: str) -> tuple[int, ...]:
    try:
        numbers = [int(word) for word in text.split(",") if word.strip()]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0 or (numbers == [0] and "," not in text):
        raise ArgumentTypeError(f"{text!r} is neither a number of runs, such as 3, nor a list of seeds, such as 0,1,2")
    return tuple(dict.fromkeys(numbers)) if "," in text else tuple(range(numbers[0]))


def _own(text: str) -> tuple[str, str]:
    algorithm, colon, setting = text.partition(":")
    if not (algorithm and colon and setting.partition("=")[0].strip("-") and "=" in setting):
        raise ArgumentTypeError(f"{text!r} is not ALGORITHM:NAME=VALUE, such as combo:agent.beta=0.5")
    return algorithm, setting.removeprefix("--")
