"""`python tests/killed_runs.py FOLDER SEED KILLS [pixels] [drawn]`: toy runs that SIGKILL ends, and one in one go.

Each attempt at a run is a fork of this process, which has imported all that it takes, and is killed by a real SIGKILL:
at a random moment, or at a random call to the operating system while a checkpoint is written. The run goes on until it
has been killed so often as asked for, and then to its end. Prints a line of JSON; "equal" says whether checkpoints,
metrics, TensorBoard's values and the scores are those of the other run.
"""

import hashlib
import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import conftest  # noqa: F401  # chooses what draws, before mujoco is imported
import torch
import toy_pendulum
import toy_runs
from killed_writes import CALLS
from test_run_killed import balance, logged, rows, saved

from latent_combo.config.saved import load_config
from latent_combo.config.schema import Config
from latent_combo.evaluation.result import Result
from latent_combo.runtime import checkpoint
from latent_combo.runtime.plain_json import to_json
from latent_combo.runtime.run_folder import AGENT, SETTINGS, WORLD_MODEL
from latent_combo.runtime.speed import matmul_rate
from latent_combo.train import train

WITHIN = 300.0
"""Seconds that one attempt may take, on a busy machine."""
OF_TIMING = ("seconds", "rates", "share_of_matmul", "resumed", "changes")
"""Of a result, what differs from one time to the next, or says that it was killed."""


def attempt(config: Config, log: Path, seconds: float = WITHIN, call: int = -1) -> tuple[bool, float]:
    """Train, or go on, in a fork, which is killed after so many seconds or at a call while a checkpoint is written.

    Returns whether it came to its end, and the seconds that it took. Raises AssertionError where it failed.
    """
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1), os.dup2(output, 2)
        code = 1
        try:
            with killed_while_saving(call):
                train(config, resume=(Path(config.out) / SETTINGS).exists())
            code = 0
        finally:
            sys.stderr.flush()
            if code:
                import traceback

                traceback.print_exc()
            os._exit(code)
    watched = os.pidfd_open(child)
    if not select.select([watched], [], [], seconds)[0]:
        os.kill(child, signal.SIGKILL)
    os.close(watched)
    status = os.waitpid(child, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0, log.read_text()[-3000:]
    return status == 0, time.monotonic() - began


def killed_while_saving(call: int) -> ExitStack:
    """Within the body, call number `call` that writes a checkpoint kills the process; -1: none does."""
    stack, left, save = ExitStack(), [call], checkpoint.save

    def counted(whole: Callable[..., Any]) -> Callable[..., Any]:
        def part(*given: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(*given, **named)

        return part

    def saving(*given: Any, **named: Any) -> Any:
        with mock.patch.multiple(os, **{name: counted(getattr(os, name)) for name in CALLS}):
            return save(*given, **named)

    if call >= 0:
        stack.enter_context(mock.patch.object(checkpoint, "save", saving))
    return stack


def digest(run: Path) -> dict[str, str]:
    """SHA-256 of all that a run comes to, by its parts."""
    parts: dict[str, Any] = {}
    for phase in (WORLD_MODEL, AGENT):
        content, tensors = to_json(saved(run, phase))
        own = hashlib.sha256(content)
        for name in sorted(tensors):
            own.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        parts[phase] = own.hexdigest()
    result = Result.read(run)
    assert result is not None
    parts["metrics"] = sorted(rows(run))
    parts["events"] = sorted(logged(run).items())
    parts |= {f"result: {name}": value for name, value in result.to_json().items() if name not in OF_TIMING}
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest() for name, value in parts.items()
    }


def killed(config: Config, draw: random.Random, kills: int, usual: float) -> dict[str, Any]:
    """Let a run be killed so often, by turns at any moment and while saving; `usual` seconds take one in one go."""
    log, count, reached = Path(config.out).with_suffix(".log"), 0, []
    while True:
        if count == kills:
            ended, _ = attempt(config, log)
            assert ended
            break
        if count % 2:
            ended, _ = attempt(config, log, call=draw.randrange(60))
        else:
            ended, _ = attempt(config, log, seconds=draw.uniform(0.05, 0.8) * usual)
        if ended:  # before it was killed: another kill needs another run
            break
        count += 1
        phases = sorted(path.name for path in Path(config.out).glob("checkpoints/*-*[0-9]"))
        reached.append(next((name for name in phases[::-1] if name.startswith("agent")), phases[-1] if phases else ""))
        config = load_config(Path(config.out)) if (Path(config.out) / SETTINGS).exists() else config
    result = Result.read(Path(config.out))
    assert result is not None
    return {"kills": count, "reached": reached, "resumed": result.resumed}


def main() -> None:
    """Kill and compare."""
    torch.set_num_threads(1)  # a fork has no other
    matmul_rate(torch.device("cpu"))  # once, and not in each fork
    folder, seed, kills = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    draw, done, runs = random.Random(seed), 0, 0
    drawn = toy_runs.blank_figures() if "drawn" in sys.argv else toy_runs.undrawn()
    with toy_pendulum.registered(), toy_runs.short_episodes(), drawn:
        if "pixels" in sys.argv:
            toy_runs.record(folder)

            def made(out: str) -> Config:
                return toy_runs.toy(folder, folder / out, "--agent_fit.rollout_every", "3", "--save_every", "2")
        else:

            def made(out: str) -> Config:
                return balance(folder, out)

        def make(out: str) -> Config:
            config = made(out)
            return config if "drawn" in sys.argv else replace(config, views=replace(config.views, every=0))

        make("first")  # with its data
        _, usual = attempt(make("whole"), folder / "whole.log")
        whole = digest(folder / "whole")
        while done < kills:
            out = f"parts-{runs}"
            found = killed(make(out), draw, min(kills - done, 4), usual)
            done, runs = done + found["kills"], runs + 1
            other = [part for part, value in digest(folder / out).items() if value != whole[part]]
            print(json.dumps({"run": out, **found, "equal": not other, "other": other}), flush=True)


if __name__ == "__main__":
    main()
