"""An algorithm in one file, with an extraction and a penalty of its own: `register(FILTERED)` makes it known."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from torch import Tensor

from latent_combo.agent.algorithms import ALGORITHMS, Algorithm, register
from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.conservative import weighted_mean
from latent_combo.agent.extraction import ActorCritic, Extraction, squared_distance
from latent_combo.agent.extractions.known import EXTRACTIONS
from latent_combo.agent.penalty import Penalty
from latent_combo.agent.settings import FOLLOWS_VALUES
from latent_combo.agent.tanh_gaussian import TanhGaussian
from latent_combo.world_model.base import ModelStep, WorldModel


class FilteredImitation(Extraction):
    """The policy follows those actions of the dataset that the critics prefer to its own."""

    name = "filtered"
    follows_values = False

    def loss(
        self, agent: ActorCritic, batch: Batch, noise: Noise, policy: TanhGaussian | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        policy = agent.actor(batch.feature) if policy is None else policy
        of_data, own = (
            agent.critic(batch.feature, action[:, :, None]).detach().squeeze(-1).amin(0)
            for action in (batch.action, policy.mode)
        )
        better = batch.real * (of_data > own).float()
        loss = -weighted_mean(policy.log_prob(batch.action), better)
        entropy = -policy.sample(noise.actor)[1].detach().mean(-1)
        away = squared_distance(policy, batch).detach()
        return loss.sum(), {"actor_loss": loss.detach(), "entropy": entropy, "squared_distance": away}


@dataclasses.dataclass(frozen=True)
class Disagreement(Penalty):
    """Rewards are lowered by the standard deviation of what the members of the ensemble predict."""

    weight: float

    def of_step(self, model: WorldModel, feature: Tensor, action: Tensor, step: ModelStep, weight: Tensor) -> ModelStep:
        of_members = model.predict_per_member(feature.expand(model.members, *feature.shape), action).reward  # (K, N)
        return dataclasses.replace(step, reward=step.reward - self.weight * of_members.std(0))


FILTERED = Algorithm(
    "filtered-mbpo",
    "A toy of the tests",
    {"beta": 0.0, "penalty_states": "dataset", "anchor": 0.0, "rollout_actions": "policy"},
    FilteredImitation(),
    Disagreement(2.0),
)


@contextmanager
def registered() -> Iterator[Algorithm]:
    """The algorithm among the others."""
    with mock.patch.dict(ALGORITHMS), mock.patch.dict(EXTRACTIONS), mock.patch.dict(FOLLOWS_VALUES):
        yield register(FILTERED)
