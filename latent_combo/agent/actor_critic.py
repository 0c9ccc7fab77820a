"""The conservative actor-critic: COMBO and, by its settings, the algorithms around it.

Symbols: S agents in a stack, B rows of a batch, N actions per state, F feature size, A action size.
"""

import math

import torch
from torch import Tensor, nn

from latent_combo.agent.batch import Batch, Noise, Pool, draw_by_weight
from latent_combo.agent.conservative import conservative_gap, log_sum_exp, softmax_shares, weighted_mean
from latent_combo.agent.networks import Actor, TwinCritic
from latent_combo.agent.optimise import StackedAdam
from latent_combo.agent.settings import AgentConfig, AgentSettings, pushed_rows
from latent_combo.run.guard import check_finite

MAX_ADVANTAGE_WEIGHT = 20.0
"""Of one pair, where the mean is 1."""


def advantage_weights(advantage: Tensor, temperature: float) -> Tensor:
    """exp(A / (temperature * std A)) over (S, R), scaled to mean 1 and then bounded."""
    scaled = advantage / (advantage.std(-1, keepdim=True) + 1e-6) / temperature
    log_mean = scaled.logsumexp(-1, keepdim=True) - math.log(scaled.shape[-1])
    return (scaled - log_mean).exp().clamp(max=MAX_ADVANTAGE_WEIGHT)


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
        policy follows the dataset's actions instead of the critics. `rate_share` scales the learning rates of critics
        and policy. Returns metrics of shape (S,). Raises NonFiniteError before an
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
