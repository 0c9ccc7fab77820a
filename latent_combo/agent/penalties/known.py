"""The penalties that there are, by the words that algorithms name them by."""

from latent_combo.agent.algorithms import Algorithm
from latent_combo.agent.penalties.lompo import Lompo
from latent_combo.agent.penalties.mobile import Mobile
from latent_combo.agent.penalties.mopo import Mopo
from latent_combo.agent.penalties.morel import Morel
from latent_combo.agent.penalty import Penalty

PENALTIES: dict[str, Penalty] = {"mopo": Mopo(), "lompo": Lompo(), "morel": Morel(), "mobile": Mobile()}


def penalty_of(algorithm: Algorithm) -> Penalty | None:
    """What an algorithm takes from the rewards of the model's transitions; None where it takes nothing."""
    return PENALTIES[algorithm.penalty] if isinstance(algorithm.penalty, str) else algorithm.penalty
