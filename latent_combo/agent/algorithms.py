"""The algorithms: COMBO, and those around it that the same conservative actor-critic is by other settings.

Another algorithm is an `Algorithm` and `register(it)`: from then on `--algorithm` and `Config` know it by its name.
Where its policy is had in a way of its own, or rewards of the model are penalised, an `Extraction` or a `Penalty` comes
with it. tests/toy_algorithm.py is one with both. Those of the table are named by their words in
agent/extractions/known.py and agent/penalties/known.py.

Command lines are checked against this table, so that it is plain data, read without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from latent_combo.agent.settings import ANCHORED, FOLLOWS_VALUES, TEMPERED, AgentConfig

if TYPE_CHECKING:
    from latent_combo.agent.extraction import Extraction
    from latent_combo.agent.penalty import Penalty

Setting = str | float | bool | None
WEIGHED = {
    "penalty_weight": ("mopo", "lompo", "mobile", "dreamer"),
    "behaviour_weight": ("brac-p", "brac-v", "rebrac"),
}
"""The penalties and extractions that have a weight, by the setting that it is; those of others may have any."""
PENALTY_WORDS = ("mopo", "lompo", "morel", "mobile")
"""The penalties of agent/penalties/known.py, which needs torch."""

NO_ANCHOR: dict[str, Setting] = {"anchor": 0.0}
"""Of policies whose loss has none: a preset's anchor is not theirs."""


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
    penalty: "Penalty | str | None" = None
    """What it takes from the rewards of the model's steps, itself or by its word; None takes nothing."""
    defaults: Mapping[str, Setting] = field(default_factory=dict)
    """Values of `AgentConfig`, by dotted names, that a run may set otherwise: weights, where an algorithm has its own
    usual ones. They lie above a preset's."""
    obs: Literal["pixels", "state"] | None = None
    """The observations that it is for; None: both."""
    instead: str = ""
    """The algorithm that is its counterpart for the other observations."""
    has_world_model: bool = True
    """Whether it learns in the latents of a world model; otherwise it sees stacked frames, by an encoder of its own."""

    def __post_init__(self) -> None:
        known = {setting.name for setting in fields(AgentConfig)}
        own = (
            self.settings.get("extraction", AgentConfig.extraction) if self.extraction is None else self.extraction.name
        )
        if self.extraction is None and own not in FOLLOWS_VALUES:
            raise ValueError(f"algorithm {self.name} sets extraction {own}, which there is not; give it an Extraction")
        if isinstance(self.penalty, str) and self.penalty not in PENALTY_WORDS:
            words = ", ".join(PENALTY_WORDS)
            raise ValueError(f"algorithm {self.name} has penalty {self.penalty!r}; it is a Penalty or one of {words}")
        for name in (*self.settings, *self.defaults):
            if name.partition(".")[0] not in known:
                raise ValueError(f"algorithm {self.name} sets {name}, which is no setting of AgentConfig; leave it out")
        if (said := self.settings.get("extraction", own)) != own:
            raise ValueError(f"algorithm {self.name} sets extraction {said}, but has {own}; leave it out of settings")
        if not self.has_world_model and (self.obs != "pixels" or self.penalty is not None):
            raise ValueError(f"algorithm {self.name} has no world model; give it obs pixels and no penalty")
        object.__setattr__(self, "settings", MappingProxyType({**self.settings, "extraction": own}))
        anchored = own in ANCHORED if self.extraction is None else self.extraction.follows_values
        unanchored = {} if anchored else NO_ANCHOR
        object.__setattr__(self, "defaults", MappingProxyType({**unanchored, **self.defaults}))

    def lacks(self, weight: str) -> bool:
        """Whether nothing of it has that weight of `WEIGHED`."""
        own = self.extraction is not None or not isinstance(self.penalty, str | None)
        return not own and not {self.penalty, self.settings["extraction"]} & {*WEIGHED[weight]}

    def unfit_for(self, obs: str) -> str | None:
        """Why it makes no sense for these observations, with the one to use; None where it does."""
        if self.obs in (obs, None):
            return None
        seen = "images" if self.obs == "pixels" else "states"
        return f"{self.name} is for {seen}; for {'states' if obs == 'state' else 'images'} use {self.instead}"


MODEL_FREE: dict[str, Setting] = {"real_ratio": 1.0, "penalty_states": "dataset"}
"""Of algorithms that use the model's features alone, and none of its transitions."""
NO_ENTROPY: dict[str, Setting] = {"beta": 0.0, "anchor": 0.0, "backup": "sample", "entropy_in_target": False}
"""Of policies that are regularised towards the behaviour and not towards entropy."""
SOFT: dict[str, Setting] = {"beta": 0.0, "anchor": 0.0, "backup": "sample", "entropy_in_target": True}
"""Soft actor-critic's: no conservatism, and the entropy in the target."""
MODEL_BASED: dict[str, Setting] = {"rollout_actions": "policy", **SOFT}
"""MBPO's: soft actor-critic on rollouts of the policy."""
SMOOTHED: dict[str, Setting] = {"beta": 0.0, "backup": "smoothed", "entropy_in_target": False}
"""TD3's targets."""
BY_SIZE: dict[str, Setting] = {"anchor_by": "size"}
"""The anchor by mean |Q|, as published."""

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
            MODEL_BASED,
        ),
        Algorithm("cql", "Conservative Q-Learning for Offline Reinforcement Learning (Kumar et al., 2020)", MODEL_FREE),
        Algorithm("sac", "Soft Actor-Critic (Haarnoja et al., 2018), offline", {**MODEL_FREE, **SOFT}),
        Algorithm(
            "bc",
            "Behaviour cloning; its critics evaluate the policy and do not train it",
            {"extraction": "imitation", "beta": 0.0, "anchor": 0.0, "entropy_in_target": False, **MODEL_FREE},
        ),
        Algorithm(
            "mopo",
            "MOPO: Model-Based Offline Policy Optimization (Yu et al., 2020)",
            MODEL_BASED,
            penalty="mopo",
            obs="state",
            instead="lompo",
        ),
        Algorithm(
            "lompo",
            "Offline Reinforcement Learning from Images with Latent Space Models (Rafailov et al., 2021)",
            MODEL_BASED,
            defaults={"penalty_weight": 5.0},
            penalty="lompo",
            obs="pixels",
            instead="mopo",
        ),
        Algorithm(
            "morel",
            "MOReL: Model-Based Offline Reinforcement Learning (Kidambi et al., 2020), its pessimistic MDP",
            MODEL_BASED,
            penalty="morel",
            obs="state",
            instead="lompo",
        ),
        Algorithm(
            "mobile",
            "Model-Bellman Inconsistency for Model-Based Offline Reinforcement Learning (Sun et al., 2023)",
            MODEL_BASED,
            penalty="mobile",
        ),
        Algorithm(
            "dreamer",
            "Offline DreamerV2 (Lu et al., 2022, Challenges and Opportunities in Offline RL from Visual Observations)",
            {"extraction": "dreamer", "rollout_actions": "policy", **NO_ENTROPY},
            defaults={"penalty_weight": 10.0},
        ),
        Algorithm(
            "bear",
            "Stabilizing Off-Policy Q-Learning via Bootstrapping Error Reduction (Kumar et al., 2019)",
            {"extraction": "bear", **MODEL_FREE, **NO_ENTROPY},
            defaults={"num_sampled_actions": 10},
        ),
        Algorithm(
            "brac-p",
            "Behavior Regularized Offline Reinforcement Learning (Wu et al., 2019), policy regularisation",
            {"extraction": "brac-p", **MODEL_FREE, **NO_ENTROPY},
        ),
        Algorithm(
            "brac-v",
            "Behavior Regularized Offline Reinforcement Learning (Wu et al., 2019), value penalty",
            {"extraction": "brac-v", **MODEL_FREE, **NO_ENTROPY},
        ),
        Algorithm(
            "td3-bc",
            "A Minimalist Approach to Offline Reinforcement Learning (Fujimoto & Gu, 2021)",
            {"extraction": "deterministic", **MODEL_FREE, **SMOOTHED},
            defaults={"anchor": 2.5, **BY_SIZE},
        ),
        Algorithm(
            "rebrac",
            "Revisiting the Minimalist Approach to Offline Reinforcement Learning (Tarasov et al., 2023)",
            {"extraction": "rebrac", **MODEL_FREE, **SMOOTHED},
            defaults={"anchor": 100.0, "behaviour_weight": 0.01, **BY_SIZE},
        ),
        Algorithm(
            "cql-pixels",
            "CQL (Kumar et al., 2020) with an encoder of its own, as in COMBO's table 2 (Yu et al., 2021)",
            MODEL_FREE,
            obs="pixels",
            instead="cql",
            has_world_model=False,
        ),
        Algorithm(
            "drq-bc",
            "DrQ-v2 (Yarats et al., 2022) and a squared distance to the data (Fujimoto & Gu, 2021; Lu et al., 2022)",
            {"beta": 0.0, "entropy_in_target": False, **MODEL_FREE},
            defaults={"anchor": 2.5, "target_steps": 3, "encoder.random_shift": None, **BY_SIZE},
            obs="pixels",
            instead="td3-bc",
            has_world_model=False,
        ),
    )
}
"""By the words of `--algorithm`."""


def has_world_model(name: str) -> bool:
    """Whether the algorithm of that name learns in the latents of a world model; so does one that is not known here."""
    known = ALGORITHMS.get(name)
    return known is None or known.has_world_model


def register(algorithm: Algorithm) -> Algorithm:
    """Make an algorithm known, and its extraction; returns it.

    Raises ValueError where the name is taken, by an algorithm or by another extraction.
    """
    if algorithm.name in ALGORITHMS:
        raise ValueError(f"there is an algorithm {algorithm.name} already; give yours another name")
    if (own := algorithm.extraction) is not None:
        from latent_combo.agent.extractions.known import (
            EXTRACTIONS,
        )  # here: it needs torch, which such an algorithm has

        if EXTRACTIONS.get(own.name, own) is not own:
            raise ValueError(f"there is an extraction {own.name} already; give yours another name")
        EXTRACTIONS[own.name], FOLLOWS_VALUES[own.name] = own, own.follows_values
        if own.follows_values:
            ANCHORED.add(own.name)
        if own.tempered:
            TEMPERED.add(own.name)
    ALGORITHMS[algorithm.name] = algorithm
    return algorithm
