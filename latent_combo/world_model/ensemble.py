"""The world model of states: an identity encoder, and an ensemble of Gaussian networks as stacked weights.

Each of K networks predicts a normal distribution over the change of the state and the reward, after Chua et al.
(2018) and Janner et al. (2019), as in MOPO, on which COMBO's state experiments are built. The best E of them on
held-out episodes, the elites, are what is imagined with.

Symbols (docs/symbols.md): K, E, S, A, D = S + 1, B, L, N.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from latent_combo.world_model.base import MemberPredictions, Metrics, ModelStep, OneStepMetrics, Segment, WorldModel
from latent_combo.world_model.best_weights import keep_best, register_best, restore_best
from latent_combo.world_model.gaussian import Gaussian, log_prob
from latent_combo.world_model.normaliser import Normaliser
from latent_combo.world_model.perceptrons import Perceptrons
from latent_combo.world_model.settings import EnsembleConfig
from latent_combo.world_model.terminal_head import TerminalHead, least_improvement, terminal_metrics
from latent_combo.world_model.termination_fns import LEARNED, TERMINATION_FNS, Ending

IMPROVEMENT = 0.01
"""Share by which a network's held-out error must fall to count as better (MBPO's)."""
TERMINAL_HEAD = "terminal_head"
"""Where the head's weights stand among those of a model that has learned terminations."""


class GaussianNetworks(Perceptrons):
    """K perceptrons that predict a normal distribution each."""

    def __init__(self, config: EnsembleConfig, inputs: int, outputs: int) -> None:
        hidden_layers = len(config.weight_decay) - 1
        super().__init__(config.members, (inputs, *[config.hidden] * hidden_layers, 2 * outputs))
        self.highest = nn.Parameter(torch.full((config.members, 1, outputs), config.max_log_variance))
        self.lowest = nn.Parameter(torch.full((config.members, 1, outputs), config.min_log_variance))

    def forward(self, x: Tensor, members: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inputs (K, N, in) to means and log-variances (K, N, D); `members` chooses networks, int64, of any number."""
        mean, raw = self.apply_layers(x, members).chunk(2, -1)
        highest, lowest = (p if members is None else p[members] for p in (self.highest, self.lowest))
        raw = highest - functional.softplus(highest - raw)
        return mean, lowest + functional.softplus(raw - lowest)


class EnsembleWorldModel(WorldModel):
    """A model of vector observations (S,) float32, actions (A,) and rewards; features are standardised observations."""

    observation_mean: Tensor
    observation_std: Tensor
    change_mean: Tensor
    change_std: Tensor
    elite: Tensor
    best_error: Tensor
    best_terminal_error: Tensor
    looks_since_best: Tensor

    def __init__(self, config: EnsembleConfig, state_dim: int, action_dim: int, ending: str) -> None:
        """`ending` names one of TERMINATION_FNS, or is `LEARNED`: the members then have a terminal head."""
        super().__init__()
        self.config = config
        self.feature_dim, self.action_dim = state_dim, action_dim
        self.members = config.elites
        self.ending: Ending = TERMINATION_FNS["none" if ending == LEARNED else ending]
        self.networks = GaussianNetworks(config, state_dim + action_dim, state_dim + 1)
        for name, size in (("observation", state_dim), ("change", state_dim + 1)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        self.register_buffer("elite", torch.arange(config.elites))
        self.register_buffer("best_error", torch.full((config.members,), math.inf))
        self.register_buffer("looks_since_best", torch.tensor(0))
        register_best(self, "best", self.networks)
        self.terminal_head: TerminalHead | None = None
        if ending == LEARNED:
            self.terminal_head = TerminalHead(config.members, state_dim, config.hidden)
            self.register_buffer("best_terminal_error", torch.full((config.members,), math.inf))
            register_best(self, "best_terminal", self.terminal_head)

    def set_normaliser(self, scales: Callable[[], Normaliser]) -> None:
        """See `WorldModel.set_normaliser`; nothing else sets the means and standard deviations."""
        found = scales()
        for name in ("observation_mean", "observation_std", "change_mean", "change_std"):
            getattr(self, name).copy_(getattr(found, name))

    def loss(self, segment: Segment, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """Negative log-likelihood of changes and rewards (in units of their standard deviations), up to a constant.

        The transitions of the segment are assigned: each of K networks gets a K-th of them, so that no two see the
        same data in the same order. The loss is, as in MOPO, twice the negative log-likelihood, averaged over
        transitions and dimensions and summed over networks, with the layers' weight decay and the distance of the
        log-variance bounds. A terminal head adds twice its cross-entropy, averaged over transitions and summed over
        networks, and no weight decay. It shares no weight with the networks, so its scale does not move theirs.
        """
        # A K-th of the transitions for each network
        x, y = self._pairs(segment)
        count = len(x) // self.config.members
        if count == 0:
            raise ValueError(f"{len(x)} transitions are too few for {self.config.members} networks")
        parts = (self.config.members, count, -1)
        x, y = x[: count * parts[0]].view(parts), y[: count * parts[0]].view(parts)

        # The negative log-likelihood of each network's own transitions
        mean, log_variance = self.networks(x)
        assert mean.shape == log_variance.shape == y.shape  # (K, count, D)
        error = (mean - y).square()
        nll = 0.5 * (error * (-log_variance).exp() + log_variance).mean((1, 2))
        assert nll.shape == (self.config.members,)

        # The layers' weight decay, and the bounds of the log-variances drawn together (Chua et al., 2018)
        decay = torch.stack(
            [0.5 * d * w.square().sum() for d, w in zip(self.config.weight_decay, self.networks.weight, strict=True)]
        ).sum()
        bounds = self.config.bound_weight * (self.networks.highest - self.networks.lowest).sum((1, 2)).mean()

        total = 2.0 * nll.sum() + decay + bounds
        metrics = {
            "loss": total.detach(),
            "nll": nll.detach().mean(),
            "squared_error": error.detach().mean(),
            "weight_decay": decay.detach(),
            "std": (0.5 * log_variance.detach()).exp().mean(),
        }

        # Terminations, of the same transitions
        if self.terminal_head is not None:
            arrived, terminal = self._arrivals(segment)
            arrived, terminal = arrived[: count * parts[0]].view(parts), terminal[: count * parts[0]].view(parts[:2])
            cross_entropy = self.terminal_head.cross_entropy(arrived, terminal)
            assert cross_entropy.shape == (self.config.members,)
            total = total + 2.0 * cross_entropy.sum()
            metrics |= {"loss": total.detach(), "terminal": cross_entropy.detach().mean()}
        return total, metrics

    @torch.no_grad()
    def validate(self, validation: Segment, patience: int) -> bool:
        """Keep each network's weights where its held-out error has fallen by 1%; see `WorldModel.validate`.

        Terminal heads keep theirs by their own held-out cross-entropies (`least_improvement`). The fit goes on while
        any network or any head gets better.
        """
        error = self.errors(validation)
        better = error < (1.0 - IMPROVEMENT) * self.best_error
        # The first validation has nothing to compare with: inf * (1 - 1%) is above any error.
        self.best_error.copy_(torch.where(better, error, self.best_error))
        keep_best(self, "best", self.networks, better)
        if self.terminal_head is not None:
            arrived, terminal = (part.expand(self.config.members, *part.shape) for part in self._arrivals(validation))
            error = self.terminal_head.cross_entropy(arrived, terminal)
            head_better = error < self.best_terminal_error - least_improvement(terminal[0])
            self.best_terminal_error.copy_(torch.where(head_better, error, self.best_terminal_error))
            keep_best(self, "best_terminal", self.terminal_head, head_better)
            better = better | head_better
        self.looks_since_best.copy_(torch.where(better.any(), 0, self.looks_since_best + 1))
        return patience > 0 and int(self.looks_since_best) >= patience

    @torch.no_grad()
    def restore_best(self) -> None:
        """Put back each network's and each head's best weights, and choose the elites by the networks' errors."""
        if self.terminal_head is not None and self.best_terminal_error.isfinite().all():
            restore_best(self, "best_terminal", self.terminal_head)
        if not self.best_error.isfinite().all():
            return
        restore_best(self, "best", self.networks)
        self.elite.copy_(self.best_error.argsort()[: self.config.elites])

    @torch.no_grad()
    def errors(self, segment: Segment) -> Tensor:
        """Mean squared error of every network's mean, in units of the standard deviations, (K,)."""
        x, y = self._pairs(segment)
        mean, _ = self.networks(x.expand(self.config.members, -1, -1))
        error: Tensor = (mean - y).square().mean((1, 2))
        return error

    @torch.no_grad()
    def one_step_metrics(self, transitions: Callable[[], Segment]) -> OneStepMetrics:
        """See `WorldModel.one_step_metrics`: errors and likelihoods of one step, by the elites."""
        segment = transitions()
        x, y = self._pairs(segment)
        mean, log_variance = self.networks(x.expand(self.members, -1, -1), self.elite)
        together = mean.mean(0)
        rmse = ((together - y).square().mean(0)).sqrt() * self.change_std
        members = log_prob(Gaussian(mean, (0.5 * log_variance).exp()), y)  # (E, N), in standardised units
        in_units = members - self.change_std.log().sum()
        mixture = in_units.logsumexp(0) - math.log(self.members)
        still = (y * self.change_std + self.change_mean)[:, :-1].square().mean(0).sqrt()
        found: OneStepMetrics = {
            "one_step_rmse": rmse[:-1].tolist(),
            "copy_rmse": still.tolist(),
            "reward_rmse": float(rmse[-1]),
            "explained": float(1.0 - (together - y).square().mean() / (y - y.mean(0)).square().mean()),
            "log_likelihood": float(mixture.mean()),
            "log_likelihood_of_members": in_units.mean(1).tolist(),
            "validation_errors": self.best_error.tolist(),
            "elites": self.elite.tolist(),
        }
        if self.terminal_head is not None:
            arrived, terminal = self._arrivals(segment)
            found |= terminal_metrics(self._terminal(arrived.expand(self.members, *arrived.shape)).mean(0), terminal)
        return found

    def decode(self, feature: Tensor) -> Tensor:
        """See `WorldModel.decode`: (N, S) float32."""
        return feature * self.observation_std + self.observation_mean

    def observe(
        self, observation: Tensor, action: Tensor, generator: torch.Generator | None, vector: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """See `WorldModel.observe`: the observations themselves, standardised."""
        return self._standardise(observation), None

    def encode(self, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None) -> Tensor:
        """See `WorldModel.encode`."""
        return self._standardise(observation)

    def filter_step(
        self, feature: Tensor, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None
    ) -> Tensor:
        """See `WorldModel.filter_step`: states need no memory."""
        return self._standardise(observation)

    def imagine_step(self, feature: Tensor, action: Tensor, generator: torch.Generator) -> ModelStep:
        """See `WorldModel.imagine_step`.

        The states are assigned to elites at random, as many to each: every state has each of them with the same
        probability, and each network sees its share only.
        """
        count, device = len(feature), feature.device
        share = -(-count // self.members)
        order = torch.rand(share * self.members, generator=generator, device=device).argsort()
        dealt = order.clamp(max=count - 1) if share * self.members != count else order
        x = torch.cat([feature, action], -1)[dealt].view(self.members, share, -1)
        mean, log_variance = self.networks(x, self.elite)
        noise = torch.randn(mean.shape, generator=generator, device=device)
        drawn = (mean + (0.5 * log_variance).exp() * noise).flatten(0, 1)
        change = torch.empty_like(drawn)
        change[order] = drawn
        next_feature, reward = self._move(feature, change[:count])
        if self.terminal_head is None:
            return ModelStep(next_feature, reward, self._terminal(next_feature))
        # By the head of the elite that drew the state
        terminal = torch.empty_like(drawn[:, 0])
        terminal[order] = self._terminal(next_feature[dealt].view(self.members, share, -1)).flatten()
        return ModelStep(next_feature, reward, terminal[:count])

    def predict_per_member(self, feature: Tensor, action: Tensor) -> MemberPredictions:
        """See `WorldModel.predict_per_member`; the members are the elites."""
        x = torch.cat([feature, action.expand(self.members, -1, -1)], -1)
        mean, log_variance = self.networks(x, self.elite)
        next_feature, reward = self._move(feature, mean)
        change_std = (0.5 * log_variance).exp() * self.change_std
        prior = Gaussian(next_feature, change_std[..., :-1] / self.observation_std)
        return MemberPredictions(next_feature, reward, self._terminal(next_feature), prior, change_std)

    def _standardise(self, observation: Tensor) -> Tensor:
        return (observation - self.observation_mean) / self.observation_std

    def _pairs(self, segment: Segment) -> tuple[Tensor, Tensor]:
        """Inputs (M, S + A) and standardised changes and rewards (M, D) of a segment's M = B (L - 1) transitions."""
        before, after = segment.observation[:, :-1], segment.observation[:, 1:]
        x = torch.cat([self._standardise(before), segment.action[:, 1:]], -1)
        # the change of the state: one public re-implementation predicts absolute next states
        y = torch.cat([after - before, segment.reward[:, 1:, None]], -1)
        return x.flatten(0, 1), ((y - self.change_mean) / self.change_std).flatten(0, 1)

    def _move(self, feature: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        """Features (..., S) and standardised changes (..., D) to the next features and rewards (...)."""
        raw = change * self.change_std + self.change_mean
        return feature + raw[..., :-1] / self.observation_std, raw[..., -1]

    def _arrivals(self, segment: Segment) -> tuple[Tensor, Tensor]:
        """Standardised states (M, S) that a segment's transitions arrived at, and whether they are terminal (M,)."""
        return self._standardise(segment.observation[:, 1:]).flatten(0, 1), segment.terminal[:, 1:].flatten()

    def _terminal(self, feature: Tensor) -> Tensor:
        """Probability (...) that features (..., S) are terminal: by a rule, or for (E, N, S) by each elite's head."""
        if self.terminal_head is not None:
            probability: Tensor = self.terminal_head(feature, self.elite).sigmoid()
            return probability
        return self.ending(self.decode(feature)).float()
