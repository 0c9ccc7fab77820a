"""Adam whose rates and counts are tensors is Adam, and leaves out a step that it is told to."""

import pytest
import torch
from torch import Tensor

from latent_combo.numerics import adam as module
from latent_combo.numerics.adam import Adam, StackedAdam


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights() -> list[Tensor]:
    return [torch.randn(2, 3, 4, generator=draws(1)), torch.randn(2, 1, 5, generator=draws(2))]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_step_is_that_of_torchs_own_bit_by_bit(decay: float) -> None:
    mine, theirs = weights(), [w.requires_grad_() for w in weights()]
    adam = Adam(mine, weight_decay=decay)
    reference = torch.optim.AdamW(theirs, lr=0.5, weight_decay=decay, fused=True)
    g = draws()
    for rate in (0.5, 0.25, 0.125):
        given = [torch.randn(w.shape, generator=g) for w in mine]
        adam.step(given, torch.tensor(rate))
        for group in reference.param_groups:
            group["lr"] = rate
        for parameter, gradient in zip(theirs, given, strict=True):
            parameter.grad = gradient
        reference.step()
    for one, other in zip(mine, theirs, strict=True):
        assert torch.equal(one, other.detach())


def test_a_skipped_step_changes_nothing_even_where_gradients_are_nan() -> None:
    mine = weights()
    adam = Adam(mine, weight_decay=0.1)
    adam.step([torch.ones_like(w) for w in mine], torch.tensor(0.1))
    before = [tensor.clone() for tensor in adam.tensors()]
    adam.step([torch.full_like(w, float("nan")) for w in mine], torch.tensor(0.1), skip=torch.tensor(1.0))
    for now, then in zip(adam.tensors(), before, strict=True):
        assert torch.equal(now, then)
    adam.step([torch.ones_like(w) for w in mine], torch.tensor(0.1), skip=torch.tensor(0.0))
    assert float(adam.counts[0]) == 2.0


def test_gradients_are_divided_first() -> None:
    one, other = weights(), weights()
    Adam(one).step([3.0 * torch.ones_like(w) for w in one], torch.tensor(0.1), divisor=torch.tensor(4.0))
    Adam(other).step([0.75 * torch.ones_like(w) for w in other], torch.tensor(0.1))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_laid_out_in_another_way_will_do() -> None:
    parameter = torch.randn(4, 3, 2, 2, generator=draws()).contiguous(memory_format=torch.channels_last)
    other = parameter.clone()
    gradient = torch.randn(4, 3, 2, 2, generator=draws(1))
    Adam([parameter]).step([gradient], torch.tensor(0.1))
    Adam([other]).step([gradient.contiguous(memory_format=torch.channels_last)], torch.tensor(0.1))
    assert torch.equal(parameter, other)


@pytest.mark.parametrize("rates", [[1e-2, 1e-2], [1e-2, 1e-3]])
def test_entries_of_a_stack_have_rates_of_their_own(rates: list[float]) -> None:
    mine, theirs = weights(), weights()
    stacked, g = StackedAdam(mine, torch.tensor(rates)), draws()
    alone = [Adam([w[entry] for w in theirs]) for entry in range(2)]
    for share in (1.0, 0.5, 0.5):
        given = [torch.randn(w.shape, generator=g) for w in mine]
        stacked.step(given, torch.tensor(share))
        for entry, adam in enumerate(alone):
            adam.step([x[entry] for x in given], torch.tensor(share * rates[entry]))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("before", ["shared", "apart", "vector"])
@pytest.mark.parametrize("after", ["shared", "apart", "vector"])
def test_a_state_goes_on_however_the_kernels_share_it(before: str, after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 7)

    def optimiser(kind: str) -> tuple[StackedAdam, list[Tensor]]:
        vector = torch.cat([w.flatten() for w in weights()])
        parts = vector.split([w.numel() for w in weights()])
        parameters = [part.view_as(w) for part, w in zip(parts, weights(), strict=True)]
        adam = StackedAdam(parameters, torch.tensor([1e-2, 1e-2]))
        if kind == "apart":  # as with rates that differ, of the same size to compare
            adam._parts, adam._rates = [0, 1], [torch.tensor(1e-2)] * 2
            adam.optimisers = [Adam([p[entry] for p in parameters]) for entry in range(2)]
        if kind == "vector":  # as on a GPU
            adam._vector = vector
            adam.optimisers = [Adam(vector.split(7))]
        return adam, parameters

    given = [[torch.randn(w.shape, generator=draws(seed)) for w in weights()] for seed in range(4)]
    whole, expected = optimiser("shared")
    for gradients in given:
        whole.step(gradients)
    half, middle = optimiser(before)
    for gradients in given[:2]:
        half.step(gradients)
    rest, parameters = optimiser(after)
    for own, saved in zip(parameters, middle, strict=True):
        own.copy_(saved)
    rest.load_state_dict(half.state_dict())
    for gradients in given[2:]:
        rest.step(gradients)
    for one, other in zip(parameters, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-6)
