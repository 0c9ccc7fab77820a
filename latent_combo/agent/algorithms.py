"""The algorithms: COMBO, and those around it that the same conservative actor-critic is by other settings.

Another algorithm is an `Algorithm` and `register(it)`: from then on `--algorithm` and `Config` know it by its name.
Where its policy is had in a way of its own, or rewards of the model are penalised, an `Extraction` or a `Penalty` comes
with it. tests/toy_algorithm.py is one with both.

Command lines are checked against this table, so that it is plain data, read without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING

from latent_combo.agent.settings import FOLLOWS_VALUES, AgentConfig

if TYPE_CHECKING:
    from latent_combo.agent.extraction import Extraction
    from latent_combo.agent.penalty import Penalty

Setting = str | float | bool


@dataclass(frozen=True)
class Algorithm:
    """What one algorithm sets of the agent. What it leaves open, the anchor of COMBO for one, is the preset's."""

    name: str
    """The word that `--algorithm` has for it."""
    paper: str
    """Whose it is: title, authors, year."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """Values of `AgentConfig` by their names, that of the extraction among them; a run that sets one of them otherwise
    is refused."""
    extraction: "Extraction | None" = None
    """How its policy is had from the critics, where that is a way of its own; None: as `settings` name it, or else by
    eq. 3."""
    penalty: "Penalty | None" = None
    """What it takes from the rewards of the model's steps; None takes nothing."""

    def __post_init__(self) -> None:
        known = {setting.name for setting in fields(AgentConfig)}
        own = (
            self.settings.get("extraction", AgentConfig.extraction) if self.extraction is None else self.extraction.name
        )
        if self.extraction is None and own not in FOLLOWS_VALUES:
            raise ValueError(f"algorithm {self.name} sets extraction {own}, which there is not; give it an Extraction")
        for name in self.settings:
            if name not in known:
                raise ValueError(f"algorithm {self.name} sets {name}, which is no setting of AgentConfig; leave it out")
        if (said := self.settings.get("extraction", own)) != own:
            raise ValueError(f"algorithm {self.name} sets extraction {said}, but has {own}; leave it out of settings")
        object.__setattr__(self, "settings", MappingProxyType({**self.settings, "extraction": own}))


MODEL_FREE: dict[str, Setting] = {"real_ratio": 1.0, "penalty_states": "dataset"}
"""Of algorithms that use the model's features alone, and none of its transitions."""
SOFT: dict[str, Setting] = {"beta": 0.0, "anchor": 0.0, "backup": "sample", "entropy_in_target": True}
"""Soft actor-critic's: no conservatism, and the entropy in the target."""

ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("combo", "COMBO: Conservative Offline Model-Based Policy Optimization (Yu et al., 2021)"),
        Algorithm(
            "cql-mbpo", "CQL's critics on MBPO's batches (Yu et al., 2021, table 8)", {"penalty_states": "dataset"}
        ),
        Algorithm(
            "mbpo",
            "When to Trust Your Model: Model-Based Policy Optimization (Janner et al., 2019)",
            {"rollout_actions": "policy", **SOFT},
        ),
        Algorithm("cql", "Conservative Q-Learning for Offline Reinforcement Learning (Kumar et al., 2020)", MODEL_FREE),
        Algorithm("sac", "Soft Actor-Critic (Haarnoja et al., 2018), offline", {**MODEL_FREE, **SOFT}),
        Algorithm(
            "bc",
            "Behaviour cloning; its critics evaluate the policy and do not train it",
            {"extraction": "imitation", "beta": 0.0, "anchor": 0.0, "entropy_in_target": False, **MODEL_FREE},
        ),
    )
}
"""By the words of `--algorithm`."""


def register(algorithm: Algorithm) -> Algorithm:
    """Make an algorithm known, and its extraction; returns it.

    Raises ValueError where the name is taken, by an algorithm or by another extraction.
    """
    if algorithm.name in ALGORITHMS:
        raise ValueError(f"there is an algorithm {algorithm.name} already; give yours another name")
    if (own := algorithm.extraction) is not None:
        from latent_combo.agent.extraction import (
            EXTRACTIONS,  # here: it needs torch, which such an algorithm has loaded
        )

        if EXTRACTIONS.get(own.name, own) is not own:
            raise ValueError(f"there is an extraction {own.name} already; give yours another name")
        EXTRACTIONS[own.name], FOLLOWS_VALUES[own.name] = own, own.follows_values
    ALGORITHMS[algorithm.name] = algorithm
    return algorithm
