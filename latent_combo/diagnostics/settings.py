"""What a run draws of itself: settings, read without torch."""

from dataclasses import dataclass

from combo_common.validation import require_not_negative, require_positive


@dataclass(frozen=True)
class ViewsConfig:
    """What a run draws of itself."""

    every: int = 1_000
    """Steps of the model, and updates of the agent, between views; 0 draws none before a phase is done."""
    clips: int = 3
    """Held-out episodes that have a clip."""
    segments: int = 64
    """Held-out segments that prediction and calibration are measured on, or as many as there are."""
    episodes: int = 20
    """Scored episodes of the first agent, at most, that its values and imagined paths are compared with: all that
    presets score. Their images stay in memory."""

    def __post_init__(self) -> None:
        require_not_negative(self, "every")
        require_positive(self, "clips", "segments", "episodes")
