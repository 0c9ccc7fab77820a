"""What an algorithm takes from the rewards of the model's transitions.

COMBO has no such penalty: its critics are conservative instead. `agent/penalties` has those of MOPO, LOMPO, MOReL and
MOBILE.

Symbols (docs/symbols.md): N = S n states, S, B, K, F, A.
"""

from torch import Tensor

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Batch
from latent_combo.agent.replay import EncodedDataset
from latent_combo.agent.settings import AgentConfig
from latent_combo.world_model.base import ModelStep, WorldModel


class Penalty:
    """A change of the model's transitions: of imagined steps before they are stored, or of the batches drawn of them.

    It reads nothing of the device, and draws no numbers: what is imagined and drawn stays that of the same run without
    it. What the members of the ensemble disagree in is had by `model.predict_per_member`.
    """

    def prepared(self, model: WorldModel, dataset: EncodedDataset, config: AgentConfig) -> "Penalty":
        """Take from the dataset what the penalty is measured by; called once, before anything is imagined."""
        return self

    def of_step(self, model: WorldModel, feature: Tensor, action: Tensor, step: ModelStep, weight: Tensor) -> ModelStep:
        """Return `step`, from states `feature` (N, F) by `action` (N, A), with other rewards or terminations (N,).

        `weight` (N,) is `agent.penalty_weight` of each state's agent.
        """
        return step

    def of_batch(self, model: WorldModel, agent: ConservativeActorCritic, batch: Batch) -> Batch:
        """Return `batch` with other rewards in the rows of the model."""
        return batch
