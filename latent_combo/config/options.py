"""The options of commands, read and checked apart from the commands, whose imports take seconds."""

from argparse import Namespace

from combo_common.cli import Parser
from combo_common.errors import UserError
from combo_common.paths import given_path
from envs.registry import get_task
from latent_combo.runtime.run_folder import config_file, require_own_folders
from latent_combo.runtime.weights_name import require_new


def evaluate(arguments: list[str] | None = None) -> Namespace:
    """Read those of `latent_combo.evaluate`; None: this process's. Raises UserError for what is wrong, as all do."""
    parser = Parser("latent_combo.evaluate", "Score a trained policy in its environment.")
    parser.add_argument("run", type=given_path, help="a run's folder")
    parser.add_argument("--episodes", type=int, default=10, help="episodes for each agent (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="the first episode's seed (default: the run's own)")
    parser.add_argument("--video", type=given_path, help="write the first agent's episode of median return to this mp4")
    _add_task(parser)
    given = parser.parse_args(arguments)
    if given.episodes < 1:
        raise UserError(f"--episodes is {given.episodes}; at least 1 is needed")
    _require_seed(given.seed)
    config_file(given.run)
    _import_task(given.task)
    return given


def visualise(arguments: list[str] | None = None) -> Namespace:
    """Read those of `latent_combo.visualise`."""
    text = "Draw what a run's model predicts, what its agent values, and what it does."
    parser = Parser("latent_combo.visualise", text)
    parser.add_argument("run", type=given_path, help="a run's folder")
    shown = "which held-out segments, and which episodes, are shown (default: %(default)s)"
    parser.add_argument("--seed", type=int, default=0, help=shown)
    _add_task(parser)
    given = parser.parse_args(arguments)
    _require_seed(given.seed)
    config_file(given.run)
    require_own_folders(given.run)
    _import_task(given.task)
    return given


def report(arguments: list[str] | None = None) -> Namespace:
    """Read those of `latent_combo.report`."""
    parser = Parser("latent_combo.report", "Put a run on one self-contained HTML page, to be sent to a colleague.")
    parser.add_argument("run", type=given_path, help="a run's folder")
    parser.add_argument("--out", type=given_path, help="the page (default: report.html in the run's folder)")
    given = parser.parse_args(arguments)
    config_file(given.run)
    return given


def export(arguments: list[str] | None = None) -> Namespace:
    """Read those of `latent_combo.export`."""
    text = (
        "Write a run's fitted world model as one file, with its recipe; with --policy one agent's policy, which "
        "latent_combo.load_policy reads without the run."
    )
    parser = Parser("latent_combo.export", text)
    parser.add_argument("--policy", action="store_true", help="write a policy instead of the world model")
    parser.add_argument("--agent", type=int, help="whose policy, of a stack (default: the selected one, or 0)")
    parser.add_argument("run", type=given_path, help="a run's folder")
    parser.add_argument("out", type=given_path, help="the file to write (.safetensors), which must not be there yet")
    _add_task(parser)
    given = parser.parse_args(arguments)
    config_file(given.run)
    _import_task(given.task)
    require_new(given.out)
    return given


def train(arguments: list[str]) -> None:
    """Answer `latent_combo.train`'s --help, and raise UserError for what no run can have."""
    from latent_combo.config.command_line import check  # here, since the other commands' options do without

    check(arguments)


def select(arguments: list[str]) -> list[str]:
    """The command line of `latent_combo.train` that one of `latent_combo.select` stands for, checked as that is.

    Answers --help.
    """
    from latent_combo.config.candidates import HELP, with_candidates  # here, as for `train`
    from latent_combo.config.command_line import check

    if {"-h", "--help"} & set(arguments):
        print(HELP)
        raise SystemExit
    whole = with_candidates(arguments)
    check(whole)
    return whole


def _add_task(parser: Parser) -> None:
    text = "my_module:TASK, the run's task where nothing else makes it known here (default: as the run names it)"
    parser.add_argument("--task", help=text)


def _import_task(named: str | None) -> None:
    """Raise UserError where there is no task of a name; from then on it is known."""
    if named is not None:
        get_task(named)


def _require_seed(seed: int | None) -> None:
    if seed is not None and seed < 0:
        raise UserError(f"--seed is {seed}; it is 0 or more")
