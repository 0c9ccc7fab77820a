"""Triton's kernels beside what they replace, on a GPU, or on a CPU by Triton's interpreter (`TRITON_INTERPRET=1`)."""

import contextlib
import importlib
from collections.abc import Iterator

import torch

from latent_combo.agent import networks as agents
from latent_combo.agent import tanh_gaussian
from latent_combo.agent.networks import Actor, TwinCritic
from latent_combo.agent.settings import NetworkConfig
from latent_combo.agent.tanh_gaussian import TanhGaussian
from latent_combo.numerics import layers
from latent_combo.world_model.recurrence import MIN_STD, RecurrenceWeights, _Recurrence
from latent_combo.world_model.rssm import RSSM
from latent_combo.world_model.settings import RSSMConfig


def check_recurrence(device: torch.device, batch: int, length: int, size: int, latent: int, units: int) -> None:
    """Values and gradients of each output and input; sizes that are no multiples of a program's."""
    from latent_combo.world_model import triton_recurrence as kernels

    torch.manual_seed(0)
    model = RSSM(RSSMConfig(deterministic=size, stochastic=latent, hidden=units, members=2), units, 2).to(device)
    w = RecurrenceWeights(*(weight.detach().requires_grad_() for weight in model.recurrence_weights()))
    e, a = (torch.randn(length, batch, units, device=device, requires_grad=True) for _ in range(2))
    noise = torch.randn(length, batch, latent, device=device)
    h, z = (torch.randn(batch, width, device=device, requires_grad=True) for width in (size, latent))
    expected = _Recurrence.apply(e, a, noise, h, z, *w)
    gradients = tuple(torch.randn_like(part) for part in expected)
    by_e, by_a, by_h, by_z = torch.autograd.grad(expected, (e, a, h, z), gradients)
    with torch.no_grad():
        found, kept = kernels.forward(e, a.transpose(0, 1).contiguous().transpose(0, 1), noise, h, z, w, MIN_STD)
        back = kernels.backward(gradients, noise, kept, w)
    for one, other in zip((*found, back.p, back.x, back.h0, back.z0), (*expected, by_e, by_a, by_h, by_z), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def check_layers(device: torch.device, dtype: torch.dtype, networks: int, rows: int, groups: int, width: int) -> None:
    """With and without a norm, with and without a last layer."""
    from latent_combo.numerics import triton_layers as kernels

    torch.manual_seed(0)
    x = torch.randn(rows, width, device=device).to(dtype).requires_grad_()
    bias, weight, end = (
        torch.randn(size, device=device, requires_grad=True) for size in ((groups, width), (networks, width), networks)
    )
    loose = dtype == torch.bfloat16
    for norm in (False, True):
        value = x.float().view(groups, -1, width) + bias[:, None]
        value = torch.nn.functional.layer_norm(value, (width,), eps=layers.EPSILON) if norm else value
        y = value.relu().view(rows, width)
        q = (y.view(networks, -1, width) * weight[:, None]).sum(-1).add(end[:, None]).flatten()
        for ends, expected in ((False, y), (True, q)):
            last = (weight, end) if ends else ()
            gradient = torch.randn_like(expected)
            wanted = torch.autograd.grad(expected, (x, bias, *last[:1]), gradient, retain_graph=True)
            with torch.no_grad():
                out = kernels.forward(x, bias, norm, layers.EPSILON, *last)
                given = (gradient if ends else gradient.to(dtype), x if norm or ends else out)
                found = kernels.backward(*given, bias, norm, layers.EPSILON, *last[:1])
            for one, other in zip((out, *found[: len(wanted)]), (expected, *wanted), strict=True):
                size = float(other.float().abs().max())
                torch.testing.assert_close(
                    one.float(), other.float(), atol=(2e-2 if loose else 1e-5) * size, rtol=2e-2 if loose else 1e-4
                )
    with torch.no_grad():
        x[1, 2] = float("nan")
        assert bool(kernels.forward(x, bias, False, layers.EPSILON)[1, 2].isnan())


def check_samples(device: torch.device) -> None:
    """One action a state, with gradients, and several."""
    from latent_combo.agent import triton_tanh_gaussian as kernels

    torch.manual_seed(0)
    for parameters, drawn in (((3, 50, 6), (3, 50, 6)), ((2, 7, 1, 3), (2, 7, 4, 3))):
        loc, log_std = (torch.randn(parameters, requires_grad=True) for _ in range(2))
        noise = torch.randn(drawn)
        expected = TanhGaussian(loc, log_std).sample(noise)
        gradients = [torch.randn_like(part) for part in expected]
        wanted = torch.autograd.grad(expected, (loc, log_std), gradients)
        with torch.no_grad():
            there = [part.detach().to(device) for part in (loc, log_std, noise)]
            found = kernels.forward(*there)
            back = kernels.backward(
                *(part.to(device) for part in gradients), found[0], there[1].expand(drawn).contiguous(), there[2]
            )
        for one, other in zip(
            (*found, *(part.sum_to_size(parameters) for part in back)), (*expected, *wanted), strict=True
        ):
            torch.testing.assert_close(one.cpu(), other, atol=2e-5, rtol=1e-4)


def check_adam(device: torch.device) -> None:
    """Six steps, of which one is skipped, beside torch's in float64."""
    from latent_combo.numerics import triton_adam as kernels

    torch.manual_seed(0)
    ours = torch.randn(3000, device=device)
    theirs = ours.double().requires_grad_()
    optimiser = torch.optim.AdamW([theirs], lr=1e-2, weight_decay=0.1)
    first, second = (torch.zeros(3000, device=device) for _ in range(2))
    count, rate = torch.zeros((), device=device), torch.tensor(1e-2, device=device)
    for number in range(6):
        gradient, skip = torch.randn(3000, device=device), torch.tensor(float(number == 3), device=device)
        before = ours.clone()
        kernels.step(ours, gradient, first, second, count, rate, skip, (0.9, 0.999), 0.1)
        count += 1.0 - skip
        if number == 3:
            assert torch.equal(ours, before)
            continue
        theirs.grad = gradient.double()
        optimiser.step()
        torch.testing.assert_close(ours.double(), theirs.detach(), atol=2e-6, rtol=1e-5)


def check_networks(device: torch.device, depth: int, norm: bool, number: int, low: bool) -> None:
    """Critics and a policy through autograd, the kernels (wherever they run) beside torch's operators."""
    torch.manual_seed(0)
    config = NetworkConfig(hidden=20, layers=depth, layer_norm=norm)
    critic, actor = TwinCritic(2, config, 5, 3).to(device), Actor(2, config, 5, 3).to(device)
    feature, action = torch.randn(2, 7, 5, device=device), torch.rand(2, 7, number, 3, device=device)
    gradient, noise = torch.rand(2, 2, 7, number, device=device), torch.randn(2, 7, 3, device=device)
    found = []
    for kernels in (True, False):
        with chosen_kernels(kernels):
            values = critic(feature, action, low)
            drawn, density = actor(feature).sample(noise)
            by_values = torch.autograd.grad(values, list(critic.parameters()), gradient)
            by_sample = torch.autograd.grad(drawn.sum() + density.sum(), list(actor.parameters()))
            found.append((values.detach(), drawn.detach(), density.detach(), *by_values, *by_sample))
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        assert float((one - other).norm()) <= (0.15 if low else 1e-5) * float(other.norm())


@contextlib.contextmanager
def chosen_kernels(on: bool) -> Iterator[None]:
    """Let layers and samples be computed by the kernels, on whatever device, or by torch's operators."""

    def kernels(module: str, device: torch.device) -> object | None:
        return importlib.import_module(module) if on else None

    before = (agents.one_by_one, layers.triton_kernels, tanh_gaussian.triton_kernels)
    agents.one_by_one = lambda x: False  # as on a GPU
    layers.triton_kernels = tanh_gaussian.triton_kernels = kernels
    try:
        yield
    finally:
        agents.one_by_one, layers.triton_kernels, tanh_gaussian.triton_kernels = before


NETWORKS = [(1, False, 1, False), (2, False, 3, False), (2, True, 3, False), (1, True, 1, False), (2, True, 3, True)]
"""Layers, whether they are normalised, actions a state, whether in bfloat16."""
RECURRENCES = [(5, 3, 24, 10, 20), (18, 2, 40, 17, 33)]
LAYERS = [(2, 60, 2, 17), (2, 84, 12, 40), (1, 5, 1, 300), (2, 2000, 2, 24)]
DTYPES = [torch.float32, torch.bfloat16]


if __name__ == "__main__":
    cpu = torch.device("cpu")
    for sizes in RECURRENCES:
        check_recurrence(cpu, *sizes)
    for dtype in DTYPES:
        for shape in LAYERS:
            check_layers(cpu, dtype, *shape)
    for given in NETWORKS:
        check_networks(cpu, *given)
    check_samples(cpu)
    check_adam(cpu)
    print("the kernels agree")
