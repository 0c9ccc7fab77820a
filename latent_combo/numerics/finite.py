"""Keeping bad numbers out of the weights without waiting for the device.

Reading a number of a GPU stops the program until all that was launched is done, so nothing is read in a step. Whether
all was finite is kept on the device, optimisers that are given the answer skip their step, and the program reads it now
and then (`FiniteCheck.raise_if_bad`).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from combo_common.errors import UserError


class NonFiniteError(UserError):
    """A loss or gradient was NaN or infinite."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step
        """The step in which it was, counted from 0."""
        self.batch: dict[str, Tensor] = {}
        """What the step was given, by name, if whoever took it could draw it once more."""


class FiniteCheck:
    """Whether all losses and gradients that it saw were finite, and the first that were not.

    From the first bad number on `bad` is 1, whatever comes after, so that optimisers which skip their steps by it leave
    the weights as they were before.
    """

    def __init__(self, where: str, parts: Mapping[str, Sequence[str]], device: torch.device) -> None:
        """Name what is checked: `where` for the message, and the names of each part's tensors."""
        self.where, self.names = where, {part: tuple(names) for part, names in parts.items()}
        self.bad = torch.zeros((), device=device)
        """() float32, 0 or 1: what torch's fused optimisers take as `found_inf`."""
        self.steps = torch.zeros((), dtype=torch.float64, device=device)
        """() float64: steps that were begun, until the first bad one."""
        self._norms = {part: torch.zeros(1 + len(names), device=device) for part, names in self.names.items()}

    def begin(self) -> None:
        """Count a step, unless there was a bad one before."""
        self.steps.add_(1.0 - self.bad)

    def see(self, part: str, loss: Tensor, gradients: Sequence[Tensor]) -> Tensor:
        """Look at a part's loss (any shape) and the gradients of its tensors; returns the gradients' norms (n,)."""
        norms = torch.stack([loss.detach().sum(), *torch._foreach_norm(list(gradients))])
        kept = self._norms[part]
        torch.where(self.bad > 0.0, kept, norms, out=kept)
        # x * 0 is 0 for finite x alone
        torch.maximum(self.bad, (norms.sum() * 0.0).ne(0.0).float(), out=self.bad)
        return norms[1:]

    def tensors(self) -> list[Tensor]:
        """All that it keeps."""
        return [self.bad, self.steps, *self._norms.values()]

    def raise_if_bad(self) -> None:
        """Read the answer, which waits for the device. Raises NonFiniteError that names the step and the tensor."""
        if not bool(self.bad):
            return
        step, advice = int(self.steps) - 1, "lower the learning rate or check the data"
        for part, names in self.names.items():
            loss, *norms = self._norms[part].tolist()
            where = f"{self.where}, {part} update, step {step}" if len(self.names) > 1 else f"{self.where}, step {step}"
            if not _finite(loss):
                raise NonFiniteError(f"{where}: the loss is {loss}; {advice}", step)
            for name, norm in zip(names, norms, strict=True):
                if not _finite(norm):
                    raise NonFiniteError(f"{where}: the gradient of {name} is not finite; {advice}", step)
            if not _finite(float(self._norms[part].sum())):
                raise NonFiniteError(f"{where}: the gradients overflow; {advice}", step)
        raise AssertionError("a bad number left no trace")


def _finite(number: float) -> bool:
    return abs(number) < float("inf")
