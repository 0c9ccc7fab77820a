"""Every task of Meta-World: `metaworld:NAME`, such as `metaworld:drawer-open` or `metaworld:reach,reward=sparse`."""

from collections.abc import Mapping

from combo_common.errors import UserError
from combo_common.suggest import did_you_mean, nearest
from envs.adapters import check_options, learns_within, number, whole_name
from envs.metaworld_env import CURRENT, VERSION, drawn, make_simulation
from envs.task import Task

OPTIONS = ("action_repeat", "camera", "horizon", "image_size", "reward")
REWARDS = ("dense", "sparse")
CONTROL_STEPS = 500
"""Of Meta-World's episodes."""


def make_task(name: str, options: Mapping[str, str]) -> Task:
    """Make a task of Meta-World.

    Options: action_repeat (4), camera (corner2), horizon (agent steps), image_size (64), reward (dense, or sparse).

    Raises UserError for a task that Meta-World does not have, and where it is not installed.
    """
    own = name.removesuffix(VERSION)
    check_options("metaworld", own, options, OPTIONS)
    _check_known(own)
    if (reward := options.get("reward", "dense")) not in REWARDS:
        raise UserError(f"metaworld:{own}: reward is {reward!r}; it is one of {', '.join(REWARDS)}")
    env = make_simulation(own)
    repeat = number("metaworld", options, "action_repeat", 4)
    of_model, of_env = drawn(own)
    joints = [env.model.joint(index).name or f"joint {index}" for index in range(env.model.njnt)]
    positions = joints if env.model.nq == env.model.njnt else [f"position {index}" for index in range(env.model.nq)]
    velocities = joints if env.model.nv == env.model.njnt else [str(index) for index in range(env.model.nv)]
    moment = ("hand x", "hand y", "hand z", "fingers", *(f"objects {index}" for index in range(CURRENT - 4)))
    horizon = number("metaworld", options, "horizon", -(-CONTROL_STEPS // repeat))
    return Task(
        name=whole_name("metaworld", own, options),
        make="envs.metaworld_env:MetaworldEnv",
        simulator="metaworld",
        options=tuple(sorted(options.items())),
        horizon=horizon,
        learns_within=learns_within(horizon),
        whole_replay=True,
        action_repeat=repeat,
        action_dim=4,
        state_dim=2 * CURRENT + 3,
        camera=options.get("camera", "corner2"),
        image_size=number("metaworld", options, "image_size", 64),
        physics_names=(
            *positions,
            *(f"{name}, velocity" for name in velocities),
            *(f"mocap {part}" for part in ("x", "y", "z", "qw", "qx", "qy", "qz")),
            *(f"{part}, before" for part in moment),
            *(f"{field} {place}" for field, places in (*of_model, *of_env) for place in places),
        ),
        state_names=(*moment, *(f"{part}, before" for part in moment), "goal x", "goal y", "goal z"),
        reward=f"1 while Meta-World's {own} is done, else 0"
        if reward == "sparse"
        else f"Meta-World {own}{VERSION}'s reward, a tenth of it",
        fps=max(1, round(1.0 / (env.dt * repeat))),
        termination="none",
        rewards_success=reward == "sparse",
        scripted=True,
    )


def _check_known(own: str) -> None:
    try:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS
    except ImportError as error:
        raise UserError(f'metaworld:{own} needs Meta-World: pip install "latent-combo[door]"') from error
    known = [name.removesuffix(VERSION) for name in ALL_V3_ENVIRONMENTS]
    if own not in known:
        raise UserError(f"Meta-World has no task {own!r}{did_you_mean(nearest(own, known))}; it has {', '.join(known)}")
