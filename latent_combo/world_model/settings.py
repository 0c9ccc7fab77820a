"""The settings of the world models and of their fit; plain data, read without torch."""

from dataclasses import dataclass, field

from combo_common.validation import require_at_most, require_not_negative, require_positive, require_share
from latent_combo.world_model.conv_shapes import (
    LOW,
    MAX_FOLLOWED,
    MIN_FOLLOWED,
    algorithms,
    channels_of,
    decoded_size,
    encoded_size,
    kernels_of,
)

LAYERS = ("encoder_channels", "decoder_channels", "decoder_kernels")
"""Settings of convolutions that follow from the size of the images."""
FIRST_CHANNELS = 32
"""Of the encoder's first layer (B.1)."""

MOST_LAYERS, MOST_MEMBERS, MOST_PIXELS = 100, 1000, 4096
"""Beyond these a setting is a slip, or somebody else's malice: each layer and member takes time and memory."""


@dataclass(frozen=True)
class ConvConfig:
    """Channels of the convolutions; the defaults are the paper's for images of 64 and 128 pixels (B.1)."""

    image_size: int = 64
    """Pixels; the images are square. A dataset that holds images sets it, but for 64 pixels where this is 32: those are
    averaged. Layers follow from it (docs/models.md) where a preset's are of another size, and where they are empty."""
    encoder_channels: tuple[int, ...] = ()
    """One layer each, kernel 4, stride 2. Empty: doubling from 32 to 256, as many as images of 16 to 256 pixels
    take."""
    decoder_input: int = 1024
    """Channels of the 1x1 map that the decoder starts from."""
    decoder_channels: tuple[int, ...] = ()
    """One transposed layer each, stride 2; the layer that draws the 3 colours follows them. Empty: halving from four
    times the encoder's first channels to those."""
    decoder_kernels: tuple[int, ...] = ()
    """One for each of `decoder_channels` and one for the colours. Empty: those that draw images of 16 to 256 pixels."""
    bfloat16: bool = False
    """Let convolutions multiply in bfloat16 where that is faster; sums and losses stay float32."""
    ways: tuple[str, ...] = ()
    """How each layer is computed, the encoder's first: plain, product or phases, perhaps with /bfloat16
    (docs/speed.md). Results are the same but for rounding. Empty: what is fastest on this machine, which is measured
    once, and written into the run's settings."""

    def __post_init__(self) -> None:
        require_positive(self, "decoder_input", "image_size")
        require_at_most(self, MOST_PIXELS, "image_size")
        require_at_most(self, MOST_LAYERS, *LAYERS)
        for name in LAYERS:
            if min(getattr(self, name), default=1) < 1:
                raise ValueError(f"{name} is {list(getattr(self, name))}; each is 1 or more")
        self._fill_in_layers()
        if len(self.decoder_kernels) != len(self.decoder_channels) + 1:
            raise ValueError(
                f"decoder_kernels has {len(self.decoder_kernels)} entries, "
                f"but {len(self.decoder_channels)} decoder_channels and the colours need one each"
            )
        if decoded_size(self.decoder_kernels) != self.image_size:
            raise ValueError(
                f"decoder_kernels {self.decoder_kernels} draw {decoded_size(self.decoder_kernels)} pixels, "
                f"but image_size is {self.image_size}; leave {', '.join(LAYERS)} out, and they follow from it"
            )
        if encoded_size(self.image_size, len(self.encoder_channels)) < 1:
            raise ValueError(
                f"encoder_channels has {len(self.encoder_channels)} layers, too many for {self.image_size} pixels"
            )
        if self.ways:
            self._check_ways()

    def _fill_in_layers(self) -> None:
        """Give layers that are empty what follows from the size of the images."""
        if all(getattr(self, name) for name in LAYERS):
            return
        if not MIN_FOLLOWED <= self.image_size <= MAX_FOLLOWED:
            raise ValueError(
                f"image_size is {self.image_size}, but layers follow from sizes of {MIN_FOLLOWED} to {MAX_FOLLOWED}; "
                f"give {', '.join(LAYERS)}"
            )
        first = self.encoder_channels[0] if self.encoder_channels else FIRST_CHANNELS
        for name, layers in zip(
            LAYERS, (*channels_of(self.image_size, first), kernels_of(self.image_size)), strict=True
        ):
            object.__setattr__(self, name, getattr(self, name) or layers)

    def _check_ways(self) -> None:
        sizes = [(False, encoded_size(self.image_size, number)) for number in range(len(self.encoder_channels))]
        sizes += [(True, decoded_size(self.decoder_kernels[:number])) for number in range(len(self.decoder_kernels))]
        if len(self.ways) != len(sizes):
            raise ValueError(
                f"ways has {len(self.ways)} entries for {len(self.encoder_channels)} layers of the encoder and "
                f"{len(self.decoder_kernels)} of the decoder; give each one, or leave it empty"
            )
        for name, (draws, size) in zip(self.ways, sizes, strict=True):
            known = algorithms(draws, size)
            algorithm, _, low = name.partition("/")
            if algorithm not in known or low not in ("", LOW):
                raise ValueError(
                    f"ways has {name!r} for a layer of {size} pixels a side, which has {', '.join(known)}, "
                    f"each perhaps with /{LOW}"
                )


@dataclass(frozen=True)
class RSSMConfig:
    """Sizes of the latent state; the defaults are the paper's (B.1)."""

    deterministic: int = 256
    """Units of the GRU."""
    stochastic: int = 128
    """Dimensions of the Gaussian latent."""
    hidden: int = 256
    """Units of the one hidden layer of each head, and of the input of the GRU."""
    members: int = 7
    """K, members of the ensemble of stochastic forward models."""

    def __post_init__(self) -> None:
        require_positive(self, "deterministic", "stochastic", "hidden", "members")
        require_at_most(self, MOST_MEMBERS, "members")


@dataclass(frozen=True)
class RecurrentConfig:
    """The recurrent variational world model (eq. 27)."""

    conv: ConvConfig = field(default_factory=ConvConfig)
    dynamics: RSSMConfig = field(default_factory=RSSMConfig)
    head_hidden: int = 256
    """Units of the two hidden layers of the reward and discount heads."""
    vector_hidden: int = 256
    """Units of the two hidden layers that embed vectors beside images, of those that predict them, and of the
    embedding; unused without `vectors`."""
    kl_weight: float = 1.0
    """Weight of the KL term; 1 is the evidence lower bound."""
    free_nats: float = 0.0
    """The KL, averaged over a batch, is not penalised below this value."""
    image_weight: float = 1.0
    """Weight of the image's log-likelihood; 1 is the evidence lower bound."""
    vector_weight: float = 1.0
    """Weight of the log-likelihood of the vectors beside the images, each number in units of its standard deviation; 1
    is the evidence lower bound."""
    reward_weight: float = 1.0
    """Weight of the reward's log-likelihood; 1 is the evidence lower bound."""
    scale_rewards: bool = False
    """Count the reward's error in standard deviations of the dataset's rewards, so that `reward_weight` means the same
    on every task. Not in the paper."""
    discount_head: bool = False
    """Predict terminations; tasks that never terminate need no such head."""

    def __post_init__(self) -> None:
        require_positive(self, "head_hidden", "vector_hidden")
        require_not_negative(self, "image_weight", "vector_weight", "kl_weight", "free_nats", "reward_weight")


@dataclass(frozen=True)
class EnsembleConfig:
    """The ensemble of Gaussian networks; the defaults are the paper's (B.1) and, where it is silent, MOPO's."""

    members: int = 7
    """K, members of the ensemble that are fitted (B.1)."""
    elites: int = 5
    """E, members with the least held-out error, which rollouts use (B.1)."""
    hidden: int = 200
    """Units of a layer (B.1)."""
    weight_decay: tuple[float, ...] = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)
    """L2 coefficient of each layer: half of it times the squared weights is in the loss; one entry more than there
    are hidden layers (MOPO)."""
    max_log_variance: float = 0.5
    """Initial upper bound of the predicted log-variances; it is soft, and learned (Chua et al., 2018)."""
    min_log_variance: float = -10.0
    """Initial lower bound of the predicted log-variances; it is soft, and learned (Chua et al., 2018)."""
    bound_weight: float = 0.01
    """Weight of the distance between the two bounds in the loss."""

    def __post_init__(self) -> None:
        require_positive(self, "members", "elites", "hidden")
        require_not_negative(self, "bound_weight")
        require_at_most(self, MOST_LAYERS, "weight_decay")
        require_at_most(self, MOST_MEMBERS, "members")
        if self.elites > self.members:
            raise ValueError(f"elites is {self.elites}, but there are {self.members} members to choose them from")
        if len(self.weight_decay) < 2 or min(self.weight_decay) < 0.0:
            raise ValueError("weight_decay needs an entry for each hidden layer and one for the last, none below 0")
        if self.min_log_variance >= self.max_log_variance:
            raise ValueError("min_log_variance is not below max_log_variance")


@dataclass(frozen=True)
class FitConfig:
    """How a world model is fitted; the defaults are those of LOMPO's image experiments, which the paper keeps (B.2)."""

    steps: int = 25_000
    """Optimiser steps of the world model."""
    batch: int = 64
    """Sequences in a batch; an ensemble's networks share their transitions, and each needs one at least."""
    length: int = 50
    """L, rows in a sequence."""
    episode_start_fraction: float = 0.0
    """Share of the sequences that begin with an episode, besides the uniform windows: the first frames show positions
    that no later ones do, and policies start there."""
    learning_rate: float = 6e-4
    """Adam's."""
    final_learning_rate: float = 1.0
    """Final learning rate as a share of the initial one, on a cosine; 1 keeps it constant."""
    gradient_clip: float = 100.0
    """Largest norm of the whole gradient."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW); 0 is plain Adam."""
    random_shift: int = 0
    """Each sequence's images are moved by up to this many pixels, the same for all of its frames; 0 for none."""
    validate_every: int = 250
    """Steps between validations, which measure the loss of held-out episodes."""
    patience: int = 0
    """Validations without an improvement after which fitting stops, for a model that chooses its weights by them; 0
    never stops early."""

    def __post_init__(self) -> None:
        require_positive(self, "steps", "batch", "length", "learning_rate", "gradient_clip", "validate_every")
        require_not_negative(self, "weight_decay", "random_shift", "patience")
        require_share(self, "episode_start_fraction", "final_learning_rate")
