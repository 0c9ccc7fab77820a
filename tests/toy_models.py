"""World models small enough to compute by hand, for the tests of what stands on top of one."""

import torch
from torch import Tensor

from latent_combo.world_model.base import MemberPredictions, Metrics, ModelStep, Segment, WorldModel
from latent_combo.world_model.gaussian import Gaussian


class PartialWorldModel(WorldModel):
    """A world model whose every method is refused; a test gives those that it needs."""

    feature_dim, action_dim, members = 1, 1, 1

    def loss(self, segment: Segment, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        raise AssertionError("not fitted here")

    def filter_step(
        self, feature: Tensor, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None
    ) -> Tensor:
        raise AssertionError("not filtered here")

    def encode(self, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None) -> Tensor:
        raise AssertionError("not encoded here")

    def imagine_step(self, feature: Tensor, action: Tensor, generator: torch.Generator) -> ModelStep:
        raise AssertionError("not imagined here")

    def observe(
        self, observation: Tensor, action: Tensor, generator: torch.Generator | None, vector: Tensor | None = None
    ) -> tuple[Tensor, Gaussian | None]:
        raise AssertionError("not observed here")

    def predict_per_member(self, feature: Tensor, action: Tensor) -> MemberPredictions:
        raise AssertionError("not stepped here")

    def decode(self, feature: Tensor) -> Tensor:
        raise AssertionError("not decoded here")


class Drift(PartialWorldModel):
    """Vectors of two numbers that actions push: member k believes in a push of 1 + k / 10, and the truth is 1.

    Its standard deviations are (0.5 + k, 0.25). A state is the observation; its reward is the first number. There is no
    posterior, and an imagined step is the truth.
    """

    feature_dim, action_dim, members = 2, 2, 3

    def observe(
        self, observation: Tensor, action: Tensor, generator: torch.Generator | None, vector: Tensor | None = None
    ) -> tuple[Tensor, Gaussian | None]:
        return observation, None

    def encode(self, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None) -> Tensor:
        return observation

    def predict_per_member(self, feature: Tensor, action: Tensor) -> MemberPredictions:
        push = 1.0 + torch.arange(self.members).float() / 10.0
        following = feature + push[:, None, None] * action
        std = torch.full_like(following, 0.25)
        std[..., 0] = 0.5 + torch.arange(self.members).float()[:, None]
        return MemberPredictions(
            following, following[..., 0], torch.zeros(following.shape[:2]), Gaussian(following, std)
        )

    def filter_step(
        self, feature: Tensor, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None
    ) -> Tensor:
        return observation

    def imagine_step(self, feature: Tensor, action: Tensor, generator: torch.Generator) -> ModelStep:
        following = feature + action
        return ModelStep(following, following[:, 0], torch.zeros(len(feature)))

    def decode(self, feature: Tensor) -> Tensor:
        return feature


def segment_of_states(batch: int, length: int, state_dim: int, action_dim: int, seed: int = 0) -> Segment:
    """Random vectors, actions and rewards, (B, L, ...)."""
    draws = torch.Generator().manual_seed(seed)
    never = torch.zeros(batch, length, dtype=torch.bool)
    return Segment(
        torch.randn(batch, length, state_dim, generator=draws),
        torch.rand(batch, length, action_dim, generator=draws) * 2.0 - 1.0,
        torch.randn(batch, length, generator=draws),
        never,
        never,
    )


def drifting(batch: int = 2, length: int = 8) -> Segment:
    """Episodes of Drift's truth: every action is added to the state, and the reward is its first number."""
    action = torch.rand(batch, length, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    action[:, 0] = 0.0
    observation = action.cumsum(1)
    none = torch.zeros(batch, length, dtype=torch.bool)
    return Segment(observation, action, observation[..., 0].clone(), none, none)
