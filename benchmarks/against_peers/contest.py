"""What is timed, in turns, and what it comes to."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from latent_combo.numerics.flops import count_flops

Step = Callable[[], object]


@dataclass(frozen=True)
class Runner:
    """What is timed."""

    step: Step
    updates: int = 1
    """Updates that a step makes: one per agent of a stack."""


@dataclass(frozen=True)
class Contest:
    """Runners that take turns."""

    name: str
    theirs: Runner
    ours: dict[str, Runner]
    steps: int
    """Steps of each runner in a turn, unless the command line has its own."""


@dataclass(frozen=True)
class Peer:
    """Another library, and how ours is measured beside it."""

    module: str
    """What has to be importable."""
    install: str
    about: Callable[[], str]
    """Its version."""
    contests: Callable[[bool], Iterator[Contest]]
    """Given whether to hand it fused optimisers; made one by one, so that the memory of one is free for the next."""


def adam(parameters: Any, rate: float, fused: bool) -> torch.optim.Adam:
    """Adam as a peer's script makes it, or fused."""
    return torch.optim.Adam(parameters, lr=rate, fused=fused or None)


def seconds(runner: Runner, steps: int) -> float:
    """Seconds per update."""
    started = time.perf_counter()
    for _ in range(steps):
        runner.step()
    return (time.perf_counter() - started) / (steps * runner.updates)


def measure(contest: Contest, peer: str, turns: int, steps: int) -> dict[str, object]:
    """Seconds per update of every turn, GFLOP per update, and how many times theirs ours are."""
    runners = {**contest.ours, peer: contest.theirs}
    work = {}
    for name, runner in runners.items():
        runner.step()  # the first fills buffers and creates the optimisers' state
        work[name] = count_flops(runner.step) / runner.updates / 1e9
        seconds(runner, steps)
    taken = [{name: seconds(runner, steps) for name, runner in runners.items()} for _ in range(turns)]
    times = {name: [turn[name] for turn in taken] for name in runners}
    ratios = {name: [turn[peer] / turn[name] for turn in taken] for name in contest.ours}
    return {
        "contest": contest.name,
        "peer": peer,
        "steps": steps,
        "gflop": work,
        "seconds": times,
        "ratio": {
            name: {"median": float(np.median(values)), "min": min(values), "max": max(values)}
            for name, values in ratios.items()
        },
    }


def report(result: dict[str, Any]) -> None:
    peer, turns = result["peer"], len(result["seconds"][result["peer"]])
    print(f"\n{result['contest']} ({turns} turns of {result['steps']} steps)")
    for name, times in result["seconds"].items():
        print(f"  {name:20s} {1.0 / np.median(times):8.2f} updates/s {result['gflop'][name]:8.2f} GFLOP per update")
    for name, ratio in result["ratio"].items():
        work = result["gflop"][peer] / result["gflop"][name]
        print(
            f"  {name}: {ratio['median']:.2f} times {peer} ({ratio['min']:.2f} to {ratio['max']:.2f}), "
            f"of which {work:.2f} by doing less",
            flush=True,
        )
