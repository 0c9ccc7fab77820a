"""The settings of the actor-critic and of its training; plain data, read without torch."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from combo_common.validation import (
    require_at_most,
    require_choices,
    require_not_negative,
    require_positive,
    require_share,
)
from latent_combo.agent.algorithm_settings import BearConfig, MorelConfig
from latent_combo.agent.encoder_settings import PixelEncoderConfig

Rho = Literal["model", "mix", "dataset"]
Mu = Literal["uniform", "policy"]
Backup = Literal["sample", "mode", "smoothed"]
AnchorBy = Literal["size", "spread"]

FOLLOWS_VALUES = {
    "value": True,
    "imitation": False,
    "brac-p": True,
    "brac-v": True,
    "bear": True,
    "deterministic": True,
    "rebrac": True,
    "dreamer": True,
}
"""Extractions by name, and whether the policy climbs the critics' values (eq. 3); `register` adds those of others."""
ANCHORED = {"value", "deterministic", "rebrac"}
"""Extractions whose loss has an anchor."""
TEMPERED = {"value", "dreamer"}
"""Extractions whose loss has an entropy, and so a temperature; `register` adds those of others."""

Numbers = float | list[float]
"""One for all agents of a stack, or one for each."""
PER_AGENT = (
    "beta",
    "real_ratio",
    "penalty_states",
    "rollout_actions",
    "anchor",
    "penalty_weight",
    "behaviour_weight",
    "critic_learning_rate",
    "actor_learning_rate",
    "alpha_learning_rate",
    "initial_seed",
)
"""Settings that may differ from agent to agent of a stack."""


def real_rows(f: float, batch: int) -> int:
    """How many rows of a batch are the dataset's: f * batch, a half to the even number."""
    return round(f * batch)


MOST_LAYERS, MOST_AGENTS = 100, 256
"""Beyond these a setting is a slip, or somebody else's malice: each layer and agent takes time and memory."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the critics and of the policy (B.1: three layers of 256)."""

    hidden: int = 256
    """Units of a layer."""
    layers: int = 3
    """Hidden layers."""
    layer_norm: bool = False
    """Normalise each hidden layer; in critics this bounds how far they extrapolate. Not in the paper."""

    def __post_init__(self) -> None:
        require_positive(self, "hidden", "layers")
        require_at_most(self, MOST_LAYERS, "layers")


@dataclass(frozen=True)
class AgentConfig:
    """Settings of the actor-critic; the defaults are the paper's for images (B.1, B.2)."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Of the critics."""
    actor_network: NetworkConfig = field(default_factory=NetworkConfig)
    """Of the policy."""
    encoder: PixelEncoderConfig = field(default_factory=PixelEncoderConfig)
    """Of the agent itself, for algorithms without a world model."""
    num_agents: int = 1
    """N_a, independent agents trained side by side over one world model. They differ by seed, or by the values of
    settings that are given as lists."""
    beta: Numbers = 1.0
    """Weight of the conservative term (eq. 2), at least 0; a larger one is more conservative. The paper has 0.5 on
    walker-walk medium-replay."""
    real_ratio: Numbers = 0.5
    """f, the share of a batch that comes from the dataset (eq. 2); 1 uses no model data."""
    penalty_states: Rho | list[Rho] = "mix"
    """rho(s) of eq. 2, the states in which values are pushed down: those of "model" rollouts, of the whole batch
    ("mix", d_f), or of the "dataset"."""
    rollout_actions: Mu | list[Mu] = "uniform"
    """mu(a|s) of algorithm 1, the actions of model rollouts: "uniform" or the current "policy"'s."""
    num_sampled_actions: int = 10
    """N, sampled actions for the log-sum-exp, of the uniform and of the current policy each (B.1)."""
    softmax_draws: int = 0
    """k, samples per state that carry the gradient of the log-sum-exp. 0 differentiates all 2N samples. Otherwise
    all are valued, and k that are sampled from their softmax, for each critic its own, are differentiated: the
    gradient has the same mean, at less than half of the work."""
    bfloat16: bool = False
    """Compute the critics of the log-sum-exp in bfloat16 where the processor is faster by it, with sums in float32;
    where all rows of a batch are penalised (penalty_states "mix", no `softmax_draws`), Q(s, a) of eq. 29 as well.
    Targets, eq. 3, last layers and optimisers stay in float32."""
    batch: int = 256
    """B, transitions in an update."""
    gamma: float = 0.99
    """gamma, per agent step."""
    scale_values: bool = False
    """Let the critics' networks predict standardised returns: those to the end of the dataset's episodes have mean 0
    and standard deviation 1. The losses and their minima do not change; fewer updates are needed. Not in the paper."""
    scale_beta: bool = False
    """Let `beta` count in standard deviations of the returns that `scale_values` has, so that it means the same on
    every task: values end beta nu / (1 - gamma) below the returns (proposition 4.1), however large these are. Not in
    the paper, whose values of beta are for false."""
    target_steps: int = 1
    """n of n-step targets on the dataset's transitions. More than 1 propagates rewards faster, and is biased towards
    the behaviour's values. Transitions of the model have 1, as the paper has for all."""
    tau: float = 5e-3
    """Polyak rate of the target critics, per update."""
    critic_learning_rate: Numbers = 3e-4
    """Adam's, for the critics."""
    actor_learning_rate: Numbers = 3e-4
    """Adam's, for the policy."""
    alpha_learning_rate: Numbers = 3e-4
    """Adam's, for the logarithm of the temperature."""
    initial_alpha: float = 0.1
    """Initial temperature; choose it near the expected final value."""
    initial_seed: int | list[int] | None = None
    """Seed of an agent's initial weights: those of a run of that `seed` with one agent. null: the run's seed draws all
    of a stack. Batches, rollouts and noise are drawn by the run's seed, anew for each agent."""
    target_entropy: float | None = None
    """Target entropy of the temperature, in nats; null is -|A|, the negative number of action dimensions."""
    extraction: str = "value"
    """How the policy is trained, by algorithm: "value" (eq. 3), "imitation" (likelihood of the dataset's actions; the
    critics only evaluate it), "brac-p" and "brac-v" (eq. 3 less a divergence from the cloned behaviour), "bear" (within
    its support), "deterministic" (the mode climbs the critics, with an anchor) "rebrac" (the same, and the anchor in
    the targets) or "dreamer" (lambda-returns, through the model)."""
    policy_average: float = 0.0
    """Decay of the moving average of the policy's weights that acts in the environment: 0.998 averages some 500
    updates, 0 acts by the last weights. Not in the paper."""
    anchor: Numbers = 0.0
    """c, weight of eq. 3 against a squared distance to the dataset's actions: the policy's loss is c (loss of eq. 3)
    / D on all rows, D by `anchor_by`, plus |mode - a|^2 on the dataset's (of extraction "deterministic" the mean over
    an action's numbers, as in TD3+BC). Of values above 0 the smaller ones stay closer to the data; 0 is eq. 3 as
    printed. Not in the paper (after Fujimoto & Gu, 2021)."""
    anchor_by: AnchorBy = "size"
    """D of the anchor, by which a batch's values Q at the policy's actions are divided: their "size", mean |Q|, as in
    TD3+BC, which needs values of one sign; or their "spread", the standard deviation from state to state
    (one action drawn in each), which a constant that is added to all values (to all rewards, where episodes have no
    end) leaves as it is."""
    backup: Backup = "sample"
    """The next action in the critics' targets: a "sample" of the policy (eq. 2), its "mode", or the mode "smoothed" by
    noise of 0.2, at most 0.5 (TD3). With an anchor, samples of a wide policy pay for conservatism at every backup
    (docs/notes/pixels.md). Imitation always has the mode."""
    penalty_weight: Numbers = 1.0
    """lambda, weight of what an algorithm takes from the model's rewards, for its uncertainty: of the largest standard
    deviation (mopo), or of the members' disagreement in likelihood (lompo), in the critics' target (mobile) or in the
    next latent's mean (dreamer)."""
    behaviour_weight: Numbers = 1.0
    """Weight of the distance from the behaviour: alpha of the divergence of brac-p and brac-v, beta_2 of rebrac's
    targets."""
    trace_decay: float = 0.95
    """lambda of the lambda-returns of dreamer."""
    morel: MorelConfig = field(default_factory=MorelConfig)
    bear: BearConfig = field(default_factory=BearConfig)
    trajectory_temperature: float | None = None
    """alpha of trajectory weighting (Hong et al., 2023): the dataset's rows are drawn in proportion to exp(R / alpha),
    R the return of a row's episode scaled from 0, the dataset's worst, to 1, its best; for critics, policy and rollouts
    alike, so that what eq. 2 calls D is the data of better behaviour. null takes all rows alike."""
    episode_start_fraction: float = 0.0
    """Share of the dataset's draws, for critics, policy and rollouts alike but not of held-out pairs, that fall on the
    first 25 transitions of episodes, besides the others: in long episodes these are few, and decide where a policy
    gets. Not in the paper."""
    entropy_in_target: bool = False
    """Subtract alpha log pi in the critics' target, as SAC does; CQL does not."""

    def __post_init__(self) -> None:
        self._settle_stack()
        require_at_most(self, MOST_AGENTS, "num_agents")
        require_choices(self)
        if self.extraction not in FOLLOWS_VALUES:
            raise ValueError(f"extraction is {self.extraction!r}; it is one of {', '.join(FOLLOWS_VALUES)}")
        if self.scale_beta and not self.scale_values:
            raise ValueError("scale_beta counts in the units of scale_values; set that to true as well")
        if self.backup != "sample" and self.entropy_in_target:
            raise ValueError('entropy_in_target is of samples; it needs backup "sample"')
        require_positive(self, "num_sampled_actions", "batch", "num_agents", "target_steps", "initial_alpha")
        require_not_negative(self, "softmax_draws")
        require_share(self, "gamma", "tau", "episode_start_fraction", "trace_decay")
        if not 0.0 <= self.policy_average < 1.0:
            raise ValueError(f"policy_average is {self.policy_average}; it is at least 0 and less than 1")
        if self.trajectory_temperature is not None and not self.trajectory_temperature > 0.0:
            raise ValueError(f"trajectory_temperature is {self.trajectory_temperature}; it is more than 0, or null")
        if self.extraction == "bear" and 2 * self.bear.samples > self.num_sampled_actions:
            raise ValueError(
                f"bear.samples is {self.bear.samples}, more than half of num_sampled_actions {self.num_sampled_actions}"
            )
        if self.entropy_in_target and self.extraction not in TEMPERED:
            raise ValueError(
                f'entropy_in_target needs the temperature of extraction "value"; "{self.extraction}" has none'
            )
        if self._lists():
            self.members()  # each is checked by itself
            return
        require_positive(self, "critic_learning_rate", "actor_learning_rate", "alpha_learning_rate")
        require_not_negative(self, "beta", "anchor", "penalty_weight", "behaviour_weight")
        require_not_negative(self, *(["initial_seed"] if self.initial_seed is not None else []))
        assert not isinstance(self.real_ratio, list)
        if self.anchor and self.extraction not in ANCHORED:
            raise ValueError(
                f'anchor is a part of eq. 3, which extraction "{self.extraction}" does not follow; set it to 0'
            )
        if not 0.0 < self.real_ratio <= 1.0:
            raise ValueError(f"real_ratio is {self.real_ratio}; the dataset's share of a batch lies in (0, 1]")
        real = real_rows(self.real_ratio, self.batch)
        if real == self.batch and self.penalty_states == "model":
            raise ValueError(
                f'penalty_states is "model", but real_ratio = {self.real_ratio} leaves no model data in a batch; set '
                'penalty_states to "dataset" or real_ratio lower'
            )
        if real == 0:
            raise ValueError(
                f"real_ratio is {self.real_ratio}, which leaves no data in a batch of {self.batch}; set it higher"
            )

    def _lists(self) -> dict[str, list[Any]]:
        """Settings that have a value for each agent."""
        return {name: value for name in PER_AGENT if isinstance(value := getattr(self, name), list)}

    def _settle_stack(self) -> None:
        """Let the lists say how many agents there are. Raises ValueError where they, or `num_agents`, disagree."""
        lists = self._lists()
        if not lists:
            return
        lengths = {name: len(values) for name, values in lists.items()}
        if empty := [name for name, length in lengths.items() if length == 0]:
            raise ValueError(f"{empty[0]} is an empty list; give it a value for each agent")
        if len(set(lengths.values())) > 1:
            (first, count), *others = lengths.items()
            other, length = next((name, length) for name, length in others if length != count)
            raise ValueError(f"{first} lists {count} agents, but {other} lists {length}; make them alike")
        name, length = next(iter(lengths.items()))
        if self.num_agents not in (1, length):
            raise ValueError(
                f"num_agents is {self.num_agents}, but {name} lists {length} agents; set num_agents to {length}"
            )
        object.__setattr__(self, "num_agents", length)

    def members(self) -> list["AgentConfig"]:
        """The settings of each of S agents, of which none is a list."""
        lists = self._lists()
        return [
            replace(self, num_agents=1, **{name: values[agent] for name, values in lists.items()})
            for agent in range(self.num_agents)
        ]

    def differences(self) -> list[dict[str, Any]]:
        """What each agent has of its own: a value for each setting that is a list."""
        lists = self._lists()
        return [{name: values[agent] for name, values in lists.items()} for agent in range(self.num_agents)]

    def labels(self) -> list[str]:
        """What tells the agents apart: their numbers and what each has of its own, as in `1, beta 0.5, anchor 2.5`."""
        own = (", ".join(f"{name} {value}" for name, value in some.items()) for some in self.differences())
        return [", ".join(filter(None, (str(agent), some))) for agent, some in enumerate(own)]


def one(value: Numbers) -> float:
    """A setting of a single agent."""
    assert not isinstance(value, list)
    return value


@dataclass(frozen=True)
class AgentFitConfig:
    """The schedule of algorithm 1."""

    updates: int = 100_000
    """Updates of the critics and of the policy. The paper's preset for images has 100,000, one round of 3,200
    rollouts every 200 updates: LOMPO's, to whose parameters B.2 refers."""
    warm_up: int = 0
    """Updates at the start in which the policy imitates the dataset's actions (by their likelihood), the targets of
    the dataset's transitions are the rewards to the end of their episodes, and those of the model's bootstrap from
    the policy's mode. The conservative term is as afterwards. Policy and values then start near the behaviour's.
    CQL's published code begins with such a policy; not in the paper."""
    final_learning_rate: float = 1.0
    """Final learning rates as a share of the initial ones, on a cosine; 1 keeps them constant."""
    rollout_length: int = 5
    """h, steps of a rollout (B.2: 5 on images)."""
    rollout_batch_size: int = 3_200
    """States that the rollouts of one round start from."""
    rollout_every: int = 200
    """Updates between rounds of rollouts."""
    model_retain_rounds: int = 5
    """Rounds of rollouts that the model buffer keeps."""
    evaluations: int = 10
    """Evaluations during training, half of them in its last fifth; they do not influence training."""

    def __post_init__(self) -> None:
        require_positive(
            self, "updates", "rollout_length", "rollout_batch_size", "rollout_every", "model_retain_rounds"
        )
        require_not_negative(self, "evaluations", "warm_up")
        require_share(self, "final_learning_rate")
        if self.warm_up and self.warm_up >= self.updates:
            raise ValueError(
                f"warm_up is {self.warm_up} of {self.updates} updates, which leaves none that follow the critics; "
                "set it lower"
            )

    @property
    def buffer_capacity(self) -> int:
        """Transitions that the model buffer holds for each agent."""
        return self.rollout_batch_size * self.rollout_length * self.model_retain_rounds
