"""The recurrence with a backward of its own is the plain loop, forwards and in exact derivatives."""

import math

import pytest
import torch
from torch import Tensor

from latent_combo.world_model.gaussian import Gaussian
from latent_combo.world_model.recurrence import observe
from latent_combo.world_model.recurrence_weights import RecurrenceWeights
from latent_combo.world_model.rssm import RSSM
from latent_combo.world_model.settings import RSSMConfig

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


def elu(number: float) -> float:
    return number if number > 0.0 else math.exp(number) - 1.0


def sigmoid(number: float) -> float:
    return 1.0 / (1.0 + math.exp(-number))


def of_one_unit() -> RSSM:
    """One unit of each kind, two members, and weights that the sums by hand repeat."""
    model = RSSM(RSSMConfig(deterministic=1, stochastic=1, hidden=1, members=2), 1, 1).double()
    numbers = {
        "latent_in.weight": [0.9],
        "latent_in.bias": [0.2],
        "action_in.weight": [-0.7],
        "cell.weight_ih": [0.5, -0.4, 1.1],
        "cell.weight_hh": [-0.3, 0.6, 0.8],
        "cell.bias_ih": [0.1, 0.3, -0.2],
        "cell.bias_hh": [0.2, -0.1, 0.4],
        "posterior_deterministic.weight": [1.2],
        "posterior_deterministic.bias": [-0.9],
        "posterior_embedding.weight": [0.7],
        "posterior_out.weight": [1.3, -0.6],
        "posterior_out.bias": [0.5, -2.0],
        "prior.weight_in": [1.5, -0.8],
        "prior.bias_in": [-0.3, -0.6],
        "prior.weight_out": [0.7, 0.4, -1.1, 0.9],
        "prior.bias_out": [0.1, -1.0, 0.3, -2.5],
    }
    shapes = {name: part.shape for name, part in model.state_dict().items()}
    model.load_state_dict({name: torch.tensor(row).double().view(shapes[name]) for name, row in numbers.items()})
    return model


def recurred(h: float, z: float, action: float) -> float:
    """The next h of `of_one_unit`."""
    x = elu(0.9 * z - 0.7 * action + 0.2)
    reset = sigmoid(0.5 * x + 0.1 - 0.3 * h + 0.2)
    update = sigmoid(-0.4 * x + 0.3 + 0.6 * h - 0.1)
    new = math.tanh(1.1 * x - 0.2 + reset * (0.8 * h + 0.4))
    return (1.0 - update) * new + update * h


def column(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


def test_two_rows_by_hand_are_sampled_and_go_on_from_their_samples() -> None:
    actions, embeddings, noise = (0.6, -0.9), (-0.4, 1.7), (-1.2, 0.8)
    h, z, expected = 0.4, -1.5, []
    for action, embedding, drawn in zip(actions, embeddings, noise, strict=True):
        h = recurred(h, z, action)
        hidden = elu(1.2 * h + 0.7 * embedding - 0.9)
        mean, std = 1.3 * hidden + 0.5, math.log(1.0 + math.exp(-0.6 * hidden - 2.0)) + 0.1
        z = mean + std * drawn
        expected.append((h, z, mean, std))
    given = [column(*numbers)[None] for numbers in (embeddings, actions, noise)]
    found = ours(of_one_unit(), *given, torch.tensor([[0.4, -1.5]], dtype=torch.float64))
    torch.testing.assert_close(torch.cat(found, -1)[0], torch.tensor(expected, dtype=torch.float64))


def test_an_imagined_step_by_hand() -> None:
    h = recurred(0.4, -1.5, 0.6)
    first, second = elu(1.5 * h - 0.3), elu(-0.8 * h - 0.6)
    means = [0.7 * first + 0.1, -1.1 * second + 0.3]
    stds = [math.log(1.0 + math.exp(raw)) + 0.1 for raw in (0.4 * first - 1.0, 0.9 * second - 2.5)]
    start = torch.tensor([[0.4, -1.5]], dtype=torch.float64).expand(2, -1)
    following, priors = of_one_unit().advance(start, column(0.6, 0.6), torch.tensor([1, 0]), column(0.8, -1.2))
    torch.testing.assert_close(priors.mean[:, 0], column(*means))
    torch.testing.assert_close(priors.std[:, 1], column(*stds))
    torch.testing.assert_close(following[:, :1], column(h, h))
    torch.testing.assert_close(following[:, 1:], column(means[1] + 0.8 * stds[1], means[0] - 1.2 * stds[0]))


@pytest.mark.parametrize("way", ["a sequence", "its steps"])
@pytest.mark.parametrize("path", ["h", "z"])
def test_what_row_0_is_given_is_learnt_from_row_3(path: str, way: str) -> None:
    """Through h alone, and through z alone: the other path is cut by weights of 0."""
    model = make(torch.float64)
    embedding, action, noise, start = inputs(torch.float64)
    with torch.no_grad():
        if path == "h":
            model.latent_in.weight.zero_()
        else:
            model.cell.weight_hh.zero_()
            model.cell.bias_ih[5:10] = -1e3  # the update gate: nothing of the h before is kept
    given = action if path == "h" else embedding  # the embedding has its say through z only

    def row_3() -> Tensor:
        if way == "a sequence":
            h, z, _ = model.observe(embedding, action, noise, start)
            return (h if path == "h" else z)[:, 3].sum()
        feature = start
        for t in range(4):
            now = slice(t, t + 1)
            h, z, _ = model.observe(embedding[:, now], action[:, now], noise[:, now], feature)
            feature = torch.cat([h, z], -1)[:, 0]
        return model.split(feature)[0 if path == "h" else 1].sum()

    given.requires_grad_()
    (found,) = torch.autograd.grad(row_3(), given)
    given.requires_grad_(False)
    by_differences = []
    for change in (1e-5, -1e-5):
        given[0, 0, 1] += change
        by_differences.append(float(row_3().detach()))
        given[0, 0, 1] -= change
    slope = (by_differences[0] - by_differences[1]) / 2e-5
    assert abs(slope) > 1e-6
    assert float(found[0, 0, 1]) == pytest.approx(slope, rel=1e-4)
    assert bool(found[:, 0].all())


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
