"""`python tests/toy_command.py MODULE ARGUMENTS`: a command of the program, whose episodes of the walker are short."""

import runpy
import sys

from toy_runs import short_episodes

if __name__ == "__main__":
    with short_episodes():
        runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
