"""The bounds of the policy's standard deviations, and which layers are normalised."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from latent_combo.agent.networks import Actor, TwinCritic
from latent_combo.agent.settings import NetworkConfig

F, A, STACK = 5, 2, 2
HIDDEN = (8, 16)
"""Units of layers that are multiplied side by side, and of those that go one network after the other on a CPU."""


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def actor(config: NetworkConfig) -> Actor:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Actor(STACK, config, F, A)


def critic(config: NetworkConfig) -> TwinCritic:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TwinCritic(STACK, config, F, A)


def tenfold(parameters: Iterable[Tensor]) -> None:
    """Make a layer's outputs ten times as large, before its nonlinearity."""
    with torch.no_grad():
        for parameter in parameters:
            parameter.mul_(10.0)


def test_log_stds_lie_between_minus_5_and_2_and_reach_both() -> None:
    policies = actor(NetworkConfig(hidden=8, layers=2))
    found = []
    for raw in (-50.0, 0.0, 50.0):
        with torch.no_grad():
            policies.rest.out.weight[..., A:] = 0.0
            policies.rest.out.bias[..., A:] = raw
        found.append(policies(normal(STACK, 3, F)).log_std.detach())
    expected = torch.tensor([-5.0, -1.5, 2.0])[:, None, None, None].expand(3, STACK, 3, A)
    torch.testing.assert_close(torch.stack(found), expected)


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_critics_normalise_every_hidden_layer_if_they_are_told_to(layer: int, layer_norm: bool, hidden: int) -> None:
    critics = critic(NetworkConfig(hidden=hidden, layers=3, layer_norm=layer_norm))
    given = normal(STACK, 6, F), normal(STACK, 6, 4, A).tanh()
    before = critics(*given).detach()
    assert before.shape == (2, STACK, 6, 4) and bool((before.std((2, 3)) > 1e-3).all())
    first = (critics.feature_in.weight, critics.feature_in.bias, critics.action_in)
    tenfold(critics.rest.hidden[layer - 1].parameters() if layer else first)
    after = critics(*given).detach()
    if layer_norm:
        torch.testing.assert_close(after, before, rtol=0.0, atol=2e-3)
    else:
        assert float((after - before).abs().amax((2, 3)).min()) > 0.05


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_policies_normalise_no_layer(layer: int, hidden: int) -> None:
    policies = actor(NetworkConfig(hidden=hidden, layers=3, layer_norm=True))
    plain = actor(NetworkConfig(hidden=hidden, layers=3))
    feature = normal(STACK, 6, F)
    before = policies(feature).loc.detach()
    assert torch.equal(before, plain(feature).loc)
    tenfold((policies.rest.hidden[layer - 1] if layer else policies.first).parameters())
    after = policies(feature).loc.detach()
    assert float((after - before).abs().amax((1, 2)).min()) > 0.05


@pytest.mark.parametrize("hidden", [8, 32])  # side by side, and one after the other
@pytest.mark.parametrize("layers", [1, 3])
def test_networks_of_float64_answer_in_float64(layers: int, hidden: int) -> None:
    config = NetworkConfig(hidden=hidden, layers=layers, layer_norm=True)
    feature, action = torch.randn(2, 3, 5).double(), torch.rand(2, 3, 4, 2).double()
    assert TwinCritic(2, config, 5, 2).double()(feature, action).dtype == torch.float64
    assert Actor(2, config, 5, 2).double()(feature).sample(action[:, :, 0])[1].dtype == torch.float64


@pytest.mark.parametrize("layer_norm", [False, True])
def test_values_by_bfloat16_are_float32s_to_a_hundredth_and_their_gradients_to_a_tenth(layer_norm: bool) -> None:
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    critic = TwinCritic(2, NetworkConfig(hidden=64, layer_norm=layer_norm), 12, 3)
    feature = torch.randn(2, 64, 12, generator=g)
    action = torch.rand(2, 64, 5, 3, generator=g) * 2.0 - 1.0
    gradient = torch.rand(2, 2, 64, 5, generator=g)
    found = []
    for low in (False, True):
        values = critic(feature, action, low)
        assert values.dtype == torch.float32
        found.append((values, *torch.autograd.grad(values, list(critic.parameters()), gradient)))
    for number, (exact, rounded) in enumerate(zip(*found, strict=True)):
        assert rounded.dtype == torch.float32
        assert float((rounded - exact).detach().norm()) < (0.1 if number else 0.01) * float(exact.detach().norm())
    assert not torch.equal(found[0][0], found[1][0])
