"""The machine's own speed, beside which every rate is shown."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import torch

from latent_combo.numerics.matmul import multiply


@cache
def matmul_rate(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations per second of large matrix products, the best of a few; measured once."""
    size = 1536 if device.type == "cpu" else 8192
    a = torch.rand(size, size, device=device).to(dtype)
    best = 0.0
    for _ in range(6):
        started = time.perf_counter()
        float(multiply(a, a)[0, 0])  # reading it waits for the device
        best = max(best, 2.0 * size**3 / (time.perf_counter() - started))
    return best


class Meter:
    """The rate of a loop, beside the machine's own."""

    def __init__(self, unit: str, units_a_step: float, flops_a_step: float, device: torch.device) -> None:
        self.unit, self.units, self.flops = unit, units_a_step, flops_a_step
        self.device = device
        self.peak = matmul_rate(device)
        self.seconds = 0.0
        self.steps = 0
        self._captured = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time one step; on a GPU its launch, and `wait` the rest."""
        started = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - started
        self.steps += 1

    def wait(self, capture_seconds: float) -> None:
        """Wait for the steps that a GPU has not done yet, and count the time as theirs.

        What recording them took so far, `capture_seconds`, is left out.
        """
        started = time.perf_counter()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds += time.perf_counter() - started - (capture_seconds - self._captured)
        self._captured = capture_seconds

    def state_dict(self) -> dict[str, float]:
        """What it has measured, for a checkpoint."""
        return {"seconds": self.seconds, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from what `state_dict` returned; checkpoints of before have nothing of it."""
        self.seconds, self.steps = float(state.get("seconds", 0.0)), int(state.get("steps", 0))

    @property
    def rate(self) -> float:
        """Units per second so far."""
        return self.units * self.steps / max(self.seconds, 1e-9)

    @property
    def share(self) -> float:
        """Achieved operations per second as a share of the machine's matrix-multiply rate."""
        return self.flops * self.steps / max(self.seconds, 1e-9) / self.peak

    def __str__(self) -> str:
        return f"{self.rate:.1f} {self.unit}/s ({self.share:.0%} of matmul)"
