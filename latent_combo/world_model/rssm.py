"""The recurrent state-space model: one GRU path shared by all, and an ensemble of K stochastic forward models.

The recurrence is `h_t = GRU(ELU(W [z_{t-1}, a_t]), h_{t-1})`; the posterior is `q(z_t | h_t, e_t)` and the priors are
`p_k(z_t | h_t)` (eq. 27 of the paper; only the stochastic heads are an ensemble).
"""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from latent_combo.world_model import recurrence
from latent_combo.world_model.gaussian import Gaussian
from latent_combo.world_model.recurrence import MIN_STD
from latent_combo.world_model.recurrence_weights import RecurrenceWeights
from latent_combo.world_model.settings import RSSMConfig


def gaussian(parameters: Tensor) -> Gaussian:
    """Split (..., 2Z) network outputs into mean and std = softplus + 0.1."""
    mean, raw = parameters.chunk(2, -1)
    return Gaussian(mean, functional.softplus(raw) + MIN_STD)


class EnsemblePrior(nn.Module):
    """K heads `p_k(z | h)` of one hidden layer each, evaluated together as batched products."""

    def __init__(self, config: RSSMConfig) -> None:
        super().__init__()
        # Each member draws its own initial weights: members that start alike stay alike.
        members = [
            (nn.Linear(config.deterministic, config.hidden), nn.Linear(config.hidden, 2 * config.stochastic))
            for _ in range(config.members)
        ]
        self.weight_in = nn.Parameter(torch.stack([first.weight.detach().T for first, _ in members]))
        self.bias_in = nn.Parameter(torch.stack([first.bias.detach()[None] for first, _ in members]))
        self.weight_out = nn.Parameter(torch.stack([last.weight.detach().T for _, last in members]))
        self.bias_out = nn.Parameter(torch.stack([last.bias.detach()[None] for _, last in members]))

    def forward(self, deterministic: Tensor) -> Gaussian:
        """One `h` for all members (N, H), or one for each (K, N, H), to the members' parameters, each (K, N, Z)."""
        inputs = deterministic.expand(self.weight_in.shape[0], *deterministic.shape[-2:])
        hidden = functional.elu(torch.baddbmm(self.bias_in, inputs, self.weight_in))
        return gaussian(torch.baddbmm(self.bias_out, hidden, self.weight_out))


def pick_member(priors: Gaussian, member: Tensor) -> Gaussian:
    """Take for each of N rows its own member: (K, N, Z) and `member` (N,) int64 to (N, Z)."""
    rows = torch.arange(member.shape[0], device=member.device)
    return Gaussian(priors.mean[member, rows], priors.std[member, rows])


class RSSM(nn.Module):
    """The latent dynamics. A state is `h` (N, H) beside `z` (N, Z); its feature is `[h, z]`."""

    def __init__(self, config: RSSMConfig, embedding_dim: int, action_dim: int) -> None:
        super().__init__()
        self.config = config
        self.feature_dim = config.deterministic + config.stochastic
        self.latent_in = nn.Linear(config.stochastic, config.hidden)
        self.action_in = nn.Linear(action_dim, config.hidden, bias=False)
        self.cell = nn.GRUCell(config.hidden, config.deterministic)
        self.posterior_deterministic = nn.Linear(config.deterministic, config.hidden)
        self.posterior_embedding = nn.Linear(embedding_dim, config.hidden, bias=False)
        self.posterior_out = nn.Linear(config.hidden, 2 * config.stochastic)
        self.prior = EnsemblePrior(config)

    def split(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Feature (..., F) to `h` (..., H) and `z` (..., Z)."""
        h, z = feature.split([self.config.deterministic, self.config.stochastic], -1)
        return h, z

    def action_input(self, action: Tensor) -> Tensor:
        """The action's part of the GRU's input, its bias included: actions (..., A) to (..., hidden)."""
        return functional.linear(action, self.action_in.weight, self.latent_in.bias)

    def recur(self, h: Tensor, z: Tensor, action_input: Tensor) -> Tensor:
        """Advance the deterministic path; `action_input` is (N, hidden). Returns (N, H)."""
        x = functional.elu(torch.addmm(action_input, z, self.latent_in.weight.t()))
        return recurrence.gru(x, h, self.recurrence_weights())[0]  # as in a sequence: on a CPU to the last bit

    def recurrence_weights(self) -> RecurrenceWeights:
        """The weights that a step of the filter needs, those of its inputs apart."""
        cell, out = self.cell, self.posterior_out
        return RecurrenceWeights(
            latent=self.latent_in.weight,
            gru_input=cell.weight_ih,
            gru_hidden=cell.weight_hh,
            gru_input_bias=cell.bias_ih,
            gru_hidden_bias=cell.bias_hh,
            deterministic=self.posterior_deterministic.weight,
            out=out.weight,
            out_bias=out.bias,
        )

    def observe(
        self, embedding: Tensor, action: Tensor, noise: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Gaussian]:
        """Filter a sequence: `q(z_t | h_t, e_t)` and the recurrence, in turns.

        Takes embeddings (B, L, E), actions (B, L, A), standard normal noise (B, L, Z) and the feature before the
        sequence, `start` (B, F). Returns `h` (B, L, H), `z` (B, L, Z) and the posteriors (B, L, Z).
        """
        # All that does not depend on the recurrence is one product over the whole sequence.
        embedding_input = functional.linear(
            embedding, self.posterior_embedding.weight, self.posterior_deterministic.bias
        )
        filtered = recurrence.observe(
            rearrange(embedding_input, "b l u -> l b u"),
            rearrange(self.action_input(action), "b l u -> l b u"),
            rearrange(noise, "b l z -> l b z"),
            *self.split(start),
            weights=self.recurrence_weights(),
        )
        h, z, mean, std = (rearrange(part, "l b u -> b l u") for part in filtered)
        return h, z, Gaussian(mean, std)

    def priors(self, h: Tensor) -> Gaussian:
        """All members' priors of a sequence: (B, L, H) to (K, B, L, Z). They feed nothing back, so come after it."""
        flat = self.prior(rearrange(h, "b l h -> (b l) h"))
        batch = h.shape[0]
        return Gaussian(*(rearrange(part, "k (b l) z -> k b l z", b=batch) for part in flat))

    def advance_members(self, feature: Tensor, action: Tensor) -> tuple[Tensor, Gaussian]:
        """Advance each of K members from its own state, features (K, N, F), under actions (N, A) that they share.

        Each goes on by the mean of its own prior. Returns the next features (K, N, F) and those priors (K, N, Z).
        """
        members, count = feature.shape[:2]
        h, z = self.split(rearrange(feature, "k n f -> (k n) f"))
        h = self.recur(h, z, self.action_input(action).repeat(members, 1))
        own = self.prior(h.view(members, count, -1))
        return torch.cat([h.view(members, count, -1), own.mean], -1), own

    def next_priors(self, feature: Tensor, action: Tensor) -> Gaussian:
        """All members' priors (K, N, Z) of the next latent, from features (N, F) and actions (N, A)."""
        h, z = self.split(feature)
        priors: Gaussian = self.prior(self.recur(h, z, self.action_input(action)))
        return priors

    def advance(self, feature: Tensor, action: Tensor, member: Tensor, noise: Tensor) -> tuple[Tensor, Gaussian]:
        """Imagine one step of N states with member (N,) each.

        Takes the features (N, F), actions (N, A) and standard normal noise (N, Z). Returns the next features (N, F)
        and every member's prior (K, N, Z).
        """
        h, z = self.split(feature)
        h = self.recur(h, z, self.action_input(action))
        priors = self.prior(h)
        z = pick_member(priors, member).sample(noise)
        return torch.cat([h, z], -1), priors
