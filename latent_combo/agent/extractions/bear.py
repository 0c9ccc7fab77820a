"""BEAR: eq. 3 without entropy, in the support of the cloned behaviour (Kumar et al., 2019).

Symbols (docs/symbols.md): S, B, n samples, A.
"""

from typing import Literal

from torch import Tensor

from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.extraction import ActorCritic, Extraction, squared_distance
from latent_combo.agent.settings import FOLLOWS_VALUES
from latent_combo.agent.tanh_gaussian import TanhGaussian

LEAST_SQUARE = 1e-6
"""Added beneath the root, whose slope at 0 has no bound."""


def mean_discrepancy(x: Tensor, y: Tensor, kernel: Literal["laplacian", "gaussian"], width: float) -> Tensor:
    """Maximum mean discrepancy (...) of samples (..., n, A): `sqrt(E k(x, x') + E k(y, y') - 2 E k(x, y))`.

    With `k(x, y) = exp(-|x - y|_1 / (2 width))`, or of squares. Pairs of a sample with itself are among them.
    """

    def similar(one: Tensor, other: Tensor) -> Tensor:
        apart = one[..., :, None, :] - other[..., None, :, :]
        far = apart.abs().sum(-1) if kernel == "laplacian" else apart.square().sum(-1)
        return (-far / (2.0 * width)).exp().mean((-2, -1))

    square = similar(x, x) + similar(y, y) - 2.0 * similar(x, y)
    return (square.clamp(min=0.0) + LEAST_SQUARE).sqrt()


class Bear(Extraction):
    """The policy's discrepancy from the behaviour is held at a threshold by a Lagrange multiplier.

    BEAR's backup, of the best of ten actions by a mixture of both critics, is not built: the target is eq. 2's.
    """

    name = "bear"
    follows_values = FOLLOWS_VALUES[name]
    has_temperature = False
    clones_behaviour = True
    has_multiplier = True

    def loss(
        self, agent: ActorCritic, batch: Batch, noise: Noise, policy: TanhGaussian | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`E[-min_i Q_i(s, a)] + multiplier (E[MMD(pi, b)] - threshold)`, and its `excess` over the threshold."""
        assert agent.behaviour is not None and agent.log_multiplier is not None
        config = agent.config.bear
        policy = agent.actor(batch.feature) if policy is None else policy

        # Samples before their tanh: of the policy, with gradients, and of the behaviour
        behaviour = agent.behaviour(batch.feature).fixed()
        own, others = noise.policy[:, :, : config.samples], noise.policy[:, :, config.samples : 2 * config.samples]
        raw, of_behaviour = policy.before_tanh(own), behaviour.before_tanh(others)  # (S, B, n, A)
        assert raw.shape == of_behaviour.shape

        away = mean_discrepancy(raw, of_behaviour, config.kernel, config.width)
        value = agent.critic(batch.feature, raw.tanh()).amin(0).mean(-1)
        assert away.shape == value.shape == batch.reward.shape  # (S, B)
        excess = away.mean(-1) - config.threshold
        loss = agent.log_multiplier.detach().exp() * excess - value.mean(-1)
        return loss.sum(), {
            "actor_loss": loss.detach(),
            "entropy": -policy.sample(noise.actor)[1].detach().mean(-1),
            "squared_distance": squared_distance(policy, batch).detach(),
            "behaviour_mmd": away.detach().mean(-1),
            "excess": excess.detach(),
        }


BEAR = Bear()
