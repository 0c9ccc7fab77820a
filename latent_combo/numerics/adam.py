"""Adam whose rates, counts and corrections are tensors, so that a step of it reads nothing and can be captured."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

from latent_combo.numerics.kernels import triton_kernels

KERNELS = "latent_combo.numerics.triton_adam"
"""Of a step over one vector, on a GPU."""


class Adam:
    """Adam (Kingma & Ba, 2015), with decoupled weight decay on request (AdamW).

    By torch's fused kernel; of a single vector on a GPU by ours.
    """

    def __init__(
        self, parameters: Sequence[Tensor], weight_decay: float = 0.0, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self.parameters = [p.detach() for p in parameters]
        self.weight_decay, self.betas = weight_decay, betas
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        device = self.parameters[0].device
        self.counts = torch.zeros(len(self.parameters), device=device)
        """(n,) float32: steps that were taken, once for each parameter, as the kernel wants it."""
        self._counts = list(self.counts.unbind())

    @torch.no_grad()
    def step(
        self,
        gradients: Sequence[Tensor],
        rate: Tensor,
        skip: Tensor | None = None,
        divisor: Tensor | None = None,
    ) -> None:
        """Descend along `gradients`, one for each parameter, by the learning rate `rate` ().

        Nothing changes where `skip` () is 1. The gradients are divided, in place, by `divisor` ().
        """
        gradients = [laid_out_as(p, g) for p, g in zip(self.parameters, gradients, strict=True)]
        kernels = triton_kernels(KERNELS, rate.device)
        one = len(gradients) == 1 and gradients[0].dtype == torch.float32
        if kernels is not None and one and skip is not None and divisor is None:
            moved = (self.parameters[0], gradients[0], self.first[0], self.second[0])
            kernels.step(*(t.view(-1) for t in moved), self._counts[0], rate, skip, self.betas, self.weight_decay)
            self.counts.add_(1.0 - skip)
            return
        adam(
            self.parameters, gradients, self.first, self.second, [], self._counts,
            fused=True, decoupled_weight_decay=True, amsgrad=False, maximize=False, lr=rate,
            beta1=self.betas[0], beta2=self.betas[1], weight_decay=self.weight_decay, eps=1e-8,
            found_inf=skip, grad_scale=divisor,
        )  # fmt: skip

    def tensors(self) -> list[Tensor]:
        """All that a step changes."""
        return [*self.parameters, *self.first, *self.second, self.counts]

    def state_dict(self) -> dict[str, object]:
        """The moments and the step counts."""
        return {"counts": self.counts, "first": self.first, "second": self.second}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue from what `state_dict` returned."""
        counts, first, second = state["counts"], state["first"], state["second"]
        assert isinstance(counts, Tensor) and isinstance(first, list) and isinstance(second, list)
        self.counts.copy_(counts)
        for own, saved in zip((*self.first, *self.second), (*first, *second), strict=True):
            own.copy_(saved)


def laid_out_as(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in the parameter's own order in memory, which the fused kernel asks for."""
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)


PIECE = 8192
"""Numbers of a vector that count as one parameter for torch's kernel, which gives few processors to a large one."""


class StackedAdam:
    """Adam for parameters whose leading axis is a stack, with a learning rate for each entry of it.

    Entries of one rate share a kernel; those of others have each their own.
    """

    def __init__(self, parameters: Sequence[Tensor], rates: Tensor, vector: Tensor | None = None) -> None:
        """Take parameters (S, ...), their entries' rates (S,), and the vector that all parameters lie in, if any."""
        self.parameters = list(parameters)
        self._vector = vector if vector is not None and vector.device.type == "cuda" else None
        self._piece = PIECE
        if bool((rates == rates[0]).all()):
            self._parts: list[slice | int] = [slice(None)]
            self._rates = [rates[0].clone()]
        else:
            self._vector = None
            self._parts = list(range(len(rates)))
            self._rates = list(rates.clone().unbind())
        if self._vector is not None:
            if triton_kernels(KERNELS, self._vector.device) is not None:
                self._piece = self._vector.numel()
            self.optimisers = [Adam(self._vector.split(self._piece))]
        else:
            self.optimisers = [Adam([p.detach()[part] for p in self.parameters]) for part in self._parts]

    def step(self, gradients: Sequence[Tensor], share: Tensor | None = None, skip: Tensor | None = None) -> None:
        """Descend along `gradients`, one for each parameter, by `share` () of the rates; nothing where `skip` is 1."""
        for part, rate, optimiser in zip(self._parts, self._rates, self.optimisers, strict=True):
            given = [g[part] for g in gradients] if self._vector is None else self._pieces(gradients)
            optimiser.step(given, rate if share is None else rate * share, skip)

    def tensors(self) -> list[Tensor]:
        """All that a step changes."""
        return [tensor for optimiser in self.optimisers for tensor in optimiser.tensors()]

    def state_dict(self) -> dict[str, object]:
        """The moments of each parameter and the step count, however the kernels share them."""
        return {
            "count": self.optimisers[0].counts[0],
            "first": self._whole([optimiser.first for optimiser in self.optimisers]),
            "second": self._whole([optimiser.second for optimiser in self.optimisers]),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue from what `state_dict` returned."""
        count, first, second = state["count"], state["first"], state["second"]
        assert isinstance(count, Tensor) and isinstance(first, list) and isinstance(second, list)
        for part, optimiser in zip(self._parts, self.optimisers, strict=True):
            optimiser.counts.fill_(count)
            for own, saved in ((optimiser.first, first), (optimiser.second, second)):
                given = [p[part] for p in saved] if self._vector is None else self._pieces(saved)
                for tensor, value in zip(own, given, strict=True):
                    tensor.copy_(value)

    def _whole(self, moments: list[list[Tensor]]) -> list[Tensor]:
        """The moments of all optimisers as one tensor for each parameter."""
        if self._vector is not None:
            parts = torch.cat(moments[0]).split([p.numel() for p in self.parameters])
            return [part.view_as(p) for part, p in zip(parts, self.parameters, strict=True)]
        if len(self.optimisers) == 1:
            return moments[0]
        return [torch.stack(entries) for entries in zip(*moments, strict=True)]

    def _pieces(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Tensors end to end, cut into pieces."""
        return list(torch.cat([tensor.flatten() for tensor in tensors]).split(self._piece))
