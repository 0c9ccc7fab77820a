"""No bad number reaches the weights, and no random number comes from the global generator."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

from combo_common.errors import UserError
from combo_common.seeding import generator, initial_weights
from latent_combo.numerics.adam import Adam
from latent_combo.numerics.finite import FiniteCheck, NonFiniteError
from latent_combo.pipeline.session import Session
from latent_combo.runtime.run_folder import BAD_BATCH

CPU = torch.device("cpu")
NAMES = ("encoder.weight", "head.bias")


def gradients() -> list[torch.Tensor]:
    return [torch.ones(3, 2), torch.full((4,), -2.0)]


def check() -> FiniteCheck:
    return FiniteCheck("agent", {"critic": NAMES, "actor": NAMES}, CPU)


def test_finite_numbers_pass_and_norms_come_back() -> None:
    finite = check()
    finite.begin()
    norms = finite.see("critic", torch.tensor([1.0, 2.0], requires_grad=True), gradients())
    torch.testing.assert_close(norms, torch.tensor([6.0**0.5, 4.0]))
    finite.see("actor", torch.tensor(1.0), gradients())
    finite.raise_if_bad()
    assert float(finite.bad) == 0.0 and float(finite.steps) == 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", ["critic", "actor"])
def test_the_first_bad_gradient_is_named_with_its_step(bad: float, name: str, part: str) -> None:
    finite = check()
    for step in range(12):
        finite.begin()
        for each in ("critic", "actor"):
            given = gradients()
            if step == 9 and each == part:
                given[NAMES.index(name)].view(-1)[-1] = bad
            if step == 10:  # what comes later is not what is told
                given[0][0, 0] = float("nan")
            finite.see(each, torch.tensor(1.0), given)
    with pytest.raises(
        NonFiniteError, match=rf"agent, {part} update, step 9: the gradient of {name} is not finite"
    ) as told:
        finite.raise_if_bad()
    assert told.value.step == 9 and float(finite.bad) == 1.0


@pytest.mark.parametrize("loss", [torch.tensor(float("nan")), torch.tensor([1.0, float("inf")])])
def test_a_bad_loss_is_told(loss: torch.Tensor) -> None:
    finite = FiniteCheck("world model", {"model": NAMES}, CPU)
    finite.begin()
    finite.see("model", loss, gradients())
    with pytest.raises(NonFiniteError, match="world model, step 0: the loss is (nan|inf); lower the learning rate"):
        finite.raise_if_bad()


@pytest.mark.parametrize(
    ("loss", "given", "words"),
    [
        (torch.tensor([float("inf"), -float("inf")]), gradients(), "the loss is nan"),
        (torch.tensor(1.0), [torch.full((3, 2), 3e38), torch.zeros(4)], "is not finite|the gradients overflow"),
        (torch.tensor(1.0), [torch.full((3, 2), 1e38), torch.full((4,), 1.2e38)], "the gradients overflow|not finite"),
    ],
)
def test_infinities_that_cancel_and_gradients_too_large_to_be_measured_are_seen(
    loss: torch.Tensor, given: list[torch.Tensor], words: str
) -> None:
    finite = FiniteCheck("here", {"model": NAMES}, CPU)
    finite.begin()
    finite.see("model", loss, given)
    with pytest.raises(NonFiniteError, match=words):
        finite.raise_if_bad()


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


def test_what_a_bad_step_was_given_is_kept_and_named(tmp_path: Path) -> None:
    error = NonFiniteError("agent, step 7: the loss is nan", 7)
    error.batch = {"batch.reward": torch.tensor([1.0, float("nan")]), "noise": torch.zeros(2, 3)}
    with (
        pytest.raises(NonFiniteError, match=r"step 7: the loss is nan; what that step was given is in .*bad_batch"),
        Session.keeping_bad_batches(SimpleNamespace(out=tmp_path)),  # type: ignore[arg-type]
    ):
        raise error
    kept = safetensors.torch.load_file(tmp_path / BAD_BATCH)
    assert kept.keys() == error.batch.keys() and bool(kept["batch.reward"][1].isnan())


def test_a_checkpoint_of_another_version_is_one_line(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)

    class Old:
        def load_state_dict(self, state: dict[str, object]) -> None:
            Adam(list(model.parameters())).load_state_dict(state)

    session = SimpleNamespace(out=tmp_path, saved={"agent": {"fit": {"state": {}, "param_groups": []}}})
    with pytest.raises(UserError, match=r"agent-\* is not of this version of the program, or not of these set"):
        Session.restore(session, "agent", Old())  # type: ignore[arg-type]
    assert Session.restore(session, "world_model", Old()) is None  # type: ignore[arg-type]
