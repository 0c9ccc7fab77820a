"""The conservative actor-critic: COMBO and, by its settings, the algorithms around it.

Symbols: S agents in a stack, B rows of a batch, N actions per state, F feature size, A action size.
"""

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from latent_combo.agent.conservative import conservative_gap, log_sum_exp, softmax_shares, weighted_mean
from latent_combo.agent.networks import Actor, NetworkConfig, TwinCritic
from latent_combo.agent.optimise import StackedAdam
from latent_combo.run.guard import check_finite
from latent_combo.run.ranges import require_not_negative, require_positive, require_share

RHO = ("model", "mix", "dataset")
MU = ("uniform", "policy")
EXTRACTION = ("value", "advantage")
MAX_ADVANTAGE_WEIGHT = 20.0
"""Of one pair, where the mean is 1."""


def real_rows(f: float, batch: int) -> int:
    """How many rows of a batch are the dataset's."""
    return round(f * batch)


@dataclass(frozen=True)
class AgentConfig:
    """Settings of the actor-critic; the defaults are the paper's for images (B.1, B.2)."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Of the critics."""
    actor_network: NetworkConfig = field(default_factory=NetworkConfig)
    """Of the policy."""
    stack: int = 1
    """S, independent agents (seeds) trained side by side over one world model."""
    beta: float = 1.0
    """Weight of the conservative term (eq. 2); the paper has 0.5 on walker-walk medium-replay."""
    f: float = 0.5
    """Share of a batch that comes from the dataset; 1 uses no model data."""
    rho: str = "mix"
    """Whose states are pushed down: those of "model" rollouts, of the whole batch ("mix", d_f), of the "dataset"."""
    mu: str = "uniform"
    """Actions of model rollouts: "uniform" or the current "policy"'s."""
    actions: int = 10
    """N, sampled actions for the log-sum-exp, of the uniform and of the current policy each (B.1)."""
    softmax_draws: int = 0
    """k, samples a state that carry the gradient of the log-sum-exp, which is the mean of their gradients under its
    softmax: all 2N are valued, and k of them drawn by that softmax are differentiated, for each critic its own. The
    gradient's mean is the same, and an update needs less than half of the work. 0 differentiates all."""
    batch: int = 256
    """B, transitions in an update."""
    discount: float = 0.99
    """gamma, per agent step."""
    scale_values: bool = False
    """Let the critics' networks predict values in units of the dataset's returns: those to the end of its episodes have
    mean 0 and standard deviation 1 there. Losses, and what they are minimal at, are the same; networks of unit outputs
    get there in fewer updates. Not in the paper."""
    target_steps: int = 1
    """n, rewards of the dataset that a target sums before it bootstraps; more than 1 leans towards the behaviour's
    values, and carries them n times as fast. Model data has 1, as the paper has for all."""
    target_rate: float = 5e-3
    """tau, share of the critics that the target critics take over at each update."""
    critic_learning_rate: float = 3e-4
    """Adam's, for the critics."""
    actor_learning_rate: float = 3e-4
    """Adam's, for the policy."""
    alpha_learning_rate: float = 3e-4
    """Adam's, for the logarithm of the temperature."""
    initial_alpha: float = 0.1
    """The temperature's start: near the size that it will have."""
    target_entropy_per_action: float = -1.0
    """Nats per action dimension that the temperature is tuned to."""
    extraction: str = "value"
    """How the policy follows the critics: by their "value" at its own actions (eq. 3), or by the "advantage" of the
    dataset's, E_D[exp(A / temperature) log pi(a|s)] (Peng et al., 2019; Nair et al., 2020), which needs far fewer
    updates; not in the paper."""
    advantage_steps: int = 1
    """n, rewards of the dataset in an advantage: `sum_k<n gamma^k r + gamma^n V(s_n) - V(s)`. One or a few weigh single
    actions; the length of an episode weighs all that the behaviour did from there on."""
    advantage_temperature: float = 0.5
    """Temperature of "advantage", in standard deviations of the advantages."""
    advantage_pool: int = 512
    """R, pairs of the dataset whose advantages are compared in an update; a batch is drawn of them by weight."""
    trajectory_temperature: float | None = None
    """alpha of trajectory weighting (Hong et al., 2023): those pairs are drawn in proportion to exp(R / alpha), R the
    return of a pair's episode scaled from 0, the dataset's worst, to 1, its best. None takes all pairs alike."""
    entropy_in_target: bool = False
    """Subtract alpha log pi in the critics' target, as SAC does; CQL does not."""

    def __post_init__(self) -> None:
        if self.rho not in RHO:
            raise ValueError(f"rho is {self.rho!r}; it is one of {', '.join(RHO)}")
        if self.mu not in MU:
            raise ValueError(f"mu is {self.mu!r}; it is one of {', '.join(MU)}")
        if self.extraction not in EXTRACTION:
            raise ValueError(f"extraction is {self.extraction!r}; it is one of {', '.join(EXTRACTION)}")
        require_positive(self, "actions", "batch", "stack", "target_steps", "advantage_steps", "advantage_temperature")
        require_positive(self, "initial_alpha", "critic_learning_rate", "actor_learning_rate", "alpha_learning_rate")
        require_not_negative(self, "beta", "softmax_draws")
        require_share(self, "discount", "target_rate")
        if self.trajectory_temperature is not None and not self.trajectory_temperature > 0.0:
            raise ValueError(f"trajectory_temperature is {self.trajectory_temperature}; it is more than 0, or null")
        if self.extraction == "advantage" and self.advantage_pool < 2:
            raise ValueError(f"advantage_pool is {self.advantage_pool}; advantages are compared over 2 pairs or more")
        if self.extraction == "advantage" and self.entropy_in_target:
            raise ValueError('entropy_in_target needs the temperature of extraction "value"; "advantage" has none')
        if not 0.0 < self.f <= 1.0:
            raise ValueError(f"f is {self.f}; the dataset's share of a batch lies in (0, 1]")
        real = real_rows(self.f, self.batch)
        if real == self.batch and self.rho == "model":
            raise ValueError(
                f'rho is "model", but f = {self.f} leaves no model data in a batch; set rho to "dataset" or f lower'
            )
        if real == 0:
            raise ValueError(f"f is {self.f}, which leaves no data in a batch of {self.batch}; set it higher")


PER_AGENT = ("beta", "f", "rho", "mu", "critic_learning_rate", "actor_learning_rate", "alpha_learning_rate")
"""Settings that may differ from agent to agent of a stack."""


@dataclass(frozen=True)
class AgentSettings:
    """What may differ from agent to agent of a stack; each a tensor (S,)."""

    beta: Tensor
    f: Tensor
    rho_model: Tensor
    """Weight, 0 or 1, of the model's states in rho(s)."""
    rho_real: Tensor
    """Weight, 0 or 1, of the dataset's states in rho(s)."""
    mu_uniform: Tensor
    """bool; rollouts take uniform actions, else the policy's."""
    critic_learning_rate: Tensor
    actor_learning_rate: Tensor
    alpha_learning_rate: Tensor

    @classmethod
    def stacked(cls, configs: list[AgentConfig], device: torch.device) -> "AgentSettings":
        """Collect the settings of S configs. Raises ValueError where they differ in anything else."""
        own = {name: getattr(configs[0], name) for name in PER_AGENT}
        for config in configs:
            if replace(config, **own) != configs[0]:
                raise ValueError(f"agents of a stack differ in {', '.join(PER_AGENT)} only")

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, device=device)

        return cls(
            beta=column([c.beta for c in configs]),
            f=column([c.f for c in configs]),
            rho_model=column([float(c.rho in ("model", "mix")) for c in configs]),
            rho_real=column([float(c.rho in ("dataset", "mix")) for c in configs]),
            mu_uniform=torch.tensor([c.mu == "uniform" for c in configs], device=device),
            critic_learning_rate=column([c.critic_learning_rate for c in configs]),
            actor_learning_rate=column([c.actor_learning_rate for c in configs]),
            alpha_learning_rate=column([c.alpha_learning_rate for c in configs]),
        )


@dataclass(frozen=True)
class Batch:
    """Transitions for each agent of a stack; those of the dataset come first."""

    feature: Tensor
    """(S, B, F)."""
    action: Tensor
    """(S, B, A)."""
    reward: Tensor
    """(S, B); the discounted sum of n rewards in n-step targets."""
    next_feature: Tensor
    """(S, B, F): the state that the target continues from."""
    discount: Tensor
    """(S, B): gamma, gamma^n in n-step targets, 0 where the episode ended for good."""
    real: Tensor
    """(S, B) float32, 1 for rows of the dataset and 0 for rows of the model."""


@dataclass(frozen=True)
class Pool:
    """Pairs of the dataset for each agent, from which the extraction "advantage" chooses."""

    feature: Tensor
    """(S, R, F)."""
    action: Tensor
    """(S, R, A)."""
    reward: Tensor
    """(S, R): discounted sum of the n rewards that followed."""
    next_feature: Tensor
    """(S, R, F): the state n steps on."""
    discount: Tensor
    """(S, R): of its value."""


@dataclass(frozen=True)
class Noise:
    """All random numbers of one update, so that an agent in a stack can be given those of the same agent alone."""

    uniform: Tensor
    """(S, B, N, A) uniform in [-1, 1]."""
    policy: Tensor
    """(S, B, N, A) standard normal, as are the others."""
    following: Tensor
    """(S, B, A)."""
    actor: Tensor
    """(S, B, A)."""
    choice: Tensor
    """(S, B) uniform in [0, 1)."""
    softmax: Tensor
    """(S, B, 2k) uniform in [0, 1): the k `softmax_draws` of both critics."""

    @classmethod
    def draw(cls, stack: int, config: AgentConfig, action_dim: int, generator: torch.Generator) -> "Noise":
        """Draw for one update, on the generator's device."""
        many = (stack, config.batch, config.actions, action_dim)
        one = (stack, config.batch, action_dim)
        device = generator.device
        return cls(
            uniform=torch.rand(many, generator=generator, device=device) * 2.0 - 1.0,
            policy=torch.randn(many, generator=generator, device=device),
            following=torch.randn(one, generator=generator, device=device),
            actor=torch.randn(one, generator=generator, device=device),
            choice=torch.rand(one[:-1], generator=generator, device=device),
            softmax=torch.rand((*one[:-1], 2 * config.softmax_draws), generator=generator, device=device),
        )


def advantage_weights(advantage: Tensor, temperature: float) -> Tensor:
    """exp(A / (temperature * std A)) over (S, R), scaled to mean 1 and then bounded."""
    scaled = advantage / (advantage.std(-1, keepdim=True) + 1e-6) / temperature
    log_mean = scaled.logsumexp(-1, keepdim=True) - math.log(scaled.shape[-1])
    return (scaled - log_mean).exp().clamp(max=MAX_ADVANTAGE_WEIGHT)


def draw_by_weight(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """Indices (..., B) drawn by weight: from cumulative weights (..., R) and uniform numbers (..., B) in [0, 1)."""
    chosen = torch.searchsorted(cumulative, uniform * cumulative[..., -1:], right=True)
    return chosen.clamp(max=cumulative.shape[-1] - 1)


def pushed_rows(configs: list[AgentConfig]) -> slice:
    """The rows of a batch whose states have a weight in rho(s) for any of S agents; a batch's real rows come first.

    Actions are sampled and valued for these states alone: of a mixed batch, and rho that of the model or of the dataset
    only, that is half of the work; without conservatism it is none.
    """
    if not any(config.beta for config in configs):
        return slice(0, 0)
    ends = [real_rows(config.f, config.batch) for config in configs]
    first = min(end if config.rho == "model" else 0 for config, end in zip(configs, ends, strict=True))
    last = max(end if config.rho == "dataset" else config.batch for config, end in zip(configs, ends, strict=True))
    return slice(first, last)


class ConservativeActorCritic(nn.Module):
    """S conservative actor-critics over features (eq. 2 and 3).

    With beta = 0, f = 1 and the entropy in the target it is soft actor-critic.
    """

    log_alpha: Tensor

    def __init__(self, configs: list[AgentConfig], feature_dim: int, action_dim: int, device: torch.device) -> None:
        super().__init__()
        self.config = config = configs[0]
        self.stack, self.action_dim = len(configs), action_dim
        self.settings = AgentSettings.stacked(configs, device)
        self.pushed = pushed_rows(configs)
        self.actor = Actor(self.stack, config.actor_network, feature_dim, action_dim).to(device)
        self.critic = TwinCritic(self.stack, config.network, feature_dim, action_dim).to(device)
        self.target = TwinCritic(self.stack, config.network, feature_dim, action_dim).to(device)
        self.target.load_state_dict(self.critic.state_dict())
        self.target.requires_grad_(False)
        self.log_alpha = nn.Parameter(torch.full((self.stack,), config.initial_alpha, device=device).log())
        self.actor_parameters: list[Tensor] = list(self.actor.parameters())
        self.critic_parameters: list[Tensor] = list(self.critic.parameters())
        self.target_parameters: list[Tensor] = list(self.target.parameters())
        settings = self.settings
        self.actor_optimiser = StackedAdam(self.actor_parameters, settings.actor_learning_rate)
        self.critic_optimiser = StackedAdam(self.critic_parameters, settings.critic_learning_rate.repeat(2))
        self.alpha_optimiser = StackedAdam([self.log_alpha], settings.alpha_learning_rate)

    def scale_values(self, mean: float, std: float) -> None:
        """Let values start at `mean`, and count in units of `std`; for networks without any updates."""
        for critic in (self.critic, self.target):
            critic.value_mean.fill_(mean)
            critic.value_std.fill_(std)

    def critic_loss(self, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 29 with twin critics: `beta * gap + 1/2 E[(Q - y)^2]`, summed over critics and agents.

        Returns the scalar loss and metrics of shape (S,).
        """
        target = self.backup(batch, noise.following)  # (S, B)
        q_data = self.critic(batch.feature, batch.action[:, :, None]).squeeze(-1)  # (2, S, B)
        bellman = 0.5 * (q_data - target).square().mean(-1)  # (2, S)
        with torch.no_grad():
            metrics = {
                "bellman": bellman.mean(0),
                "q_data": weighted_mean(q_data, batch.real).mean(0),
                "q_model": weighted_mean(q_data, 1.0 - batch.real).mean(0),
                "target": target.mean(-1),
            }
        if self.pushed.start == self.pushed.stop:
            return bellman.sum(), metrics
        gap, gap_metrics = self.conservative_loss(batch, noise, q_data)
        return (self.settings.beta * gap + bellman).sum(), metrics | gap_metrics

    def conservative_loss(self, batch: Batch, noise: Noise, q_data: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The bracket of eq. 29 (2, S), given the values of the batch's own pairs (2, S, B), and metrics."""
        pushed = self.pushed  # M of the B rows
        feature = batch.feature[:, pushed]
        with torch.no_grad():
            at_state = self.actor(feature)
            spread = type(at_state)(at_state.loc[:, :, None], at_state.log_std[:, :, None])
            policy_action, log_policy = spread.sample(noise.policy[:, pushed])  # (S, M, N, A), (S, M, N)
        sampled = torch.cat([noise.uniform[:, pushed], policy_action], 2)
        draws = self.config.softmax_draws
        with torch.set_grad_enabled(draws == 0):
            q_uniform, q_policy = self.critic(feature, sampled).chunk(2, -1)  # (2, S, M, N)
            soft_maximum = log_sum_exp(q_uniform, q_policy, log_policy, self.action_dim)  # (2, S, M)
        if draws:
            share = softmax_shares(q_uniform, q_policy, log_policy, self.action_dim)  # (2, S, M, 2N)
            uniform = torch.stack(noise.softmax[:, pushed].chunk(2, -1))  # (2, S, M, k)
            chosen = draw_by_weight(share.cumsum(-1), uniform)[..., None].expand(*uniform.shape, self.action_dim)
            q_chosen = self.critic(feature, sampled.expand(2, *sampled.shape).gather(3, chosen)).mean(-1)
            soft_maximum = soft_maximum + q_chosen - q_chosen.detach()  # its value, and the drawn samples' gradient
        real = batch.real[:, pushed]
        rho = self.settings.rho_model[:, None] * (1.0 - real) + self.settings.rho_real[:, None] * real
        gap = conservative_gap(soft_maximum, rho, q_data, batch.real)  # (2, S)
        metrics = {
            "conservative_gap": gap.detach().mean(0),
            "q_uniform": q_uniform.detach().mean((0, 2, 3)),
            "q_policy": q_policy.detach().mean((0, 2, 3)),
        }
        return gap, metrics

    @torch.no_grad()
    def backup(self, batch: Batch, noise: Tensor) -> Tensor:
        """`y = r + discount * min_i Q_target_i(s', a')`, a' of the policy: (S, B)."""
        action, log_policy = self.actor(batch.next_feature).sample(noise)
        value: Tensor = self.target(batch.next_feature, action[:, :, None]).squeeze(-1).amin(0)
        if self.config.entropy_in_target:
            value = value - self.log_alpha.exp()[:, None] * log_policy
        return batch.reward + batch.discount * value

    def actor_loss(self, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Eq. 3 with entropy: `E[alpha log pi - min_i Q_i]` over the batch's states, summed over agents.

        Returns the scalar loss, the log-densities of the actions (S, B), and metrics of shape (S,).
        """
        action, log_policy = self.actor(batch.feature).sample(noise.actor)
        value = self.critic(batch.feature, action[:, :, None]).squeeze(-1).amin(0)  # (S, B)
        loss = (self.log_alpha.detach().exp()[:, None] * log_policy - value).mean(-1)
        metrics = {"actor_loss": loss.detach(), "entropy": -log_policy.detach().mean(-1)}
        return loss.sum(), log_policy, metrics

    def advantage_loss(self, pool: Pool, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        """`-E_D[w log pi(a|s)]`, w proportional to exp(A / temperature), A the n-step return of the dataset less V(s).

        V(s) is min_i Q_i(s, mode of pi). Advantages are in units of their standard deviation over the pool; weights
        have mean 1 there, before a bound. B pairs are drawn in proportion to their weights, so that each of them counts
        fully. Returns the scalar loss, summed over agents, and metrics of shape (S,).
        """
        with torch.no_grad():
            states = torch.cat([pool.feature, pool.next_feature], 1)
            values = self.critic(states, self.actor(states).mode[:, :, None]).squeeze(-1).amin(0)  # (S, 2R)
            here, there = values.chunk(2, -1)
            advantage = pool.reward + pool.discount * there - here
            weight = advantage_weights(advantage, self.config.advantage_temperature)
            chosen = draw_by_weight(weight.cumsum(-1), noise.choice)  # (S, B)
        agent = torch.arange(self.stack, device=chosen.device)[:, None]
        policy = self.actor(pool.feature[agent, chosen])
        loss = -policy.log_prob(pool.action[agent, chosen]).mean(-1)
        metrics = {
            "actor_loss": loss.detach(),
            "entropy": -policy.sample(noise.actor)[1].detach().mean(-1),
            "advantage": advantage.mean(-1),
            "effective_share": weight.mean(-1).square() / weight.square().mean(-1),
        }
        return loss.sum(), metrics

    def imitation_loss(self, batch: Batch, noise: Noise) -> tuple[Tensor, dict[str, Tensor]]:
        """`-E_D[log pi(a|s)]` over the dataset's rows of a batch, summed over agents, and metrics of shape (S,)."""
        policy = self.actor(batch.feature)
        loss = -weighted_mean(policy.log_prob(batch.action), batch.real)
        entropy = -policy.sample(noise.actor)[1].detach().mean(-1)
        return loss.sum(), {"actor_loss": loss.detach(), "entropy": entropy}

    def update(
        self, batch: Batch, noise: Noise, rate_share: float = 1.0, pool: Pool | None = None, imitate: bool = False
    ) -> dict[str, Tensor]:
        """One step of the critics, of the policy, of the temperature and of the target critics.

        The extraction "advantage" needs a `pool` of the dataset's pairs, and has no temperature. With `imitate` the
        policy follows the dataset's actions instead of the critics. `rate_share` scales
        the learning rates of critics and policy. Returns metrics of shape (S,). Raises NonFiniteError before an
        optimiser would use a bad gradient.
        """
        critic_loss, metrics = self.critic_loss(batch, noise)
        self._descend("critic", critic_loss, self.critic, self.critic_optimiser, rate_share)
        if imitate:
            actor_loss, actor_metrics = self.imitation_loss(batch, noise)
            self._descend("actor", actor_loss, self.actor, self.actor_optimiser, rate_share)
            metrics |= actor_metrics
        elif pool is None:
            metrics |= self._follow_values(batch, noise, rate_share)
        else:
            actor_loss, actor_metrics = self.advantage_loss(pool, noise)
            self._descend("actor", actor_loss, self.actor, self.actor_optimiser, rate_share)
            metrics |= actor_metrics
        with torch.no_grad():
            torch._foreach_lerp_(self.target_parameters, self.critic_parameters, self.config.target_rate)
        return metrics

    def _follow_values(self, batch: Batch, noise: Noise, rate_share: float) -> dict[str, Tensor]:
        """Eq. 3, and the temperature towards the target entropy."""
        loss, log_policy, metrics = self.actor_loss(batch, noise)
        self._descend("actor", loss, self.actor, self.actor_optimiser, rate_share)
        excess = log_policy.detach().mean(-1) + self.config.target_entropy_per_action * self.action_dim
        self.alpha_optimiser.step((-excess,))  # the gradient of -log_alpha * excess
        return {**metrics, "alpha": self.log_alpha.detach().exp()}

    def _descend(self, name: str, loss: Tensor, network: nn.Module, optimiser: StackedAdam, rate_share: float) -> None:
        gradients = torch.autograd.grad(loss, optimiser.parameters)
        names = (f"{name}.{parameter}" for parameter, _ in network.named_parameters())
        check_finite(loss, dict(zip(names, gradients, strict=True)), f"agent, {name} update")
        optimiser.step(gradients, rate_share)

    def optimiser_state(self) -> dict[str, object]:
        """The optimisers' state, for a checkpoint beside `state_dict`."""
        parts = {"actor": self.actor_optimiser, "critic": self.critic_optimiser, "alpha": self.alpha_optimiser}
        return {name: optimiser.state_dict() for name, optimiser in parts.items()}

    def load_optimiser_state(self, state: dict[str, object]) -> None:
        """Continue from what `optimiser_state` returned."""
        parts = {"actor": self.actor_optimiser, "critic": self.critic_optimiser, "alpha": self.alpha_optimiser}
        for name, optimiser in parts.items():
            saved = state[name]
            assert isinstance(saved, dict)
            optimiser.load_state_dict(saved)
