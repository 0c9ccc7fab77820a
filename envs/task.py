"""What a task is: all that an experiment must know of it, how it is observed, and how its environment is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from combo_common.errors import UserError
from combo_common.suggest import did_you_mean, nearest

LOOKS = ("fast", "full")
"""How scenes are drawn. fast: no shadows, reflections or multisampling, some ten times as many frames a second;
full: as dm_control draws them."""


MIN_DRAWN_SIZE = 64
"""Pictures of fewer pixels are drawn this large, or the next multiple, and averaged: a thin leg stays visible."""

OBSERVATIONS = ("state", "pixels")
ALL = "all"
"""What names all numbers of a vector observation."""


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
    vectors: tuple[str, ...] = ()
    """Which numbers of the task's vector observation are seen beside pixels (`Task.vector_indices`)."""

    @property
    def pixels(self) -> bool:
        """Whether images are seen."""
        return self.observation == "pixels"


MakeEnv = Callable[["Task", str, str, int], Any]
"""Task, what is observed of it (of OBSERVATIONS), look (of LOOKS) and pixels of its images, to its `TaskEnv`."""


@dataclass(frozen=True)
class Task:
    """A task and its conventions. Only the first five have no default; what nobody knows or measured is left out."""

    name: str
    """By which it is asked for, and by which datasets say that they are of it; printable, and without a slash but in
    ids of a namespace, such as gymnasium:my_ns/Reach-v0."""
    make: MakeEnv | str = field(compare=False)
    """What makes its environment, or where that is, as `module:name`, which is imported when it is needed. Processes
    that play or draw get it pickled, so a function stands at the top of a module."""
    horizon: int
    """Agent steps of an episode, at which it is truncated."""
    action_dim: int
    state_dim: int
    """Size of the vector observation; 0 where there are images only."""
    action_low: tuple[float, ...] = ()
    """Lowest actions of the simulator, one per dimension; () is -1 for all. Agents act in [-1, 1]: the environment
    rescales their actions, and datasets of the simulator's own are rescaled as they are read."""
    action_high: tuple[float, ...] = ()
    """Highest actions; () is 1 for all."""
    action_repeat: int = 1
    """Control steps of the simulator in one agent step."""
    simulator: str = ""
    """Which one it runs in: tasks with the same simulator, physics and action repeat can share recordings."""
    options: tuple[tuple[str, str], ...] = ()
    """What the adapter that made it was told, by name."""
    camera: str = ""
    """The camera that draws the observations: the simulator's, or one of VIEWPOINTS; "" is the environment's own."""
    image_size: int = 64
    """Pixels of the square images."""
    physics_names: tuple[str, ...] = ()
    """What each number of the simulator's state is, positions before velocities; () where there is none to record:
    then recordings hold states and images instead."""
    state_names: tuple[str, ...] = ()
    """What each number of the vector observation is; () names them by their index."""
    records_state: bool = False
    """Whether its vector observation holds what its physics do not tell, such as forces: recordings then keep both."""
    unbounded_angles: tuple[str, ...] = ()
    """Those of `physics_names` that are angles without bounds."""
    reward: str = "the environment's own"
    """What is rewarded, in a line."""
    random_return: float | None = None
    """Mean return of uniform random actions; None where nobody measured it."""
    expert_return: float | None = None
    """Mean return of the expert; None where nobody measured it."""
    references: str = "not measured"
    """Where the two returns came from."""
    fps: int = 20
    """Agent steps in a second: films at this rate play in real time."""
    termination: str = "learned"
    """Whose fall ends an episode for good: none, hopper, walker2d or ant; learned: no rule is known, and the model of
    states learns from the dataset where episodes end."""
    medium_share: float = 0.5
    """What the policy of a `medium` split returns, as a share of the expert's."""
    split_episodes: int = 200
    """Whole episodes that a split is as long as."""
    rewards_success: bool = False
    """Whether the reward is 1 where the task is done and 0 elsewhere, so that an episode's last one tells success."""
    scripted: bool = False
    """Whether its environment has a script that does it (`TaskEnv.scripted_action`)."""
    behaviour: str = ""
    """The task on whose reward behaviour policies are trained, if it is not this one's: of the same robot and start."""
    learns_within: int = 10_000
    """Agent steps between saves of its behaviour learner, and half of those between snapshots of the policy."""
    environment: str = ""
    """Gymnasium's id of the environment whose dynamics and endings it has, such as Hopper-v4; empty where none has."""
    whole_replay: bool = False
    """Whether `medium-replay` is all of the replay up to the medium policy, as in D4RL, not an even cut of it."""

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable() or "/" in self.name.partition(":")[0]:
            raise ValueError(f"a task's name is {self.name!r}; it is printable, and has no slash but after a colon")
        for size in ("horizon", "action_dim", "action_repeat", "image_size", "fps", "split_episodes"):
            if getattr(self, size) < 1:
                raise ValueError(f"{self.name}: {size} is {getattr(self, size)}; it is at least 1")
        if self.state_dim < 0:
            raise ValueError(f"{self.name}: state_dim is {self.state_dim}; it is at least 0")
        for bounds in (self.action_low, self.action_high):
            if bounds and len(bounds) != self.action_dim:
                raise ValueError(f"{self.name}: there are {len(bounds)} bounds of {self.action_dim} actions")
        if self.state_names and len(self.state_names) != self.state_dim:
            raise ValueError(f"{self.name}: there are {len(self.state_names)} names of {self.state_dim} observations")
        if not self.state_names:
            object.__setattr__(self, "state_names", tuple(f"state {index}" for index in range(self.state_dim)))

    @property
    def file_name(self) -> str:
        """Its name as that of a file or folder, or a part of one: without slashes."""
        return self.name.replace("/", "-")

    @property
    def physics_dim(self) -> int:
        """Size of the simulator's state that recordings keep; 0 where there is none."""
        return len(self.physics_names)

    @property
    def positions(self) -> int:
        """How many of the simulator's numbers are positions; they come first."""
        named = (index for index, name in enumerate(self.physics_names) if "velocity" in name)
        return next(named, self.physics_dim)

    @property
    def has_references(self) -> bool:
        """Whether scores can be normalised: both reference returns are known, and differ."""
        return None not in (self.random_return, self.expert_return) and self.random_return != self.expert_return

    def normalised_score(self, episode_return: float) -> float | None:
        """D4RL's score: 0 for the random policy's return, 100 for the expert's; None without references."""
        if self.random_return is None or self.expert_return is None or self.random_return == self.expert_return:
            return None
        return 100.0 * (episode_return - self.random_return) / (self.expert_return - self.random_return)

    def vector_indices(self, vectors: Sequence[str]) -> tuple[int, ...]:
        """Which numbers of the vector observation are named, in its own order, each once; () for no names.

        Each is a whole name of `state_names`, or else what some of them begin with; `all` names all. Raises UserError
        for what names none.
        """
        found = set[int]()
        for vector in vectors:
            if not self.state_names:
                raise UserError(f"vectors has {vector!r}, but {self.name} observes no vector; leave --vectors out")
            whole = [index for index, name in enumerate(self.state_names) if vector in (name, ALL)]
            begun = [index for index, name in enumerate(self.state_names) if vector and name.startswith(vector)]
            if not whole and not begun:
                known = ", ".join(repr(name) for name in self.state_names)
                meant = did_you_mean(nearest(vector, self.state_names))
                raise UserError(f"vectors has {vector!r}, but {self.name} observes {known}, or {ALL}{meant}")
            found.update(whole or begun)
        return tuple(sorted(found))

    def maker(self) -> MakeEnv:
        """What makes its environment, imported if need be. Raises ImportError or AttributeError where it is not."""
        if not isinstance(self.make, str):
            return self.make
        module, _, attribute = self.make.partition(":")
        found: MakeEnv = getattr(import_module(module), attribute)
        return found
