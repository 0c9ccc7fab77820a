"""The weights of the filter's recurrence, as its steps take them."""

from typing import NamedTuple

from torch import Tensor


class RecurrenceWeights(NamedTuple):
    """Weights of the recurrence and of the posterior, as `torch.nn.Linear` and `torch.nn.GRUCell` lay them out."""

    latent: Tensor
    """(U, Z): the latent's part of the GRU's input."""
    gru_input: Tensor
    """(3H, U)."""
    gru_hidden: Tensor
    """(3H, H)."""
    gru_input_bias: Tensor
    """(3H,)."""
    gru_hidden_bias: Tensor
    """(3H,)."""
    deterministic: Tensor
    """(U, H): the deterministic state's part of the posterior's hidden layer."""
    out: Tensor
    """(2Z, U): the posterior's mean and its unbounded standard deviation."""
    out_bias: Tensor
    """(2Z,)."""
