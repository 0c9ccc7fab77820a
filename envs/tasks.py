"""The registry of tasks: what an experiment must know of each, and where each figure came from."""

import difflib
from dataclasses import dataclass

from combo_common.errors import UserError

LOOKS = ("fast", "full")
"""How scenes are drawn. fast: no shadows, reflections or multisampling, some ten times as many frames a second;
full: as dm_control draws them."""


MIN_DRAWN_SIZE = 64
"""Pictures of fewer pixels are drawn this large, or the next multiple, and averaged: a thin leg stays visible."""

OBSERVATIONS = ("state", "pixels")


@dataclass(frozen=True)
class Viewpoint:
    """A camera that a task brings with it, as MuJoCo's free camera is placed."""

    lookat: tuple[float, float, float]
    """m."""
    distance: float
    """m."""
    azimuth: float
    """Degrees."""
    elevation: float
    """Degrees; below 0 it looks down."""


VIEWPOINTS = {"published": Viewpoint((0.075, 0.75, 0.15), 1.05, 115.0, -12.5)}
"""Cameras that are no camera of the simulator's, by name. `published` stands before the door (LOMPO's code)."""


@dataclass(frozen=True)
class ObservationSpec:
    """How a task is observed."""

    observation: str
    """state or pixels."""
    look: str = "fast"
    image_size: int | None = None
    """Pixels; None for the task's."""

    @property
    def pixels(self) -> bool:
        """Whether images are seen."""
        return self.observation == "pixels"


@dataclass(frozen=True)
class Task:
    """A task and its conventions."""

    name: str
    simulator: str
    """dm_control, gymnasium (its v4 MuJoCo robots), or metaworld."""
    horizon: int
    """Agent steps of an episode."""
    action_repeat: int
    """Control steps of the simulator in one agent step."""
    camera: str
    """The camera that draws the observations: the simulator's, or one of VIEWPOINTS."""
    image_size: int
    """Pixels of the square images."""
    action_dim: int
    state_dim: int
    """Size of the vector observation."""
    physics_dim: int
    """Size of the simulator's state, positions and velocities."""
    physics_names: tuple[str, ...]
    """What each number of the simulator's state is."""
    state_names: tuple[str, ...]
    """What each number of the vector observation is."""
    unbounded_angles: tuple[str, ...]
    """Those of them that are angles without bounds."""
    reward: str
    """What is rewarded, in a line."""
    random_return: float
    """Mean return of uniform random actions."""
    expert_return: float
    """Mean return of the expert."""
    references: str
    """Where the two returns came from."""
    fps: int
    """Agent steps in a second: films at this rate play in real time."""
    termination: str = "none"
    """Whose fall ends an episode for good: none, hopper, walker2d or ant; learned: no rule is known, and the model of
    states learns terminations from the data."""
    medium_share: float = 0.5
    """What the policy of a `medium` split returns, as a share of the expert's."""
    split_episodes: int = 200
    """Whole episodes that a split is as long as."""
    rewards_success: bool = False
    """Whether the reward is 1 where the task is done and 0 elsewhere, so that an episode's last one tells success."""
    behaviour: str = ""
    """The task on whose reward behaviour policies are trained, if it is not this one's: of the same robot and start."""
    learns_within: int = 10_000
    """Agent steps between saves of its behaviour learner, and half of those between snapshots of the policy."""
    whole_replay: bool = False
    """Whether `medium-replay` is all of the replay up to the medium policy, as in D4RL, not an even cut of it."""

    @property
    def positions(self) -> int:
        """How many of the simulator's numbers are positions; they come first."""
        return next(index for index, name in enumerate(self.physics_names) if "velocity" in name)

    def normalised_score(self, episode_return: float) -> float:
        """D4RL's score: 0 for the random policy's return, 100 for the expert's."""
        return 100.0 * (episode_return - self.random_return) / (self.expert_return - self.random_return)


LEG = ("thigh", "shin", "foot")
WALKER_JOINTS = (
    *("height", "distance", "pitch"),
    *(f"{side} {joint}" for side in ("right", "left") for joint in ("hip", "knee", "ankle")),
)

WALKER_BODIES = ("torso", *(f"{side} {part}" for side in ("right", "left") for part in LEG))
WALKER_SEEN = (
    *(f"{body} {axis}" for body in WALKER_BODIES for axis in ("xx", "xz")),
    "height",
    *(f"{of}, velocity" for of in ("height", "distance", "pitch", *WALKER_JOINTS[3:])),
)

D4RL = "D4RL's (Fu et al., 2020, infos.py)"
MEASURED = "20 episodes of uniform actions; COMBO's return in the paper (Table 1), whose data are others"


def names(*positions: str) -> tuple[str, ...]:
    """Names of positions and, in the same order, of their velocities."""
    return tuple(f"{part}{of}" for of in ("", ", velocity") for part in positions)


def robot(
    name: str,
    positions: tuple[str, ...],
    action_dim: int,
    state_dim: int,
    reward: str,
    references: tuple[float, float, str],
    fps: int,
    termination: str = "none",
    physics_names: tuple[str, ...] = (),
    unseen: int = 1,
    seen_too: tuple[str, ...] = (),
) -> Task:
    """One of gymnasium's robots, with D4RL's conventions: what it observes are all but the first `unseen` positions."""
    physics = physics_names or names(*positions)
    return Task(
        name=name,
        simulator="gymnasium",
        horizon=1000,
        action_repeat=1,
        camera="track",
        image_size=64,
        action_dim=action_dim,
        state_dim=state_dim,
        physics_dim=len(physics),
        physics_names=physics,
        state_names=(*physics[unseen:], *seen_too),
        unbounded_angles=("pitch",) if "pitch" in physics else (),
        reward=reward,
        random_return=references[0],
        expert_return=references[1],
        references=references[2],
        fps=fps,
        termination=termination,
        medium_share=1.0 / 3.0,
        whole_replay=True,
    )


CHEETAH = ("distance", "height", "pitch", *(f"{side} {joint}" for side in ("back", "front") for joint in LEG))
HOPPER = ("distance", "height", "pitch", "thigh", "leg", "foot")
WALKER2D = ("distance", "height", "pitch", *(f"{side}{joint}" for side in ("", "left ") for joint in HOPPER[3:]))
ANT_JOINTS = tuple(f"{joint} {leg}" for leg in range(1, 5) for joint in ("hip", "ankle"))
ANT = (
    *("x", "y", "height", "quaternion w", "quaternion x", "quaternion y", "quaternion z", *ANT_JOINTS),
    *(f"{of}, velocity" for of in ("x", "y", "height", "roll", "pitch", "yaw", *ANT_JOINTS)),
)

ARM = (*(f"joint {joint}" for joint in range(1, 8)), "right finger", "left finger", "door")
DOOR = (
    *names(*ARM),
    *("mocap x", "mocap y", "mocap z", "mocap quaternion w", "mocap quaternion x", "mocap quaternion y"),
    *("mocap quaternion z", "door's place x", "door's place y", "door's place z"),
)
DOOR_SEEN = (
    *(f"{of} {axis}" for of in ("hand", "hand, velocity", "mocap") for axis in "xyz"),
    *("fingers", "handle x", "handle y", "handle z", "door", "door, velocity"),
)


VARIED = "-varied"
"""How names of tasks end in which the door stands elsewhere in each episode."""


def sawyer(name: str, reward: str, best: float, learnt_on: str = "") -> tuple[Task, Task]:
    """Meta-World's Sawyer arm before a door, with the paper's episodes of 50 steps and pictures of 128 pixels (B.4).

    Two tasks: before a door in one place, as in LOMPO's code, and before one that stands elsewhere in each episode.
    """
    first, second = (
        Task(
            name=f"{name}{place}",
            simulator="metaworld",
            horizon=50,
            action_repeat=4,
            camera="published",
            image_size=128,
            action_dim=4,
            state_dim=15,
            physics_dim=len(DOOR),
            physics_names=DOOR,
            state_names=DOOR_SEEN,
            unbounded_angles=(),
            reward=reward,
            random_return=0.0,
            expert_return=best,
            references="no reward, and the most that an episode can pay",
            fps=20,
            split_episodes=1000,
            rewards_success=name != "sawyer-door-dense",
            behaviour=learnt_on and f"{learnt_on}{place}",
        )
        for place in ("", VARIED)
    )
    return first, second


TASKS = {
    task.name: task
    for task in (
        Task(
            name="walker-walk",
            simulator="dm_control",
            horizon=500,
            action_repeat=2,
            camera="side",
            image_size=64,
            action_dim=6,
            state_dim=24,
            physics_dim=18,
            physics_names=names(*WALKER_JOINTS),
            state_names=WALKER_SEEN,
            unbounded_angles=("pitch",),
            reward="dm_control walker-walk: upright and at 1 m/s, in [0, 1] per control step",
            random_return=39.7,
            expert_return=954.4,
            references="20 episodes each: uniform actions; data.collect's SAC policy, seed 0, 100,000 agent steps",
            fps=20,
        ),
        *(
            Task(
                name=f"cartpole-{name}",
                simulator="dm_control",
                horizon=125,
                action_repeat=8,  # as in PlaNet (Hafner et al., 2019)
                camera="lookatcart",
                image_size=64,
                action_dim=1,
                state_dim=5,
                physics_dim=4,
                physics_names=names("cart", "pole"),
                state_names=("cart", "pole cosine", "pole sine", "cart, velocity", "pole, velocity"),
                unbounded_angles=("pole",),
                reward=f"dm_control cartpole-{name}: pole upright, cart centred, slow and little force, in [0, 1] per "
                "control step",
                random_return=returns[0],
                expert_return=returns[1],
                references="20 episodes each: uniform actions; data.collect's SAC policy, seed 0, "
                "10,000 agent steps (balance: 5,000)",
                fps=12,  # 12.5
                learns_within=500,
                whole_replay=True,
            )
            for name, returns in (("swingup", (131.5, 848.4)), ("balance", (278.0, 999.7)))
        ),
        robot(
            *("halfcheetah", CHEETAH, 6, 17, "HalfCheetah-v4: v_x - 0.1 |a|^2"),
            references=(-280.178953, 12135.0, D4RL),
            fps=20,
        ),
        robot(
            *("hopper", HOPPER, 3, 11, "Hopper-v4: v_x + 1 - 0.001 |a|^2"),
            references=(-20.272305, 3234.3, D4RL),
            fps=125,
            termination="hopper",
        ),
        robot(
            *("walker2d", WALKER2D, 6, 17, "Walker2d-v4: v_x + 1 - 0.001 |a|^2"),
            references=(1.629008, 4592.3, D4RL),
            fps=125,
            termination="walker2d",
        ),
        robot(
            *("ant", (), 8, 27, "Ant-v4: v_x + 1 - 0.5 |a|^2"),
            references=(-325.6, 3879.7, D4RL),
            fps=20,
            termination="ant",
            physics_names=ANT,
            unseen=2,
        ),
        robot(
            *("halfcheetah-jump", CHEETAH, 6, 18, "min(v_x, 3) - 0.1 |a|^2 + 15 (z - z_init)"),
            seen_too=("torso's height",),
            references=(-2374.5, 5308.7, MEASURED),
            fps=20,
        ),
        robot(
            *("ant-angle", (), 8, 27, "v . (cos 30, sin 30) - 0.5 |a|^2 - 5e-4 |contacts|^2 + 1"),
            references=(-79.9, 2776.9, MEASURED),
            fps=20,
            termination="ant",
            physics_names=ANT,
            unseen=2,
        ),
        *sawyer("sawyer-door-dense", "Meta-World door-open-v3's reward, a tenth of it", 50.0),
        *sawyer("sawyer-door", "1 while the door is fully open, else 0", 50.0, learnt_on="sawyer-door-dense"),
        *sawyer("sawyer-door-close", "1 while the door is closed, else 0", 50.0),
    )
}


def get_task(name: str) -> Task:
    """Look up a task. Raises UserError, with the nearest known names, if there is none of that name."""
    if name in TASKS:
        return TASKS[name]
    nearest = difflib.get_close_matches(name, TASKS, n=3, cutoff=0.3) or sorted(TASKS)
    raise UserError(f"unknown task {name!r}; known tasks like it: {', '.join(nearest)}")
