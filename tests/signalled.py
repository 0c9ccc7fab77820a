"""A toy run that sends itself a signal at some point: `signalled.py POINT SIGNAL WHOM DATA_DIR OUT ARGUMENTS...`.

What is being done at that point then takes a minute, unless it is stopped: so a run that waits for it is told from one
that does not. WHOM is `process` or `group`; SIGNAL is a name, or `none`. With `--resume` among the arguments the run in
OUT goes on. The points are in `POINTS`; a run of the point `none` is a toy run, with blank figures.

`signalled.py serve DESCRIPTOR` imports all that a run takes, and forks for each run that it is asked for over a socket
(begun_runs.py): importing takes longer than a toy run does.
"""

import importlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from unittest import mock

POINTS = {
    "drawing a recording": ("data.simulate.rendering", "RenderWorkerMaker.__call__", 0, 60),
    "drawing by two": ("data.simulate.workers", "_Pool.submit", 1, 60),
    "decoding": ("data.load", "_open", 0, 60),
    "world model": ("latent_combo.world_model.fit", "Fit.take_step", 4, 0),
    "views during": ("latent_combo.diagnostics.model", "open_loop", 0, 60),
    "in the background": ("latent_combo.diagnostics.model", "composite_clip", 0, 60),
    "saving": ("latent_combo.runtime.checkpoint", "save", 0, 0),
    "measuring": ("latent_combo.diagnostics.model", "dream_apart", 0, 60),
    "encoding": ("latent_combo.latents.encode", "encode_episodes", 0, 60),
    "agent": ("latent_combo.agent.fit", "AgentFit.take_step", 5, 0),
    "evaluation": ("latent_combo.evaluation.evaluator", "Evaluator.interim", 0, 60),
    "episodes of an evaluation": ("envs.vector_env", "SubprocessVectorEnv.step", 3, 60),
    "score": ("latent_combo.evaluation.evaluator", "Evaluator.final", 0, 60),
    "views of agents": ("latent_combo.diagnostics.agent", "sample_values", 1, 60),
    "film": ("latent_combo.diagnostics.agent", "film", 0, 60),
    "report": ("latent_combo.pipeline.measure", "draw_curves", 0, 60),
}
"""Where it is: a module, a function of it, calls of it before, and seconds that the call then takes."""
IMPORTED_BY_RUNS = ("scipy.ndimage", "sympy", "torch._dynamo")
"""What takes longest of what is imported where it is used; what draws is left to each run, with its own context."""


def signalled(function: Callable[..., Any], calls: int, seconds: int, send: Callable[[], None]) -> Callable[..., Any]:
    """The function, whose call after so many sends the signal and takes as long."""
    count = iter(range(1_000_000))

    def instead(*given: Any, **named: Any) -> Any:
        if next(count) == calls:
            print(f"signal {os.getpid()} {time.time()}", flush=True)
            send()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(0.02)
        return function(*given, **named)

    return instead


def sender(name: str, whom: str) -> Callable[[], None]:
    """What sends a signal, by its name, to this process or its group."""
    if name == "none":
        return lambda: None
    number = signal.Signals[name]
    return (lambda: os.killpg(0, number)) if whom == "group" else (lambda: os.kill(os.getpid(), number))


def patched(point: tuple[str, str, int, int], send: Callable[[], None]) -> Any:
    """While it is on, the signal is sent at a point."""
    module, path, calls, seconds = point
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    return mock.patch.object(owner, name, signalled(getattr(owner, name), calls, seconds, send))


def import_all() -> None:
    """Import what a run takes, and measure what it measures once; raises RuntimeError where that starts a thread."""
    for name in ("latent_combo.train", "toy_runs", *IMPORTED_BY_RUNS):
        importlib.import_module(name)
    import torch

    from latent_combo.runtime.speed import matmul_rate

    torch.set_num_threads(1)  # a fork has no other
    matmul_rate(torch.device("cpu"))
    if (threads := len(os.listdir("/proc/self/task"))) != 1:
        raise RuntimeError(f"{threads} threads; a fork would have one of them, and what the others hold locked")


def serve(descriptor: int) -> None:
    """Fork for each message: a JSON list of arguments, with the descriptor that the run writes to.

    Returns in the fork, which leads a session of its own; ends when nobody is there to ask. The answers are the number
    of the process, and its exit code when it has ended.
    """
    from combo_common.child_process import hear_of_parents_end

    hear_of_parents_end(signal.SIGKILL)
    import_all()
    asked = socket.socket(fileno=descriptor)
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, 1 << 16, 1)
        if not message:
            os._exit(0)
        child = os.fork()
        if not child:
            os.setsid()
            hear_of_parents_end(signal.SIGKILL)
            asked.close()
            for number in (1, 2):
                os.dup2(descriptors[0], number)
            os.close(descriptors[0])
            sys.argv[1:] = json.loads(message)
            return
        os.close(descriptors[0])
        with suppress(BrokenPipeError):  # nobody is there any more
            asked.send(str(child).encode())
            asked.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def main() -> None:
    from toy_runs import TOY, blank_figures, short_episodes

    from latent_combo import train as trainer

    point, name, whom, data_dir, out, *more = sys.argv[1:]
    own = ["--resume", out] if "--resume" in more else [*TOY.split(), "--data_dir", data_dir, "--out", out, *more]
    sys.argv[1:] = own
    there = blank_figures() if point == "none" else patched(POINTS[point], sender(name, whom))
    # by as many processes as there are cores, though it is not worthwhile
    drawn = mock.patch("data.simulate.rendering.WORTHWHILE", 0) if point == "drawing by two" else nullcontext()
    with short_episodes(), there, drawn:
        trainer.main()


if __name__ == "__main__":
    import latent_combo.early  # noqa: F401
    from combo_common.cli import STOPPED, run_cli
    from combo_common.interrupt import end_at_once

    sys.path.insert(0, str(Path(__file__).parent))
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where these tests run under nohup
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    end_at_once(STOPPED)  # as a command does
    run_cli(main)
