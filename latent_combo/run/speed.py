"""The machine's own speed, beside which every rate is shown."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from latent_combo.run.products import OPERATOR, multiply


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


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions that `work` does once."""
    counter = _Operations()
    with counter:
        work()
    return counter.total


class _Operations(TorchDispatchMode):
    """Adds up the operations of what is dispatched, by torch's own formulas.

    torch's FlopCounterMode does the same and more: it follows modules, and imports a compiler for that, which takes two
    seconds.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total: int = 0
        self._formulas: dict[Any, Any] = {**flop_registry, torch.ops.aten.addmm_: flop_registry[torch.ops.aten.addmm]}
        if OPERATOR is not None:
            self._formulas[OPERATOR] = _linear_operations

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to be skipped by the compiler, torch would import it

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        formula = self._formulas.get(function.overloadpacket)
        if formula is None and function is not torch.ops.prim.device.default:
            with self:  # what is made of others is counted by those
                result = function.decompose(*arguments, **options)
            if result is not NotImplemented:
                return result
        result = function(*arguments, **options)
        if formula is not None:
            self.total += int(formula(*arguments, **options, out_val=result))
        return result


def _linear_operations(inputs: Tensor, weight: Tensor, *rest: object, **out: object) -> int:
    """Of inputs (N, in) and weights (out, in)."""
    return 2 * inputs.shape[0] * inputs.shape[1] * weight.shape[0]


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
