"""What is in a dataset: `python -m data.inspect DATASET` counts it, describes it and points at what is odd.

With --pictures FOLDER it also draws the returns, the actions, and frames of some episodes (contact sheet).
"""

import json
import sys
from dataclasses import asdict

import combo_common.own_packages  # noqa: F401
from combo_common.cli import Parser, run_cli
from combo_common.errors import UserError
from combo_common.paths import given_path
from data.inspection import Sampled, inspect_dataset
from data.inspection_report import format_report, write_pictures
from data.options import add_data_dir
from data.source import open_source
from envs.registry import get_task


def main() -> None:
    """Read the command line and print the report."""
    parser = Parser("data.inspect", __doc__)
    parser.add_argument("dataset", help="a dataset: its path in any layout, its name, or a Minari id")
    parser.add_argument("--task", help="of a dataset that does not tell its task")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    pictures = "where to write returns, actions and frames"
    parser.add_argument("--pictures", type=given_path, metavar="FOLDER", help=pictures)
    parser.add_argument("--skip-corrupt", action="store_true", help="leave damaged files out, and say how many")
    add_data_dir(parser)
    options = parser.parse_args()
    task = get_task(options.task) if options.task else None
    source = open_source(options.dataset, task, options.data_dir, options.skip_corrupt)
    if task is not None and source.dataset is not None and source.dataset.manifest.task != task.name:
        raise UserError(f"{source.where} is of {source.dataset.manifest.task}, not of {task.name}; leave --task out")
    sampled = Sampled()
    report = inspect_dataset(source.about(), source.format.name, source.read(), sampled, source.notes)
    print(json.dumps(asdict(report), indent=1) if options.json else format_report(report))
    if options.pictures is not None:
        for path in write_pictures(options.pictures, report, sampled):
            print(f"picture      {path}", file=sys.stderr if options.json else sys.stdout)


if __name__ == "__main__":
    run_cli(main)
