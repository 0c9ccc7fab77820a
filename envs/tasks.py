"""The registry of tasks: what an experiment must know of each, and where each figure came from."""

import difflib
from dataclasses import dataclass

from latent_combo.run.errors import UserError

LOOKS = ("fast", "full")
"""How scenes are drawn. fast: no shadows, reflections or multisampling, some ten times as many frames a second;
full: as dm_control draws them."""


@dataclass(frozen=True)
class Task:
    """A task and its conventions."""

    name: str
    horizon: int
    """Agent steps of an episode."""
    action_repeat: int
    """Control steps of the simulator in one agent step."""
    camera: str
    """The simulator's camera that draws the observations."""
    image_size: int
    """Pixels of the square images."""
    action_dim: int
    state_dim: int
    """Size of the vector observation."""
    physics_dim: int
    """Size of the simulator's state, positions and velocities."""
    physics_names: tuple[str, ...]
    """What each number of the simulator's state is."""
    turning: tuple[str, ...]
    """Those of them that are angles without bounds."""
    reward: str
    """What is rewarded, in a line."""
    random_return: float
    """Mean return of uniform random actions."""
    expert_return: float
    """Mean return of the expert."""
    references: str
    """Where the two returns came from."""

    def normalised_score(self, episode_return: float) -> float:
        """D4RL's score: 0 for the random policy's return, 100 for the expert's."""
        return 100.0 * (episode_return - self.random_return) / (self.expert_return - self.random_return)


WALKER_JOINTS = (
    *("height", "distance", "pitch"),
    *(f"{side} {joint}" for side in ("right", "left") for joint in ("hip", "knee", "ankle")),
)

TASKS = {
    task.name: task
    for task in (
        Task(
            name="walker-walk",
            horizon=500,
            action_repeat=2,
            camera="side",
            image_size=64,
            action_dim=6,
            state_dim=24,
            physics_dim=18,
            physics_names=tuple(f"{part}{of}" for of in ("", ", velocity") for part in WALKER_JOINTS),
            turning=("pitch",),
            reward="dm_control walker-walk: upright and at 1 m/s, in [0, 1] per control step",
            random_return=39.7,
            expert_return=954.4,
            references="20 episodes each: uniform actions; data.collect's SAC policy, seed 0, 100,000 agent steps",
        ),
    )
}


def get_task(name: str) -> Task:
    """Look up a task. Raises UserError, with the nearest known names, if there is none of that name."""
    if name in TASKS:
        return TASKS[name]
    nearest = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.3) or sorted(TASKS)
    raise UserError(f"unknown task {name!r}; known tasks like it: {', '.join(nearest)}")
