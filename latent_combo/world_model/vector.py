"""Vectors that are seen beside images: standardised and embedded for the filter, and predicted from features.

Symbols (docs/symbols.md): N, F; V numbers of the vector.
"""

import torch
from torch import Tensor, nn

from latent_combo.world_model.normaliser import Normaliser


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two hidden layers (ELU) and a linear one."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU(), nn.Linear(hidden, outputs)
    )


class VectorEncoder(nn.Module):
    """Vectors to embeddings, which stand beside those of the images."""

    mean: Tensor
    """(V,): mean of each number over the training episodes."""
    std: Tensor
    """(V,): standard deviation of each number, in whose units vectors are embedded and predicted."""

    def __init__(self, vector_dim: int, hidden: int) -> None:
        super().__init__()
        self.embedding_dim = hidden
        self.register_buffer("mean", torch.zeros(vector_dim))
        self.register_buffer("std", torch.ones(vector_dim))
        self.layers = perceptron(vector_dim, hidden, hidden)

    def set_normaliser(self, normaliser: Normaliser) -> None:
        """Take over the means and standard deviations of the training episodes' vectors."""
        self.mean.copy_(normaliser.observation_mean)
        self.std.copy_(normaliser.observation_std)

    def standardise(self, vector: Tensor) -> Tensor:
        """Vectors (..., V) of the dataset's units to those of mean 0 and standard deviation 1."""
        return (vector - self.mean) / self.std

    def restore(self, standardised: Tensor) -> Tensor:
        """The inverse of `standardise`."""
        return standardised * self.std + self.mean

    def forward(self, standardised: Tensor) -> Tensor:
        """Standardised vectors (..., V) to embeddings (..., embedding_dim)."""
        embedding: Tensor = self.layers(standardised)
        return embedding
