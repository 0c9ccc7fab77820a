"""Counting floating-point operations."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from latent_combo.numerics.matmul import OPERATOR


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
