"""How a dataset becomes features: settings, read without torch."""

from dataclasses import dataclass

from combo_common.validation import require_not_negative, require_positive


@dataclass(frozen=True)
class EncodeConfig:
    """How the dataset becomes features."""

    num_encodings: int = 1
    """V, encodings of every row, each with fresh samples of the latent and a fresh shift; a batch mixes them."""
    sample: bool = True
    """Encode with samples of the posterior, or else with its mean, also when acting. Imagined states are always
    samples."""
    random_shift: int = 0
    """Each episode's images are shifted by up to this many pixels in every encoding but the first."""
    episodes_at_once: int = 8
    """Episodes that are filtered side by side; bounds the memory."""

    def __post_init__(self) -> None:
        require_positive(self, "num_encodings", "episodes_at_once")
        require_not_negative(self, "random_shift")
        if self.num_encodings > 1 and not self.sample and not self.random_shift:
            raise ValueError(
                f"num_encodings is {self.num_encodings}, but without samples and shifts all of them are the same"
            )
