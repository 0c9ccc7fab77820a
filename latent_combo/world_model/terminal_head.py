"""What an ensemble has learned of the states in which episodes end, for tasks of which no rule is known.

Symbols (docs/symbols.md): K, N, S.
"""

import torch
from torch import Tensor
from torch.nn import functional

from latent_combo.world_model.base import OneStepMetrics
from latent_combo.world_model.perceptrons import Perceptrons

IMPROVEMENT = 0.01
"""Share of the base rate's entropy by which a held-out cross-entropy must fall to count as better.

A share of the cross-entropy itself, as of squared errors, would never end a fit: where states tell all, and where no
episode ends, it falls for ever.
"""


class TerminalHead(Perceptrons):
    """K perceptrons, one per member: does a state that was arrived at end the episode? Two hidden layers (swish).

    As the recurrent model's, it reads nothing but the state, as rules do, so that a step ends by the state that was
    drawn; and its probabilities are unweighted. Its layers are its own: what the members predict is the same with it.
    """

    def __init__(self, members: int, state_dim: int, hidden: int) -> None:
        super().__init__(members, (state_dim, hidden, hidden, 1))

    def forward(self, feature: Tensor, members: Tensor | None = None) -> Tensor:
        """Standardised states (K, N, S) to logits (K, N); `members` chooses networks, int64, of any number."""
        return self.apply_layers(feature, members).squeeze(-1)

    def cross_entropy(self, feature: Tensor, terminal: Tensor) -> Tensor:
        """Nats per state, (K,), of states (K, N, S), of which `terminal` (K, N) are."""
        logit = self(feature)
        assert logit.shape == terminal.shape
        loss = functional.binary_cross_entropy_with_logits(logit, terminal.float(), reduction="none")
        return loss.mean(1)


def least_improvement(terminal: Tensor) -> Tensor:
    """Nats () by which the cross-entropy of states, of which `terminal` (N,) are, must fall to count as better.

    The entropy is that of Laplace's estimate (n + 1) / (N + 2), so that it is above 0 where no state is terminal.
    """
    rate = (terminal.sum() + 1.0) / (terminal.numel() + 2.0)
    return IMPROVEMENT * -(torch.xlogy(rate, rate) + torch.xlogy(1.0 - rate, 1.0 - rate))


def terminal_metrics(probability: Tensor, terminal: Tensor) -> OneStepMetrics:
    """How well probabilities (N,) tell the states that are `terminal` (N,) bool.

    The cross-entropy in nats per state; the share of terminal states that are given more than 1/2, and that of all
    others, each left out where there are none. Reads the device.
    """
    exact, said = probability.double(), probability > 0.5
    found: OneStepMetrics = {"terminal_cross_entropy": float(functional.binary_cross_entropy(exact, terminal.double()))}
    for name, states in (("terminal_recall", terminal), ("terminal_false_alarms", ~terminal)):
        if states.any():
            found[name] = float(said[states].double().mean())
    return found
