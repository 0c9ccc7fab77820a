"""The conservative actor-critic: COMBO and, by its settings, the algorithms around it.

Symbols (docs/symbols.md): S, B, M, N, F, A, k.
"""

import functools

import torch
from torch import Tensor

from latent_combo.agent.agent_stack import AgentStack
from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.conservative import (
    carried_by_draws,
    conservative_gap,
    log_sum_exp,
    sample_metrics,
    softmax_shares,
    weighted_mean,
)
from latent_combo.agent.extraction import Extraction
from latent_combo.agent.networks import Actor
from latent_combo.agent.settings import Backup
from latent_combo.agent.tanh_gaussian import TanhGaussian
from latent_combo.numerics.adam import StackedAdam

SMOOTHING, MOST_SMOOTHING = 0.2, 0.5
"""Standard deviation and bound of the noise that smooths a target's action (TD3: Fujimoto et al., 2018)."""
LOG_MULTIPLIER = (-5.0, 10.0)
"""Bounds of the logarithm of a Lagrange multiplier (BEAR's code)."""


class ConservativeActorCritic(AgentStack):
    """S conservative actor-critics over features (eq. 2 and 3).

    With beta = 0, f = 1 and the entropy in the target it is soft actor-critic.
    """

    def critic_loss(
        self,
        batch: Batch,
        noise: Noise,
        report: bool = True,
        policy: TanhGaussian | None = None,
        extraction: Extraction | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 29 with twin critics: `beta * gap + 1/2 E[(Q - y)^2]`, summed over critics and agents.

        `policy` is that of the batch's states, if it is known, and `extraction` how it is had, if not in the agent's
        own way. Returns the scalar loss and, with `report`, metrics of shape (S,).
        """
        rows = batch.reward.shape  # (S, B)
        metrics: dict[str, Tensor] = {}

        # The values of a batch's own pairs, and the log-sum-exp at the states of rho, where there are any
        if self.penalised.start == self.penalised.stop:
            q_data, logsumexp_q = self.values(batch), None
        else:
            q_data, logsumexp_q, metrics = self.values_and_logsumexp(batch, noise, report, policy)

        # The Bellman error, over d_f: all rows of a batch
        follows_values = (extraction or self.extraction).follows_values
        backup = self.config.backup if follows_values else "mode"
        target = self.backup(batch, noise.next_action, backup, extraction)
        assert target.shape == rows == batch.real.shape and q_data.shape == (2, *rows)
        bellman = 0.5 * (q_data - target).square().mean(-1)  # (2, S)
        loss = bellman

        # The conservative term: down under rho(s), by the soft maximum over actions, and up at the dataset's pairs
        if logsumexp_q is not None:
            real = batch.real[:, self.penalised]
            rho = self.settings.rho_model[:, None] * (1.0 - real) + self.settings.rho_real[:, None] * real  # (S, M)
            assert logsumexp_q.shape == (2, *rho.shape)
            gap = conservative_gap(logsumexp_q, rho, q_data, batch.real)
            assert gap.shape == bellman.shape == (2, *self.settings.beta.shape)
            loss = torch.addcmul(bellman, self.settings.beta, gap)
            if report:
                metrics = {name: weighted_mean(values, rho) for name, values in metrics.items()}
                metrics["conservative_gap"] = gap.detach().mean(0)
                metrics["regulariser"] = metrics["q_policy"] - weighted_mean(q_data.detach(), batch.real).mean(0)
        if report:
            with torch.no_grad():
                metrics |= {
                    "bellman": bellman.mean(0),
                    "q_data": weighted_mean(q_data, batch.real).mean(0),
                    "q_model": weighted_mean(q_data, 1.0 - batch.real).mean(0),
                    "target": target.mean(-1),
                }
        return loss.sum(), metrics

    def values(self, batch: Batch) -> Tensor:
        """The values (2, S, B) of a batch's own pairs."""
        values: Tensor = self.critic(batch.feature, batch.action[:, :, None]).squeeze(-1)
        return values

    def values_and_logsumexp(
        self, batch: Batch, noise: Noise, report: bool = True, policy: TanhGaussian | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The values (2, S, B) of a batch's own pairs, the log-sum-exp (2, S, M) at the penalised rows.

        And metrics of those rows (S, M), with `report`.
        """
        penalised, draws, low = self.penalised, self.config.softmax_draws, self.config.bfloat16
        feature = batch.feature[:, penalised]

        # 2N actions per state: of Unif(a), and of the current pi(a|s), into which no gradient goes (B.1)
        with torch.no_grad():
            of_states = self.actor(feature).many(slice(None)) if policy is None else policy.many(penalised)
            policy_action, log_policy = of_states.sample(noise.policy[:, penalised])
        sampled = torch.cat([noise.uniform[:, penalised], policy_action], 2)  # (S, M, 2N, A)

        # Their values, and those of the batch's own actions
        if draws == 0 and feature.shape[1] == batch.feature.shape[1]:
            # all states are valued at all of their actions at once
            every = self.critic(feature, torch.cat([batch.action[:, :, None], sampled], 2), low)
            q_data, q_sampled = every[..., 0], every[..., 1:]
        else:
            q_data = self.values(batch)
            with torch.set_grad_enabled(draws == 0):
                q_sampled = self.critic(feature, sampled, low)
        q_uniform, q_policy = q_sampled.chunk(2, -1)  # (2, S, M, N)
        assert q_uniform.shape == q_policy.shape == (2, *noise.uniform[:, penalised].shape[:3])

        # The log-sum-exp over actions, by importance sampling (eq. 29)
        logsumexp_q = log_sum_exp(q_uniform, q_policy, log_policy, self.action_dim)  # (2, S, M)
        if draws:
            shares = softmax_shares(q_uniform, q_policy, log_policy, self.action_dim)
            critic = functools.partial(self.critic, feature, low=low)
            logsumexp_q = carried_by_draws(logsumexp_q, shares, sampled, noise.softmax[:, penalised], critic)
        metrics = sample_metrics(q_uniform, q_policy, log_policy, self.action_dim) if report else {}
        return q_data, logsumexp_q, metrics

    @torch.no_grad()
    def backup(
        self, batch: Batch, noise: Tensor, of: Backup = "sample", extraction: Extraction | None = None
    ) -> Tensor:
        """`y = r + discount * (min_i Q_target_i(s', a') - penalty)`, a' of the policy, by its sample or mode: (S, B).

        The spread of a policy that does not follow the critics never narrows onto what they value, and samples of it
        would pay for conservatism anew at every backup; what acts is a mode. The penalty is the extraction's.
        """
        policy: TanhGaussian = self.actor(batch.next_feature)
        action = policy.act(noise) if of == "sample" else policy.mode
        if of == "smoothed":
            action = (action + (SMOOTHING * noise).clamp(-MOST_SMOOTHING, MOST_SMOOTHING)).clamp(-1.0, 1.0)
        value: Tensor = self.target(batch.next_feature, action[:, :, None]).squeeze(-1).amin(0)
        taken = (extraction or self.extraction).target_penalty(self, batch, policy, action)
        if taken is not None:
            assert taken.shape == value.shape
            value = value - taken
        if self.config.entropy_in_target:
            value = value - self.log_alpha.exp()[:, None] * policy.sample(noise)[1]
        return torch.addcmul(batch.reward, batch.discount, value)

    def update(
        self,
        batch: Batch,
        noise: Noise,
        share: Tensor | None = None,
        extraction: Extraction | None = None,
        report: bool = True,
    ) -> dict[str, Tensor]:
        """One step of the critics, of the policy, of the temperature and of the target critics.

        The policy is had by `extraction`, in a warm-up for one, or in the agent's own way. `share` () scales the
        learning rates of critics and policy. Returns metrics of shape (S,), without `report` few of them. Reads nothing
        of the device: from the first loss or gradient on that is not finite nothing changes any more, and `finite`
        tells. (Where the policy's is the bad one, the critics' step of that update has been taken.)
        """
        assert next(self.critic.parameters()).data_ptr() == self.critic_weights.data_ptr(), "the networks were moved"
        self.finite.begin()
        extraction = extraction or self.extraction
        batch = self.encoded(batch)
        fixed = batch.fixed()  # an encoder follows the critics alone
        # The policy changes last in an update: what the critics and eq. 3 need of it is computed once.
        policy = self.actor(fixed.feature) if extraction.follows_values else None
        of_critics = extraction.critic_batch(self, batch)
        critic_loss, metrics = self.critic_loss(of_critics, noise, report, policy, extraction)
        self._descend("critic", critic_loss, share, *self.critic_optimisers)
        if self.behaviour is not None:
            metrics |= self.clone_behaviour(self.behaviour, fixed, share)
        metrics |= self.improve_policy(extraction, fixed, noise, share, policy)
        self._follow_slowly()
        return metrics

    def improve_policy(
        self,
        extraction: Extraction,
        batch: Batch,
        noise: Noise,
        share: Tensor | None = None,
        policy: TanhGaussian | None = None,
    ) -> dict[str, Tensor]:
        """One step of the policy, of its constraint's multiplier, and of the temperature towards the target entropy."""
        loss, metrics = extraction.loss(self, batch, noise, policy)
        self._descend("actor", loss, share, self.actor_optimiser)
        if extraction.has_multiplier and self.log_multiplier is not None:
            gradient = -self.log_multiplier.detach().exp() * metrics["excess"]
            self.optimisers["multiplier"].step((gradient,), skip=self.finite.bad)
            with torch.no_grad():
                self.log_multiplier.clamp_(*LOG_MULTIPLIER)
            metrics = {**metrics, "multiplier": self.log_multiplier.detach().exp()}
        if not extraction.tempered:
            return metrics
        excess = metrics["entropy"] - self.target_entropy
        self.alpha_optimiser.step((excess,), skip=self.finite.bad)  # the gradient of log_alpha * excess
        return {**metrics, "alpha": self.log_alpha.detach().exp()}

    def clone_behaviour(self, behaviour: Actor, batch: Batch, share: Tensor | None = None) -> dict[str, Tensor]:
        """One step of the cloned behaviour, by the likelihood of the dataset's actions."""
        likelihood = weighted_mean(behaviour(batch.feature).log_prob(batch.action), batch.real)  # (S,)
        self._descend("behaviour", -likelihood.sum(), share, self.optimisers["behaviour"])
        return {"behaviour_log_prob": likelihood.detach()}

    @torch.no_grad()
    def _follow_slowly(self) -> None:
        """Move the target critics by tau towards the critics, and the policy that acts towards the trained one."""
        rate = (1.0 - self.finite.bad) * self.config.tau
        self.target_weights.lerp_(self.critic_weights, rate)
        if self.averaged is not None:
            # a plain mean at first, or the initial weights would stay in it for long
            taken = (1.0 / self.finite.steps.clamp(min=1)).clamp(min=1.0 - self.config.policy_average)
            for average, weights in self.averages:
                average.lerp_(weights, (1.0 - self.finite.bad) * taken)

    def _descend(self, name: str, loss: Tensor, share: Tensor | None, *optimisers: StackedAdam) -> None:
        gradients = torch.autograd.grad(loss, [own for optimiser in optimisers for own in optimiser.parameters])
        self.finite.see(name, loss, gradients)
        following = iter(gradients)
        for optimiser in optimisers:
            optimiser.step([next(following) for _ in optimiser.parameters], share, skip=self.finite.bad)
