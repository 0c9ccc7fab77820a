"""`python tests/toy_program.py train|compare ARGUMENTS`: the command on the toy pendulum, as `toy_grid.bare` has it.

The runs of such a comparison are of this program, too, each in a process of its own.
"""

import functools
import sys
from unittest import mock

from toy_grid import bare

from combo_common.cli import run_cli
from latent_combo import compare, train
from latent_combo.comparison import grid
from latent_combo.comparison.job import Job

if __name__ == "__main__":
    program = functools.partial(Job, program=(sys.executable, __file__, "train"))
    with bare(), mock.patch.object(grid, "Job", program):
        run_cli({"compare": compare.main, "train": train.main}[sys.argv.pop(1)])
