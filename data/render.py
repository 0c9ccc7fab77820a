"""Draw a recording: `python -m data.render SRC OUT` makes a dataset of images out of recorded physics.

A command that was stopped or killed is continued by the same command.
"""

import combo_common.own_packages  # noqa: F401
from combo_common.cli import Parser, run_cli
from combo_common.paths import given_path
from data.options import add_data_dir
from data.reference import resolve
from data.simulate.rendering import render_dataset
from data.train_command import train_line


def main() -> None:
    """Read the command line and make the dataset."""
    parser = Parser("data.render", __doc__)
    parser.add_argument("source", help="a recording: its folder or its name")
    parser.add_argument("out", type=given_path, help="the folder to make")
    parser.add_argument(
        "--task",
        help="what it is drawn as: its task filmed by another camera, such as dmc:cartpole-swingup,camera=lookatcart, "
        "or my_module:my_task, where it is of a task of your own that is not installed",
    )
    parser.add_argument("--size", type=int, help="pixels of the square images (default: the task's)")
    parser.add_argument("--look", default="fast", help="fast, or full: as dm_control draws it, 10 times slower")
    parser.add_argument("--processes", type=int, help="that draw (default: one a core)")
    add_data_dir(parser)
    options = parser.parse_args()
    source = resolve(options.source, None, options.data_dir).local
    manifest = render_dataset(
        source, options.out, options.size, options.look, processes=options.processes, task=options.task
    )
    print(f"{manifest.episodes} episodes, {manifest.transitions} transitions in {options.out}")
    print(train_line(options.out, options.task))


if __name__ == "__main__":
    run_cli(main)
