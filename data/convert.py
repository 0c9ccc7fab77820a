"""`python -m data.convert SRC OUT --to FORMAT`: a dataset in another program's layout.

Formats: `dreamer` (a folder of npz episodes, as V-D4RL's 64 pixels and DreamerV2 have them), `lompo` (the same without
flags), `d4rl` (an HDF5 file of vectors), `minari` (OUT is an id; images are stored as they are) and `own` (this
project's: a folder with a manifest). Nothing that is read is lost where the target can hold it; what isn't in it is
said.
"""

import combo_common.own_packages  # noqa: F401
from combo_common.cli import Parser, run_cli
from combo_common.paths import path_text
from data.conversion import convert
from data.formats.registry import writable_names
from data.options import add_data_dir
from data.source import open_source
from envs.registry import get_task
from envs.task import LOOKS


def main() -> None:
    """Read the command line and convert."""
    parser = Parser("data.convert", __doc__)
    parser.add_argument("source", help="a dataset: its path in any layout, its name, or a Minari id")
    made = "the folder or file to make, which must not be there yet; for minari an id"
    parser.add_argument("out", type=path_text, help=made)
    parser.add_argument("--to", required=True, choices=writable_names())
    parser.add_argument("--task", help="of a dataset that does not tell it")
    parser.add_argument("--look", choices=LOOKS, help="how images were drawn, for a dataset that does not tell it")
    parser.add_argument("--skip-corrupt", action="store_true", help="leave damaged files out, and say how many")
    add_data_dir(parser)
    given = parser.parse_args()
    task = get_task(given.task) if given.task else None
    source = open_source(given.source, task, given.data_dir, given.skip_corrupt)
    count, lost = convert(source, given.out, given.to, given.look)
    print("; ".join([f"{count} episodes in {given.out}", *(f"not in it: {what}" for what in lost)]))


if __name__ == "__main__":
    run_cli(main)
