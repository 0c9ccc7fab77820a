"""`python -m envs.doctor`: which GL library draws here, how fast, and whether what it draws is right.

Each back end is tried in a process of its own, since a process can use only one.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import combo_common.own_packages  # noqa: F401
from combo_common.cli import Parser, run_cli
from combo_common.errors import UserError
from envs.gl import LIBRARIES, chosen_by_user

FRAMES = 200


def probe() -> dict[str, Any]:
    """Draw the walker with this process's back end.

    Returns frames per second as `rate`, and whether the picture is the right way up as `upright`.
    """
    from envs.make import make  # imports mujoco, which binds the back end

    env = make("walker-walk", "pixels")
    env.reset(seed=0)
    for _ in range(50):  # without a policy it falls
        image, *_ = env.step(np.zeros(6, np.float32))
    started = time.perf_counter()
    for _ in range(FRAMES):
        env.render()
    rate = FRAMES / (time.perf_counter() - started)
    env.close()
    return {"rate": rate, "upright": upright(image)}


def upright(image: "np.typing.NDArray[np.uint8]") -> bool:
    """Whether a picture (H, W, 3) of the fallen walker is the right way up: it lies on the floor, below the middle.

    The walker is the only thing with more red than blue.
    """
    rows, _ = np.nonzero(image[..., 0] > image[..., 2])
    return bool(rows.mean() > image.shape[0] / 2)


def examine(backend: str) -> dict[str, Any] | None:
    """What `probe` finds in a process that uses this back end; None if it does not draw."""
    done = subprocess.run(
        [sys.executable, "-m", "envs.doctor", "--probe"],
        cwd=Path(__file__).parents[1],  # where `envs` is this one, whatever the working folder holds
        env={**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def verdict(backend: str, found: dict[str, Any] | None) -> str:
    """What was found of a back end, in one line."""
    if found is None:
        library, packages = LIBRARIES[backend]
        return f"does not draw: {library} is missing or fails; Debian: {packages}"
    way = "the right way up" if found["upright"] else "UPSIDE DOWN"
    return f"draws the walker at {found['rate']:.0f} frames/s (64 pixels, fast look), not black, {way}"


def main() -> None:
    """Examine all back ends. Raises UserError if none of them draws the right way up, or MUJOCO_GL names none."""
    parser = Parser("envs.doctor", __doc__)
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().probe:
        print(json.dumps(probe()))
        return
    works = False
    for backend in LIBRARIES:
        found = examine(backend)
        works = works or (found is not None and found["upright"])
        print(f"{backend:7s} {verdict(backend, found)}")
    chosen_by_user()
    if not works:
        packages = " or ".join(packages for _, packages in LIBRARIES.values())
        raise UserError(f"no GL library draws here as it should; install {packages}")


if __name__ == "__main__":
    run_cli(main)
