"""The recurrence with a backward of its own is the plain loop, forwards and in exact derivatives."""

import pytest
import torch
from torch import Tensor

from latent_combo.world_model.gaussian import Gaussian
from latent_combo.world_model.recurrence import RecurrenceWeights, observe
from latent_combo.world_model.rssm import RSSM, RSSMConfig

B, L, E, A = 3, 6, 7, 2
CONFIG = RSSMConfig(deterministic=5, stochastic=4, hidden=6, members=2)


def make(dtype: torch.dtype) -> RSSM:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RSSM(CONFIG, E, A).to(dtype)


def inputs(dtype: torch.dtype) -> list[Tensor]:
    """Embeddings, actions, noise and a start that is not zero."""
    g = torch.Generator().manual_seed(1)
    shapes = ((B, L, E), (B, L, A), (B, L, 4), (B, 9))
    return [torch.randn(shape, generator=g, dtype=dtype) for shape in shapes]


def plain(model: RSSM, embedding: Tensor, action: Tensor, noise: Tensor, start: Tensor) -> list[Tensor]:
    """The loop that autograd differentiates, of torch's own modules."""
    h, z = model.split(start)
    rows = []
    for t in range(L):
        x = torch.nn.functional.elu(model.latent_in(z) + model.action_in(action[:, t]))
        h = model.cell(x, h)
        hidden = model.posterior_deterministic(h) + model.posterior_embedding(embedding[:, t])
        mean, raw = model.posterior_out(torch.nn.functional.elu(hidden)).chunk(2, -1)
        std = torch.nn.functional.softplus(raw) + 0.1
        z = mean + std * noise[:, t]
        rows.append((h, z, mean, std))
    return [torch.stack(parts, 1) for parts in zip(*rows, strict=True)]


def ours(model: RSSM, *given: Tensor) -> list[Tensor]:
    h, z, posterior = model.observe(*given)
    assert isinstance(posterior, Gaussian)
    return [h, z, *posterior]


def test_states_are_those_of_the_plain_loop() -> None:
    model, given = make(torch.float64), inputs(torch.float64)
    for one, other in zip(ours(model, *given), plain(model, *given), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_a_sequence_is_its_steps_bit_by_bit() -> None:
    """Of sizes that fill vectors, so that all rows are computed alike wherever they lie."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = RSSM(RSSMConfig(deterministic=32, stochastic=16, hidden=32, members=2), E, A)
    weights, g = model.recurrence_weights(), torch.Generator().manual_seed(3)
    embedding, action, noise = (torch.randn(L, 16, size, generator=g) for size in (32, 32, 16))
    h, z = torch.randn(16, 32, generator=g), torch.randn(16, 16, generator=g)
    whole = observe(embedding, action, noise, h, z, weights)
    for t in range(L):  # as a policy filters what it sees
        now = slice(t, t + 1)
        imagined = model.recur(h, z, action[t])  # as rollouts go on
        step = observe(embedding[now], action[now], noise[now], h, z, weights)
        for one, other in zip(step, whole, strict=True):
            assert torch.equal(one[0], other[t])
        assert torch.equal(imagined, step[0][0])
        h, z = step[0][0], step[1][0]


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_gradients_are_those_of_the_plain_loop(which: int) -> None:
    """Of each output on its own, so that none can hide behind another."""
    model = make(torch.float64)
    given = [part.requires_grad_() for part in inputs(torch.float64)]
    wanted = [*(given[i] for i in (0, 1, 3)), *(p for name, p in model.named_parameters() if "prior" not in name)]
    found = []
    for run in (ours, plain):
        out = run(model, *given)[which]
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        found.append(torch.autograd.grad((out * weight).sum(), wanted, allow_unused=True, materialize_grads=True))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-10)
    assert sum(bool(gradient.any()) for gradient in found[0]) > 8


def test_derivatives_are_exact() -> None:
    g = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64, requires_grad=True)

    length, batch, h, z, u = 3, 2, 4, 3, 5
    weights = RecurrenceWeights(
        draw(u, z), draw(3 * h, u), draw(3 * h, h), draw(3 * h), draw(3 * h), draw(u, h), draw(2 * z, u), draw(2 * z)
    )
    noise = draw(length, batch, z).detach()
    given = (draw(length, batch, u), draw(length, batch, u), draw(batch, h), draw(batch, z), *weights)

    def run(e: Tensor, a: Tensor, h: Tensor, z: Tensor, *w: Tensor) -> tuple[Tensor, ...]:
        return observe(e, a, noise, h, z, RecurrenceWeights(*w))

    assert torch.autograd.gradcheck(run, given)


def test_a_weights_gradient_is_one_product_whatever_the_length() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Products(TorchDispatchMode):
        """Counts matrix products whose result is as large as the GRU's weights."""

        count = 0

        def __torch_dispatch__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
            result = function(*arguments, **(options or {}))
            if "mm" in function.overloadpacket.__name__ and result.shape == (15, 6):
                self.count += 1
            return result

    model = make(torch.float32)
    loss = sum(part.sum() for part in ours(model, *inputs(torch.float32)))
    with Products() as products:
        torch.autograd.grad(loss, list(model.cell.parameters()))  # type: ignore[arg-type]
    assert products.count == 1
