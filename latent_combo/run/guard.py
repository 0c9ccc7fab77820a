"""Stopping before a bad number reaches the weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

from latent_combo.run.errors import UserError


class NonFiniteError(UserError):
    """A loss or gradient is NaN or infinite."""


def check_finite(loss: Tensor, gradients: Mapping[str, Tensor], where: str) -> None:
    """Refuse a loss or gradients that are not finite, before an optimiser uses them.

    Costs one reduction over all gradients and one read; which tensor it is, is looked up only on failure.
    Raises NonFiniteError naming the tensor and `where`.
    """
    norms = torch._foreach_norm(list(gradients.values())) if gradients else ()
    total = torch.stack([loss.detach().sum(), *norms]).sum()
    if bool(torch.isfinite(total)):
        return
    if not bool(torch.isfinite(loss).all()):
        raise NonFiniteError(f"{where}: the loss is {loss.tolist()}; lower the learning rate or check the data")
    for name, gradient in gradients.items():
        if not bool(torch.isfinite(gradient).all()):
            raise NonFiniteError(
                f"{where}: the gradient of {name} is not finite; lower the learning rate or check the data"
            )
    raise NonFiniteError(f"{where}: the gradients overflow; lower the learning rate or check the data")
