"""What every world model offers to the code above it, and the shapes that they share.

Symbols: B batch, L segment length, F feature size, A action size, K ensemble members. An observation is an image
(H, W, 3) uint8 or a vector (S,) float32; nothing above this interface looks at which.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Metrics = dict[str, Tensor]
"""Scalars (or one value per agent) by name; they stay on the device until a log reads them."""


@dataclass(frozen=True)
class Segment:
    """B pieces of L consecutive rows of one episode each, in Dreamer indexing (`action[t]` led to row t)."""

    observation: Tensor
    """(B, L, H, W, 3) uint8 images, or (B, L, S) float32 vectors."""
    action: Tensor
    """(B, L, A) float32 in [-1, 1]."""
    reward: Tensor
    """(B, L) float32."""
    is_first: Tensor
    """(B, L) bool; true at most in the first column."""
    terminal: Tensor
    """(B, L) bool; true where the task, not a time limit, ended the episode."""

    def to(self, device: torch.device) -> "Segment":
        """Return the same segment on `device`, copied asynchronously where the memory allows it."""
        parts = (self.observation, self.action, self.reward, self.is_first, self.terminal)
        return Segment(*(part.to(device, non_blocking=True) for part in parts))


@dataclass(frozen=True)
class Imagined:
    """One imagined step of N latent states."""

    feature: Tensor
    """(N, F) float32: the next latent state."""
    reward: Tensor
    """(N,) float32: the predicted reward of the step."""
    terminal: Tensor
    """(N,) float32 in [0, 1]: probability that the step ended the episode."""


class WorldModel(nn.Module, ABC):
    """A model of observations, rewards and endings, whose latent states are plain feature vectors.

    A feature holds all that is needed to go on from it, so the agent needs nothing else.
    """

    feature_dim: int
    action_dim: int

    @abstractmethod
    def loss(self, segment: Segment, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """Return the scalar training loss of a segment and its parts."""

    @abstractmethod
    def filter_step(
        self, feature: Tensor, observation: Tensor, action: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Update the belief `feature` (N, F) by `action` (N, A) and the `observation` (N, ...) that it led to.

        An episode starts from zeros for both `feature` and `action`. With a generator the latent state is sampled,
        without one it is the mean. Returns (N, F).
        """

    @abstractmethod
    def encode(self, observation: Tensor, action: Tensor, generator: torch.Generator | None) -> Tensor:
        """Filter whole sequences (B, L, ...) from their starts; equals L calls of `filter_step`. Returns (B, L, F)."""

    @abstractmethod
    def imagine_step(self, feature: Tensor, action: Tensor, generator: torch.Generator) -> Imagined:
        """Step N latent states (N, F) by actions (N, A), each through an ensemble member drawn for it alone."""
