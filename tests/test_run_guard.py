"""No bad number reaches the weights, and no random number comes from the global generator."""

import pytest
import torch

from latent_combo.run.errors import UserError
from latent_combo.run.guard import NonFiniteError, check_finite
from latent_combo.run.seeding import generator, initial_weights

CPU = torch.device("cpu")


def gradients() -> dict[str, torch.Tensor]:
    return {"encoder.weight": torch.ones(3, 2), "head.bias": torch.full((4,), -2.0)}


def test_finite_numbers_pass() -> None:
    check_finite(torch.tensor(1.0), gradients(), "step 1")
    check_finite(torch.tensor([1.0, 2.0], requires_grad=True), {}, "step 1")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["encoder.weight", "head.bias"])
def test_a_bad_gradient_is_named(bad: float, name: str) -> None:
    changed = gradients()
    changed[name].view(-1)[-1] = bad
    with pytest.raises(NonFiniteError, match=rf"agent, step 9: the gradient of {name} is not finite"):
        check_finite(torch.tensor(1.0), changed, "agent, step 9")


@pytest.mark.parametrize("loss", [torch.tensor(float("nan")), torch.tensor([1.0, float("inf")])])
def test_a_bad_loss_is_named_with_or_without_gradients(loss: torch.Tensor) -> None:
    for given in (gradients(), {}):
        with pytest.raises(NonFiniteError, match="agent, step 9: the loss is .*(nan|inf)"):
            check_finite(loss, given, "agent, step 9")


def test_infinities_that_cancel_are_seen() -> None:
    with pytest.raises(NonFiniteError):
        check_finite(torch.tensor([float("inf"), -float("inf")]), gradients(), "here")


def test_gradients_too_large_to_be_measured_are_refused() -> None:
    with pytest.raises(NonFiniteError, match="the gradients overflow"):
        check_finite(torch.tensor(1.0), {"w": torch.full((4,), 3e38)}, "here")


def test_it_is_an_error_of_the_user() -> None:
    assert issubclass(NonFiniteError, UserError)


def test_initial_weights_depend_on_the_seed_only_and_leave_the_global_generator_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        with initial_weights(seed, "test"):
            return torch.nn.Linear(5, 4).weight.detach()

    before = torch.random.get_rng_state()
    first, second, other = weights(3), weights(3), weights(4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_generators_are_their_own() -> None:
    first, second = generator(1, CPU, "a"), generator(1, CPU, "a")
    drawn = torch.randn(3, generator=first)
    torch.randn(3, generator=first)
    assert torch.equal(torch.randn(3, generator=second), drawn)
    assert not torch.equal(torch.randn(3, generator=generator(2, CPU, "a")), drawn)
    assert not torch.equal(torch.randn(3, generator=generator(1, CPU, "b")), drawn)
