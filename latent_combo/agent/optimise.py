"""Adam for stacks of agents: one learning rate per agent, which torch's own optimisers can not have."""

import torch
from torch import Tensor


class StackedAdam:
    """Adam (Kingma & Ba, 2015) over parameters whose leading axis is the stack, one learning rate for each entry."""

    def __init__(self, parameters: list[Tensor], learning_rate: Tensor, betas: tuple[float, float] = (0.9, 0.999)):
        self.parameters = parameters
        self.betas = betas
        self.step_count = 0
        # (S,) as (S, 1, 1) beside weights, (S,) beside scalars
        self.rates = [learning_rate.view(-1, *[1] * (p.dim() - 1)) for p in parameters]
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self, gradients: tuple[Tensor, ...], share: float = 1.0) -> None:
        """Descend along `gradients`, one for each parameter, by `share` of the learning rates."""
        self.step_count += 1
        beta1, beta2 = self.betas
        torch._foreach_lerp_(self.first, gradients, 1.0 - beta1)
        torch._foreach_mul_(self.second, beta2)
        torch._foreach_addcmul_(self.second, gradients, gradients, 1.0 - beta2)
        scale = torch._foreach_sqrt(self.second)
        torch._foreach_div_(scale, (1.0 - beta2**self.step_count) ** 0.5)
        torch._foreach_add_(scale, 1e-8)
        update = torch._foreach_div(self.first, scale)
        torch._foreach_mul_(update, [rate * (share / (1.0 - beta1**self.step_count)) for rate in self.rates])
        torch._foreach_sub_(self.parameters, update)

    def state_dict(self) -> dict[str, object]:
        """The moments and the step count."""
        return {"step_count": self.step_count, "first": self.first, "second": self.second}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue from what `state_dict` returned."""
        step_count, first, second = state["step_count"], state["first"], state["second"]
        assert isinstance(step_count, int) and isinstance(first, list) and isinstance(second, list)
        self.step_count = step_count
        torch._foreach_copy_(self.first, first)
        torch._foreach_copy_(self.second, second)
