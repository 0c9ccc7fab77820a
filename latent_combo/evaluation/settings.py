"""How policies are scored: settings, read without torch."""

from dataclasses import dataclass

from combo_common.validation import require_not_negative, require_positive


@dataclass(frozen=True)
class ScoreConfig:
    """How policies are scored."""

    episodes: int = 10
    """Episodes of the final score, per agent. With 0 no environment is made, during training neither, and the run has
    no score."""
    episodes_during_training: int = 3
    """Episodes of each evaluation during training, per agent; the last one plays as many as the final score, where
    those are more."""
    processes: int = 1
    """Processes that play the episodes; 1 uses the main process."""
    seed: int = 50_000
    """Seed of the first episode; each further episode adds 1. No settings were chosen on these."""
    seed_during_training: int = 2_000
    """The same for evaluations during training, which play other episodes than the final score."""

    @property
    def last_episodes(self) -> int:
        """Episodes per agent of the last evaluation during training: the final score's number, if seeds have room."""
        before_final = self.seed - self.seed_during_training
        room = before_final if before_final > 0 else self.episodes
        return max(self.episodes_during_training, min(self.episodes, room))

    @property
    def most_episodes(self) -> int:
        """Episodes per agent of a run's longest evaluation: the final score, or the last one during training."""
        return max(self.episodes, self.last_episodes)

    def __post_init__(self) -> None:
        require_positive(self, "episodes_during_training", "processes")
        require_not_negative(self, "episodes", "seed", "seed_during_training")
        if not self.episodes:
            return
        apart = abs(self.seed - self.seed_during_training)
        if apart < (self.episodes if self.seed < self.seed_during_training else self.episodes_during_training):
            raise ValueError(
                f"seed is {self.seed} and seed_during_training is {self.seed_during_training}, from which on the final "
                "score and evaluations during training would play some of the same episodes; set them further apart"
            )
