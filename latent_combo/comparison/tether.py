"""`python -P tether.py PARENT PROGRAM...`: becomes PROGRAM, which is asked to end (SIGTERM) when process PARENT ends.

A run whose worker is killed so saves what it has and leaves its folder to whoever goes on with it. Linux alone can do
this; elsewhere such a run goes on by itself. It imports the standard library only, and so costs some 20 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that a process gets when the thread that made it ends; it outlasts `exec`."""


def main() -> None:
    """Become the program of the command line."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # which has ended meanwhile
            sys.exit(130)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
