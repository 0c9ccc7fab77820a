"""A step of Adam over one vector, as a kernel for a GPU.

torch's fused kernel takes many parameters and gives each of them few processors: of an update of eight agents, 1,436
microseconds on an NVIDIA H200 (log-sum-exp in bfloat16), it took 158, several times what reading and writing takes.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

HELD = 1024
"""Numbers that a program holds at once."""


@triton.jit
def _step(
    parameter,
    gradient,
    first,
    second,
    count,
    rate,
    skip,
    number,
    log_beta1,
    log_beta2,
    keep1,
    keep2,
    decay,
    epsilon,
    at_once: tl.constexpr,
):
    if tl.load(skip) == 0.0:
        place = tl.program_id(0) * at_once + tl.arange(0, at_once)
        inside = place < number
        taken = (tl.load(count) + 1.0).to(tl.float64)
        # in float64, or the second moment's first corrections, of some thousandths, would be of four digits
        correction1 = (1.0 - tl.exp(taken * log_beta1)).to(tl.float32)
        correction2 = (1.0 - tl.exp(taken * log_beta2)).to(tl.float32)
        by = tl.load(gradient + place, mask=inside, other=0.0)
        mean = tl.load(first + place, mask=inside, other=0.0)
        mean += (1.0 - keep1) * (by - mean)
        square = keep2 * tl.load(second + place, mask=inside, other=0.0) + (1.0 - keep2) * by * by
        learning = tl.load(rate)
        value = tl.load(parameter + place, mask=inside, other=0.0)
        value -= learning * decay * value
        value -= learning / correction1 * mean / (tl.sqrt(square) / tl.sqrt(correction2) + epsilon)
        tl.store(parameter + place, value, mask=inside)
        tl.store(first + place, mean, mask=inside)
        tl.store(second + place, square, mask=inside)


def step(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    count: Tensor,
    rate: Tensor,
    skip: Tensor,
    betas: tuple[float, float],
    decay: float,
    epsilon: float = 1e-8,
) -> None:
    """Change a vector (n,) and its moments (n,), after `count` () steps before, unless `skip` () is 1."""
    number = parameter.numel()
    _step[(triton.cdiv(number, HELD),)](
        parameter, gradient, first, second, count, rate, skip, number,
        math.log(betas[0]), math.log(betas[1]), betas[0], betas[1], decay, epsilon, HELD,
    )  # fmt: skip


def probe(device: torch.device) -> None:
    """Compile and start the kernel on a GPU."""
    parameter, gradient, first, second = torch.ones(4, 16, device=device)
    zero = torch.zeros((), device=device)
    step(parameter, gradient, first, second, zero, zero + 1e-3, zero, (0.9, 0.999), 0.0)
