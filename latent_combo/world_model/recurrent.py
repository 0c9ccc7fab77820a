"""The world model of images: encoder, RSSM, decoder, reward head and, on request, a discount head.

Of images and vectors together, it embeds both side by side, and predicts both from its features.

Symbols (docs/symbols.md): B, L, N, K, Z, E, F, A; V numbers of a vector beside the images.
"""

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from latent_combo.numerics.data_parallel import WHOLE, Share
from latent_combo.world_model.base import MemberPredictions, Metrics, ModelStep, Segment, WorldModel
from latent_combo.world_model.conv import Decoder, Encoder, choose_ways, computed_plainly, to_unit_range
from latent_combo.world_model.gaussian import Gaussian, half_squared_distance, kl_divergence
from latent_combo.world_model.normaliser import Normaliser
from latent_combo.world_model.rssm import RSSM
from latent_combo.world_model.settings import RecurrentConfig
from latent_combo.world_model.vector import VectorEncoder, perceptron

EMBEDDED_AT_ONCE = 2048
"""Images outside of training; bounds the memory of long sequences."""


class RecurrentWorldModel(WorldModel):
    """A latent world model of images (H, W, 3) uint8, perhaps vectors (V,) beside them, actions (A,) and rewards."""

    def __init__(self, config: RecurrentConfig, action_dim: int, vector_dim: int = 0) -> None:
        """`vector_dim` is V; with 0, there are no vectors, and no weights for them."""
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.conv)
        self.vector_encoder = VectorEncoder(vector_dim, config.vector_hidden) if vector_dim else None
        beside = self.vector_encoder.embedding_dim if self.vector_encoder is not None else 0
        self.rssm = RSSM(config.dynamics, self.encoder.embedding_dim + beside, action_dim)
        self.feature_dim = self.rssm.feature_dim
        self.action_dim = action_dim
        self.members = config.dynamics.members
        self.noise_dim = config.dynamics.stochastic
        self.reward_std = 1.0
        self.share = WHOLE
        self.decoder = Decoder(config.conv, self.feature_dim)
        choose_ways(config.conv, self.encoder, self.decoder)
        self.vector_decoder = perceptron(self.feature_dim, config.vector_hidden, vector_dim) if vector_dim else None
        self.reward_head = perceptron(self.feature_dim, config.head_hidden, 1)
        self.terminal_head = perceptron(self.feature_dim, config.head_hidden, 1) if config.discount_head else None

    def loss(self, segment: Segment, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """Negative evidence lower bound per step in nats, up to the Gaussians' constants (eq. 27).

        `-log p(o|s) - log p(r|s) + KL(q || p_k)`, with unit variances and a member k drawn for every step of every
        sequence. Of images and vectors, `log p(o|s)` is the sum of both, the vectors being standardised. Raises
        nothing: non-finite values are the training loop's to refuse.
        """
        batch, length = segment.action.shape[:2]
        device = segment.action.device
        image = to_unit_range(rearrange(segment.observation, "b l h w c -> (b l) h w c"))

        # Inference: posteriors q(z_t | h_t, e_t) along the sequences, each from a sample of the one before
        vector = self._standardised(segment.vector)
        embedding = self._beside(rearrange(self.encoder(image), "(b l) e -> b l e", b=batch), vector)
        whole = (self.share.whole(batch), length)
        noise = torch.randn(*whole, self.config.dynamics.stochastic, device=device, generator=generator)
        noise = self.share.own(noise)
        h, z, posterior = self.rssm.observe(embedding, segment.action, noise, self.initial(batch, device))
        feature = torch.cat([h, z], -1)
        flat = rearrange(feature, "b l f -> (b l) f")

        # Forward models: the prior p_k(z_t | h_t) of a member k that is drawn anew for every step of every sequence
        # (B.1); LOMPO's published code draws one member, and one noise, for a whole batch.
        priors = self.rssm.priors(h)  # (K, B, L, Z)
        member = torch.randint(self.config.dynamics.members, whole, device=device, generator=generator)
        member = self.share.own(member)

        # The terms of eq. 27: reconstruction, reward and KL
        losses = {
            "image": half_squared_distance(self.decoder(flat), image).view(batch, length),
            "reward": 0.5 * (self.reward(flat).view(batch, length) - segment.reward).square(),
            "kl": kl_divergence(posterior, _pick_per_step(priors, member)),
        }
        scales = {
            "image": self.config.image_weight,
            "reward": self.config.reward_weight / self.reward_std**2,
            "kl": self.config.kl_weight,
        }
        if self.vector_decoder is not None and vector is not None:
            predicted = self.vector_decoder(flat)
            losses["vector"] = half_squared_distance(predicted, vector.flatten(0, 1)).view(batch, length)
            scales["vector"] = self.config.vector_weight

        # Terminations, which are not in the paper
        if self.terminal_head is not None:
            logit = self.terminal_head(flat).view(batch, length)
            target = segment.terminal.float()
            losses["terminal"] = functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
            scales["terminal"] = 1.0

        assert losses.keys() == scales.keys(), "a loss without a scale, or a scale without a loss"
        assert all(loss.shape == (batch, length) for loss in losses.values())
        means = {name: loss.mean() for name, loss in losses.items()}
        metrics = {name: mean.detach() for name, mean in means.items()}
        means["kl"] = means["kl"].clamp(min=self.config.free_nats)  # by default 0, as in the paper
        total = torch.stack([scales[name] * means[name] for name in means]).sum()
        with torch.no_grad():
            metrics["loss"] = total.detach()
            metrics["posterior_std"] = posterior.std.mean()
            metrics["disagreement"] = spread_of_members(priors.mean.detach())
        return total, metrics

    def operations(self, segment: Segment, generator: torch.Generator) -> float:
        """See `WorldModel.operations`; counted of one sequence, in the ways that need the least."""
        with computed_plainly(self):
            return len(segment.action) * super().operations(segment.first(1), generator)

    def reward(self, feature: Tensor) -> Tensor:
        """Mean reward (...) of having arrived in `feature` (..., F)."""
        reward: Tensor = self.reward_head(feature).squeeze(-1)
        return reward

    def terminal(self, feature: Tensor) -> Tensor:
        """Probability (...) that `feature` (..., F) is terminal; zeros without a discount head."""
        if self.terminal_head is None:
            return feature.new_zeros(feature.shape[:-1])
        probability: Tensor = self.terminal_head(feature).squeeze(-1).sigmoid()
        return probability

    def decode(self, feature: Tensor) -> Tensor:
        """See `WorldModel.decode`: (N, H, W, 3) uint8."""
        image: Tensor = (self.decoder(feature).float() + 0.5).clamp(0.0, 1.0)
        return image.mul(255.0).round().to(torch.uint8).permute(0, 2, 3, 1)

    def decode_vector(self, feature: Tensor) -> Tensor | None:
        """See `WorldModel.decode_vector`: (N, V) float32."""
        if self.vector_decoder is None or self.vector_encoder is None:
            return None
        return self.vector_encoder.restore(self.vector_decoder(feature))

    def set_normaliser(self, scales: Callable[[], Normaliser]) -> None:
        """See `WorldModel.set_normaliser`: vectors have units, images none."""
        if self.vector_encoder is not None:
            self.vector_encoder.set_normaliser(scales())

    def set_reward_std(self, std: float) -> None:
        """See `WorldModel.set_reward_std`; without `scale_rewards` errors count in the rewards' own units."""
        self.reward_std = std if self.config.scale_rewards else 1.0

    def set_share(self, share: Share) -> None:
        """Compute the losses of a process's own rows, with the noise that they have in the whole batch."""
        self.share = share

    def embed(self, image: Tensor, vector: Tensor | None = None) -> Tensor:
        """Images (..., H, W, 3) uint8, and the vectors (..., V) beside them, to embeddings (..., E)."""
        leading = image.shape[:-3]
        pieces = image.reshape(-1, *image.shape[-3:]).split(EMBEDDED_AT_ONCE)
        embedding = torch.cat([self.encoder(to_unit_range(piece)) for piece in pieces]).reshape(*leading, -1)
        return self._beside(embedding, self._standardised(vector))

    def observe(
        self, observation: Tensor, action: Tensor, generator: torch.Generator | None, vector: Tensor | None = None
    ) -> tuple[Tensor, Gaussian]:
        """See `WorldModel.observe`."""
        return self._filtered(observation, action, self._noise(action.shape[:2], action, generator), vector)

    def encode(self, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None) -> Tensor:
        """See `WorldModel.encode`."""
        drawn = self._noise(action.shape[:2], action, None) if noise is None else noise
        return self._filtered(observation, action, drawn, vector)[0]

    def _filtered(
        self, observation: Tensor, action: Tensor, noise: Tensor, vector: Tensor | None
    ) -> tuple[Tensor, Gaussian]:
        embedding = self.embed(observation, vector)
        h, z, posterior = self.rssm.observe(embedding, action, noise, self.initial(len(action), action.device))
        return torch.cat([h, z], -1), posterior

    def filter_step(
        self, feature: Tensor, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None
    ) -> Tensor:
        """See `WorldModel.filter_step`."""
        drawn = self._noise((len(action), 1), action, None) if noise is None else noise[:, None]
        embedding = self.embed(observation, vector)[:, None]
        h, z, _ = self.rssm.observe(embedding, action[:, None], drawn, feature)
        return torch.cat([h, z], -1).squeeze(1)

    def imagine_step(self, feature: Tensor, action: Tensor, generator: torch.Generator) -> ModelStep:
        """See `WorldModel.imagine_step`."""
        count, device = len(feature), feature.device
        member = torch.randint(self.config.dynamics.members, (count,), device=device, generator=generator)
        noise = torch.randn(count, self.config.dynamics.stochastic, device=device, generator=generator)
        next_feature, _ = self.rssm.advance(feature, action, member, noise)
        return ModelStep(next_feature, self.reward(next_feature), self.terminal(next_feature))

    def predict_per_member(self, feature: Tensor, action: Tensor) -> MemberPredictions:
        """See `WorldModel.predict_per_member`."""
        next_feature, prior = self.rssm.advance_members(feature, action)
        return MemberPredictions(next_feature, self.reward(next_feature), self.terminal(next_feature), prior)

    def member_priors(self, feature: Tensor, action: Tensor) -> Gaussian:
        """See `WorldModel.member_priors`: one step of the recurrence for all members, and no heads."""
        return self.rssm.next_priors(feature, action)

    def _standardised(self, vector: Tensor | None) -> Tensor | None:
        """Vectors (..., V) in their own units. Raises ValueError where there are some and the model is of none."""
        if (vector is None) != (self.vector_encoder is None):
            raise ValueError(f"vectors are {'not ' if vector is None else ''}given, but the model sees the other way")
        return None if vector is None or self.vector_encoder is None else self.vector_encoder.standardise(vector)

    def _beside(self, embedding: Tensor, vector: Tensor | None) -> Tensor:
        """Embeddings of images (..., E'), and beside them those of standardised vectors (..., V): (..., E)."""
        if vector is None or self.vector_encoder is None:
            return embedding
        return torch.cat([embedding, self.vector_encoder(vector)], -1)

    def _noise(self, leading: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
        shape = (*leading, self.config.dynamics.stochastic)
        if generator is None:
            return torch.zeros(shape, device=like.device)
        return torch.randn(shape, device=like.device, generator=generator)


def spread_of_members(means: Tensor) -> Tensor:
    """The root (), over all else, of the variance of K members' means (K, ...); 0 for a single one.

    `var` over the first axis takes seven times as long on a CPU (66 and 9 ms at the paper's sizes). Differences
    from one member cancel less than the means would.
    """
    members = len(means)
    apart = means - means[0]
    variance = apart.square().mean(0) - apart.mean(0).square()
    root: Tensor = (variance.mean() * members / max(members - 1, 1)).clamp(min=0.0).sqrt()
    return root


def _pick_per_step(priors: Gaussian, member: Tensor) -> Gaussian:
    """Priors (K, B, L, Z) and members (B, L) to the chosen priors (B, L, Z)."""
    index = member[None, ..., None].expand(1, *priors.mean.shape[1:])
    return Gaussian(priors.mean.gather(0, index).squeeze(0), priors.std.gather(0, index).squeeze(0))
