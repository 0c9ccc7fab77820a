"""What every world model offers to the code above it, and the shapes that they share.

Symbols (docs/symbols.md): B, L, N, F, A, K, Z, S. An observation is an image (H, W, 3) uint8 or a vector (S,) float32;
nothing above this interface looks at which. Beside an image there may be a vector (V,) float32, of which the model is
told wherever it is told of the image.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from latent_combo.numerics.data_parallel import WHOLE, Share
from latent_combo.numerics.flops import count_flops
from latent_combo.world_model.gaussian import Gaussian
from latent_combo.world_model.normaliser import Normaliser

OneStepMetrics = dict[str, float | list[float]]
"""Figures of how well a model does on held-out transitions."""
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
    vector: Tensor | None = None
    """(B, L, V) float32: what is seen beside images; None where nothing is."""

    def tensors(self) -> dict[str, Tensor]:
        """The parts that there are, by their names."""
        return {name: part for name, part in vars(self).items() if part is not None}

    def first(self, count: int) -> "Segment":
        """The first `count` of the B pieces."""
        return Segment(**{name: part[:count] for name, part in self.tensors().items()})

    def to(self, device: torch.device) -> "Segment":
        """Return the same segment on `device`, copied asynchronously where the memory allows it."""
        return Segment(**{name: part.to(device, non_blocking=True) for name, part in self.tensors().items()})

    def rows(self, rows: slice) -> "Segment":
        """Some of the L rows of all pieces."""
        return Segment(**{name: part[:, rows] for name, part in self.tensors().items()})


@dataclass(frozen=True)
class ModelStep:
    """One imagined step of N latent states."""

    feature: Tensor
    """(N, F) float32: the next latent state."""
    reward: Tensor
    """(N,) float32: the predicted reward of the step."""
    terminal: Tensor
    """(N,) float32 in [0, 1]: probability that the step ended the episode."""


@dataclass(frozen=True)
class MemberPredictions:
    """One step of N states by each of K members, from the member's own state and by the mean of its prediction."""

    feature: Tensor
    """(K, N, F) float32."""
    reward: Tensor
    """(K, N) float32."""
    terminal: Tensor
    """(K, N) float32 in [0, 1]."""
    prior: Gaussian
    """(K, N, Z): what each member predicts of the next state, before anything of it is seen; of the last Z numbers of a
    feature."""
    change_std: Tensor | None = None
    """(K, N, D): learned standard deviations of the change of the state and of the reward, in the dataset's units; None
    for models that predict latents."""


class Filter(Protocol):
    """What acting takes of a world model, or of whatever else remembers what an episode has shown so far."""

    action_dim: int
    noise_dim: int
    """Normal numbers that a step of the filter takes to sample; 0 where nothing is sampled."""

    def initial(self, batch: int, device: torch.device) -> Tensor:
        """What is believed (N, ...) before an episode."""

    def filter_step(
        self, feature: Tensor, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None
    ) -> Tensor:
        """See `WorldModel.filter_step`."""


class WorldModel(nn.Module, ABC):
    """A model of observations, rewards and endings, whose latent states are plain feature vectors.

    A feature holds all that is needed to go on from it, so the agent needs nothing else.
    """

    feature_dim: int
    action_dim: int
    members: int
    """K, forward models of the ensemble that predictions are made with."""
    noise_dim: int = 0
    """Normal numbers that a step of the filter takes to sample its latent state; 0 where nothing is sampled."""

    @abstractmethod
    def loss(self, segment: Segment, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """Return the scalar training loss of a segment and its parts."""

    def initial(self, batch: int, device: torch.device) -> Tensor:
        """The feature (N, F) before an episode: zeros."""
        return torch.zeros(batch, self.feature_dim, device=device)

    @abstractmethod
    def filter_step(
        self, feature: Tensor, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None
    ) -> Tensor:
        """Update the belief `feature` (N, F) by `action` (N, A) and the `observation` (N, ...) that it led to.

        An episode starts from `initial`, and from zeros for `action`. With standard normal `noise` (N, `noise_dim`) the
        latent state is sampled, without it is the mean. `vector` (N, V) is what is seen beside images. Returns (N, F).
        """

    @abstractmethod
    def encode(self, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None) -> Tensor:
        """Filter whole sequences (B, L, ...) from their starts; equals L calls of `filter_step`. Returns (B, L, F).

        With standard normal `noise` (B, L, `noise_dim`) latent states are sampled, without it they are means.
        """

    @abstractmethod
    def imagine_step(self, feature: Tensor, action: Tensor, generator: torch.Generator) -> ModelStep:
        """Step N latent states (N, F) by actions (N, A), each through an ensemble member drawn for it alone."""

    @abstractmethod
    def observe(
        self, observation: Tensor, action: Tensor, generator: torch.Generator | None, vector: Tensor | None = None
    ) -> tuple[Tensor, Gaussian | None]:
        """`encode`, and the posteriors (B, L, Z) that it took; None for a model whose states are the observations.

        The `generator` draws the noise; without it latent states are means.
        """

    @abstractmethod
    def predict_per_member(self, feature: Tensor, action: Tensor) -> MemberPredictions:
        """Step each of K members from its own states (K, N, F), under actions (N, A) that all of them share."""

    def member_priors(self, feature: Tensor, action: Tensor) -> Gaussian:
        """Each of K members' prior (K, N, Z) of the next latent, from states (N, F) and actions (N, A) of them all."""
        return self.predict_per_member(feature.expand(self.members, *feature.shape), action).prior

    @abstractmethod
    def decode(self, feature: Tensor) -> Tensor:
        """Features (N, F) to the observations that they stand for (N, ...), of the dataset's kind and units."""

    def decode_vector(self, feature: Tensor) -> Tensor | None:
        """Features (N, F) to the vectors beside the images (N, V), in the dataset's units; None for a model of none."""
        return None

    def set_normaliser(self, scales: Callable[[], Normaliser]) -> None:
        """Take the units of a dataset's training episodes, for a model that works in such; called before the fit."""

    def set_reward_std(self, std: float) -> None:
        """Take the standard deviation of the training episodes' rewards, for a model that counts in such; see above."""

    def set_share(self, share: Share) -> None:
        """Compute losses of a process's own rows of a batch, for a model that several processes can fit."""
        assert share == WHOLE, "this model is fitted by one process"

    def validate(self, validation: Segment, patience: int) -> bool:
        """Validate on held-out transitions while being fitted; returns whether to stop.

        A model that chooses by them keeps its best weights; it stops after `patience` validations without better ones,
        and goes on for all steps where that is 0.
        """
        return False

    def operations(self, segment: Segment, generator: torch.Generator) -> float:
        """Floating-point operations that the loss of a segment and its gradients need, those of products alone."""
        operations = count_flops(lambda: self.loss(segment, generator)[0].backward())
        self.zero_grad(set_to_none=True)
        return float(operations)

    def restore_best(self) -> None:
        """End the fit: take the weights that validated best."""

    def one_step_metrics(self, transitions: Callable[[], Segment]) -> OneStepMetrics:
        """Figures of one step ahead on held-out transitions (B, 2, ...), for a model that is fitted to single steps."""
        return {}
