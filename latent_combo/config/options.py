"""The options of commands, apart from the commands, whose imports take seconds."""

from pathlib import Path

from combo_common.cli import Parser


def evaluate() -> Parser:
    """Those of `latent_combo.evaluate`."""
    parser = Parser("latent_combo.evaluate", "Score a trained policy in its environment.")
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--episodes", type=int, default=10, help="episodes for each agent (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="the first episode's seed (default: the run's own)")
    parser.add_argument("--video", type=Path, help="write the first agent's episode of median return to this mp4")
    return parser


def visualise() -> Parser:
    """Those of `latent_combo.visualise`."""
    text = "Draw what a run's model predicts, what its agent values, and what it does."
    parser = Parser("latent_combo.visualise", text)
    parser.add_argument("run", type=Path, help="a run's folder")
    shown = "which held-out segments, and which episodes, are shown (default: %(default)s)"
    parser.add_argument("--seed", type=int, default=0, help=shown)
    return parser


def report() -> Parser:
    """Those of `latent_combo.report`."""
    parser = Parser("latent_combo.report", "Put a run on one self-contained HTML page, to be sent to a colleague.")
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--out", type=Path, help="the page (default: report.html in the run's folder)")
    return parser


def export() -> Parser:
    """Those of `latent_combo.export`."""
    text = (
        "Write a run's fitted world model as one file, with its recipe; with --policy one agent's policy, which "
        "latent_combo.load_policy reads without the run."
    )
    parser = Parser("latent_combo.export", text)
    parser.add_argument("--policy", action="store_true", help="write a policy instead of the world model")
    parser.add_argument("--agent", type=int, default=0, help="whose policy, of a stack (default: %(default)s)")
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("out", type=Path, help="the file to write (.safetensors), which must not be there yet")
    return parser


def check_settings(arguments: list[str]) -> None:
    """Answer `latent_combo.train`'s --help, and raise UserError for names and values that no run can have.

    That takes torch, but none of what draws and plays.
    """
    from latent_combo.config.command_line import check  # here, since the other commands' options do without

    check(arguments)
