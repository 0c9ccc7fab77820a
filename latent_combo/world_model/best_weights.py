"""Each member's weights where they validated best, kept in buffers of the model, so that they are saved with it."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


def register_best(model: nn.Module, prefix: str, part: nn.Module) -> None:
    """Give a model buffers for a part's best weights, named by `prefix`; K members are its parameters' first axis."""
    for name, parameter in part.named_parameters():
        model.register_buffer(_name(prefix, name), parameter.detach().clone())


def keep_best(model: nn.Module, prefix: str, part: nn.Module, better: Tensor) -> None:
    """Take over the weights of the members that are `better` (K,) bool."""
    for parameter, best in _pairs(model, prefix, part):
        best.copy_(torch.where(better.view(-1, *[1] * (parameter.dim() - 1)), parameter, best))


def restore_best(model: nn.Module, prefix: str, part: nn.Module) -> None:
    """Put back all members' best weights."""
    for parameter, best in _pairs(model, prefix, part):
        parameter.copy_(best)


def _pairs(model: nn.Module, prefix: str, part: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    for name, parameter in part.named_parameters():
        yield parameter, model.get_buffer(_name(prefix, name))


def _name(prefix: str, name: str) -> str:
    return f"{prefix}_{name.replace('.', '_')}"
