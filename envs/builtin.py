"""The tasks that come with the project, and where each figure came from."""

from dataclasses import replace

from envs.task import Task

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
    environment: str = "",
) -> Task:
    """One of gymnasium's robots, with D4RL's conventions: what it observes are all but the first `unseen` positions."""
    physics = physics_names or names(*positions)
    return Task(
        name=name,
        make="envs.locomotion:LocomotionEnv",
        simulator="gymnasium",
        horizon=1000,
        action_repeat=1,
        camera="track",
        image_size=64,
        action_dim=action_dim,
        state_dim=state_dim,
        physics_names=physics,
        state_names=(*physics[unseen:], *seen_too),
        unbounded_angles=("pitch",) if "pitch" in physics else (),
        reward=reward,
        random_return=references[0],
        expert_return=references[1],
        references=references[2],
        fps=fps,
        termination=termination,
        environment=environment,
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
            make="envs.sawyer:SawyerDoorEnv",
            simulator="metaworld",
            scripted="close" not in name,
            termination="none",
            horizon=50,
            action_repeat=4,
            camera="published",
            image_size=128,
            action_dim=4,
            state_dim=15,
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


BUILTIN = {
    task.name: task
    for task in (
        Task(
            name="walker-walk",
            make="envs.suite:SuiteEnv",
            simulator="dm_control",
            termination="none",
            horizon=500,
            action_repeat=2,
            camera="side",
            image_size=64,
            action_dim=6,
            state_dim=24,
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
                make="envs.suite:SuiteEnv",
                simulator="dm_control",
                termination="none",
                horizon=125,
                action_repeat=8,  # as in PlaNet (Hafner et al., 2019)
                camera="lookatcart",
                image_size=64,
                action_dim=1,
                state_dim=5,
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
            environment="HalfCheetah-v4",
        ),
        robot(
            *("hopper", HOPPER, 3, 11, "Hopper-v4: v_x + 1 - 0.001 |a|^2"),
            references=(-20.272305, 3234.3, D4RL),
            fps=125,
            termination="hopper",
            environment="Hopper-v4",
        ),
        robot(
            *("walker2d", WALKER2D, 6, 17, "Walker2d-v4: v_x + 1 - 0.001 |a|^2"),
            references=(1.629008, 4592.3, D4RL),
            fps=125,
            termination="walker2d",
            environment="Walker2d-v4",
        ),
        robot(
            *("ant", (), 8, 27, "Ant-v4: v_x + 1 - 0.5 |a|^2"),
            references=(-325.6, 3879.7, D4RL),
            fps=20,
            termination="ant",
            environment="Ant-v4",
            physics_names=ANT,
            unseen=2,
        ),
        robot(
            *("halfcheetah-jump", CHEETAH, 6, 18, "min(v_x, 3) - 0.1 |a|^2 + 15 (z - z_init)"),
            seen_too=("torso's height",),
            references=(-2374.5, 5308.7, MEASURED),
            fps=20,
            environment="HalfCheetah-v4",
        ),
        robot(
            *("ant-angle", (), 8, 27, "v . (cos 30, sin 30) - 0.5 |a|^2 - 5e-4 |contacts|^2 + 1"),
            references=(-79.9, 2776.9, MEASURED),
            fps=20,
            termination="ant",
            environment="Ant-v4",
            physics_names=ANT,
            unseen=2,
        ),
        *sawyer("sawyer-door-dense", "Meta-World door-open-v3's reward, a tenth of it", 50.0),
        *sawyer("sawyer-door", "1 while the door is fully open, else 0", 50.0, learnt_on="sawyer-door-dense"),
        *sawyer("sawyer-door-close", "1 while the door is closed, else 0", 50.0),
    )
}


V5 = "-v5"
"""How names of tasks end that are the robots of gymnasium's version 5, in which Minari's sets were recorded."""
BUILTIN |= {
    f"{robot}{V5}": replace(
        BUILTIN[robot],
        name=f"{robot}{V5}",
        reward=f"{reward}, of v5",
        references=f"{D4RL}, measured in version 2 of the robot",
        environment=BUILTIN[robot].environment.replace("-v4", V5),
    )
    for robot, reward in (
        ("halfcheetah", "HalfCheetah: v_x - 0.1 |a|^2"),
        ("hopper", "Hopper: v_x - 0.001 |a|^2, and 1 in a healthy step"),
        ("walker2d", "Walker2d: v_x - 0.001 |a|^2, and 1 in a healthy step"),
        ("ant", "Ant: v_x - 0.5 |a|^2 - 5e-4 |contacts|^2, and 1 in a healthy step"),
    )
}
