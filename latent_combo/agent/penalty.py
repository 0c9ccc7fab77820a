"""What an algorithm takes from the rewards of imagined steps.

COMBO has no such penalty: its critics are conservative instead. There is room here for MOPO and LOMPO, which subtract
the model's uncertainty from the reward, and for MOReL, which ends an episode where the ensemble's members disagree.

Symbols (docs/symbols.md): N = S n states, K, F, A.
"""

from typing import Protocol

from torch import Tensor

from latent_combo.world_model.base import ModelStep, WorldModel


class Penalty(Protocol):
    """A change of imagined steps before they are stored; it reads nothing of the device, and draws no numbers."""

    def __call__(self, model: WorldModel, feature: Tensor, action: Tensor, step: ModelStep) -> ModelStep:
        """Return `step`, from states `feature` (N, F) by `action` (N, A), with other rewards or terminations (N,).

        What the members disagree in is had by `model.predict_per_member`.
        """
