"""Linear layers by oneDNN give what torch's own give, forwards and backwards."""

import pytest
import torch

from latent_combo.agent.networks import StackedMLP
from latent_combo.agent.settings import NetworkConfig
from latent_combo.numerics import matmul as products
from latent_combo.numerics.flops import count_flops


@pytest.fixture(params=["as here", "oneDNN", "MKL"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whatever this machine's rule says, and both libraries by force."""
    if request.param == "oneDNN" and products.OPERATOR is None:
        pytest.skip("this build of torch has no oneDNN operator")
    if request.param != "as here":
        monkeypatch.setattr(products, "_chosen", request.param.lower())
    return str(request.param)


@pytest.mark.parametrize("shape", [(3, 50, 23, 31), (1, 7, 6, 64), (2, 500, 64, 32), (4, 9, 40, 1)])
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_gradients_are_those_of_the_product(
    library: str, shape: tuple[int, int, int, int], biased: bool
) -> None:
    stack, rows, inputs, outputs = shape
    draws = torch.Generator().manual_seed(0)
    parts = [torch.randn(*size, generator=draws, requires_grad=True) for size in (
        (stack, rows, inputs), (stack, inputs, outputs), (stack, 1, outputs))]  # fmt: skip
    used = parts if biased else parts[:2]
    exact = [part.detach().double().requires_grad_() for part in used]
    ours = products.stacked_linear(*used)
    theirs = exact[0] @ exact[1] + (exact[2] if biased else 0.0)
    torch.testing.assert_close(ours.double(), theirs, atol=1e-4, rtol=1e-5)
    gradient = torch.randn(ours.shape, generator=draws)
    for got, wanted in zip(
        torch.autograd.grad(ours, used, gradient), torch.autograd.grad(theirs, exact, gradient.double()), strict=True
    ):
        torch.testing.assert_close(got.double(), wanted, atol=1e-3, rtol=1e-5)


def test_an_input_shared_by_all_layers_and_layers_without_gradients_will_do(library: str) -> None:
    draws = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(5, 20, generator=draws),
        torch.randn(3, 20, 32, generator=draws),
        torch.zeros(3, 1, 32),
    )
    weight.requires_grad_()
    ours = products.stacked_linear(x.expand(3, -1, -1), weight, bias)
    torch.testing.assert_close(ours, x @ weight, atol=1e-4, rtol=1e-5)
    ours.sum().backward()
    assert weight.grad is not None and weight.grad.shape == weight.shape


def test_operations_are_counted_whichever_library_does_them(library: str) -> None:
    x, weight = torch.randn(2, 10, 8), torch.randn(2, 8, 32, requires_grad=True)
    forwards = 2 * (2 * 10 * 8 * 32)
    assert count_flops(lambda: products.stacked_linear(x, weight)) == forwards
    assert count_flops(lambda: products.stacked_linear(x, weight).sum().backward()) == 2 * forwards


def test_a_product_is_a_product(library: str) -> None:
    a, b = torch.randn(40, 30), torch.randn(30, 20)
    torch.testing.assert_close(products.multiply(a, b), a @ b, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_networks_one_after_the_other_are_those_side_by_side(
    library: str, layer_norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    networks = StackedMLP(3, NetworkConfig(hidden=32, layers=3), 2, layer_norm)
    x, bias = torch.randn(3, 20, 32), torch.randn(3, 1, 32)
    alone = networks.after_first(x, bias)
    monkeypatch.setattr("latent_combo.agent.networks.one_by_one", lambda _: False)
    together = networks.after_first(x, bias)
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)
    weights = list(networks.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(alone.square().sum(), weights),
        torch.autograd.grad(together.square().sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_processors_with_wide_units_are_told_by_their_family() -> None:
    about = "vendor_id\t: AuthenticAMD\ncpu family\t: {}\nmodel\t\t: 17\n"
    assert products.is_wide_amd(about.format(26)) and not products.is_wide_amd(about.format(25))
    assert not products.is_wide_amd(about.format(26).replace("AuthenticAMD", "GenuineIntel"))
    assert not products.is_wide_amd("")


def test_the_library_is_what_was_chosen_and_the_faster_one_is_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_chosen", None)
    products.use_library("onednn")
    assert products.prefers_onednn() == (products.OPERATOR is not None)
    products.use_library("mkl")
    assert not products.prefers_onednn()
    with pytest.raises(ValueError, match="'blas' is no library for products; there are mkl, onednn"):
        products.use_library("blas")
    assert products.fastest_library() in products.LIBRARIES
    products.use_library(None)


@pytest.mark.parametrize(
    ("networks", "rows", "piece"),
    [
        (1, 256, 128),
        (2, 256, None),
        (2, 512, 256),
        (2, 1000, 500),
        (2, 1024, 512),
        (2, 5376, 448),
        (2, 5120, 512),
        (2, 1031, None),
        (16, 5376, 2688),
    ],
)
def test_many_rows_are_cut_into_equal_pieces(networks: int, rows: int, piece: int | None) -> None:
    assert products.rows_of_a_piece(networks, rows) == piece


def test_pieces_sum_to_the_whole() -> None:
    g = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(2, 1344, size, generator=g, dtype=torch.float64) for size in (3, 5))
    torch.testing.assert_close(products.split_product(x, gradient, 448), x.mT @ gradient)


def test_pieces_in_bfloat16_are_summed_in_float32() -> None:
    x, gradient = torch.ones(1, 512, 2, dtype=torch.bfloat16), torch.ones(1, 512, 3, dtype=torch.bfloat16)
    x[:, 256:] *= 1 / 256  # 257 lies between two numbers of bfloat16
    found = products.split_product(x, gradient, 256)
    assert found.dtype == torch.float32 and bool((found == 257.0).all())


def test_a_product_in_bfloat16_rounds_entries_and_ends_of_sums() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1024, 64, generator=g).bfloat16().requires_grad_()
    weight = torch.randn(2, 64, 48, generator=g).requires_grad_()
    out = products.low_product(x, weight)
    assert out.dtype == torch.bfloat16
    gradient = torch.randn(out.shape, generator=g).bfloat16()
    of_x, of_weight = torch.autograd.grad(out, (x, weight), gradient)
    assert of_x.dtype == torch.bfloat16 and of_weight.dtype == torch.float32
    rounded, exact = weight.detach().bfloat16().double(), x.detach().double()
    for found, expected in (
        (out, exact @ rounded),
        (of_x, gradient.double() @ rounded.mT),
        (of_weight, exact.mT @ gradient.double()),
    ):
        torch.testing.assert_close(found.double(), expected, atol=1e-2 * float(expected.std()), rtol=5e-3)
