"""Every task of dm_control's suite: `dmc:DOMAIN-TASK`, such as `dmc:cheetah-run` or `dmc:ball_in_cup-catch`."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from combo_common.errors import UserError
from combo_common.suggest import did_you_mean, nearest
from envs import gl
from envs.adapters.names import check_options, learns_within, number, whole_name
from envs.restored import tells_state
from envs.suite import ALL_TASKS, SuiteEnv, drawn, load
from envs.task import Task

gl.choose_if_any()  # mujoco decides by it when it is imported

import mujoco  # noqa: E402

OPTIONS = ("action_repeat", "camera", "horizon", "image_size")
PLANET = {"ball_in_cup": 4, "cartpole": 8, "cheetah": 4, "finger": 2, "reacher": 4, "walker": 2}
"""Action repeats of PlaNet (Hafner et al., 2019); other domains have 2, as in DreamerV2."""
VD4RL = {"cheetah-run": 2}
"""Where V-D4RL (Lu et al., 2023) has another action repeat."""
CAMERAS = {"quadruped": 2}
"""Cameras by their numbers, as DrQ-v2, DreamerV2 and V-D4RL have them; other domains have the first, 0."""
ENDLESS = 1000
"""Control steps of an episode where the suite sets no limit."""


def make_task(name: str, options: Mapping[str, str]) -> Task:
    """Make a task of the suite. Options: action_repeat, camera (a name or number), horizon (agent steps), image_size.

    Raises UserError for a task that the suite does not have.
    """
    check_options("dmc", name, options, OPTIONS)
    known = {_plain(f"{domain}-{task}"): (domain, task) for domain, task in ALL_TASKS}
    if _plain(name) not in known:
        like = nearest(_plain(name), known)
        meant = did_you_mean(like and "dmc:{}-{}".format(*known[like]))
        domains = ", ".join(sorted({domain for domain, _ in known.values()}))
        raise UserError(f"dm_control's suite has no task {name!r}{meant or f'; its domains: {domains}'}")
    domain, task = known[_plain(name)]
    own = f"{domain}-{task}"
    try:
        env, physics = load(domain, task), _physics_names(domain, task)
        states = _state_names(env.observation_spec())
    except Exception as error:  # some domains fail with some versions of NumPy
        why = f"{type(error).__name__}: {error}"
        raise UserError(f"dm_control cannot make {own} here ({why}); choose another") from error
    model = env.physics.model.ptr
    repeat = number("dmc", options, "action_repeat", VD4RL.get(own, PLANET.get(domain, 2)))
    steps = int(min(env._step_limit, ENDLESS))
    spec = env.action_spec()
    horizon = number("dmc", options, "horizon", -(-steps // repeat))
    made = Task(
        name=whole_name("dmc", own, options),
        make="envs.suite:SuiteEnv",
        simulator="dm_control",
        horizon=horizon,
        learns_within=learns_within(horizon),
        whole_replay=True,
        action_repeat=repeat,
        action_dim=int(np.prod(spec.shape)),
        action_low=tuple(np.broadcast_to(spec.minimum, spec.shape).tolist()),
        action_high=tuple(np.broadcast_to(spec.maximum, spec.shape).tolist()),
        state_dim=len(states),
        camera=options.get("camera", _camera(model, domain)),
        image_size=number("dmc", options, "image_size", 64),
        physics_names=physics,
        state_names=states,
        unbounded_angles=_unbounded_angles(model) if physics else (),
        reward=f"dm_control {own}'s, summed over {repeat} control steps",
        fps=max(1, round(1.0 / (env.control_timestep() * repeat))),
        termination="learned" if domain == "lqr" else "none",
    )
    if not physics:
        return made
    if (model.sensor_needstage == mujoco.mjtStage.mjSTAGE_ACC).any():  # touch, forces: outcomes of the last step
        return replace(made, records_state=True)
    with closing(SuiteEnv(made, "state", "fast", made.image_size)) as played:
        return replace(made, records_state=not tells_state(played))


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _camera(model: Any, domain: str) -> str:
    """The camera that draws a domain, by its name or, where it has none, its number; "" where there is none."""
    number = CAMERAS.get(domain, 0)
    return (model.camera(number).name or str(number)) if model.ncam else ""


def _state_names(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """What the suite's observations are, by their keys and places."""
    names: list[str] = []
    for key, part in spec.items():
        size = int(np.prod(part.shape))
        names += [key] if size == 1 else [f"{key} {index}" for index in range(size)]
    return tuple(names)


def _physics_names(domain: str, task: str) -> tuple[str, ...]:
    """What a recorded state holds; nothing where an episode's start draws too much of the model to record."""
    at_start = drawn(domain, task)
    if at_start is None:
        return ()
    model = load(domain, task).physics.model.ptr
    positions: list[str] = []
    velocities: list[str] = []
    for index in range(model.njnt):
        joint = model.joint(index)
        name = joint.name or f"joint {index}"
        if joint.type[0] == mujoco.mjtJoint.mjJNT_FREE:
            positions += [f"{name} {part}" for part in ("x", "y", "z", "qw", "qx", "qy", "qz")]
            velocities += [f"{name} {part}, velocity" for part in ("x", "y", "z", "roll", "pitch", "yaw")]
        elif joint.type[0] == mujoco.mjtJoint.mjJNT_BALL:
            positions += [f"{name} {part}" for part in ("qw", "qx", "qy", "qz")]
            velocities += [f"{name} {part}, velocity" for part in ("roll", "pitch", "yaw")]
        else:
            positions.append(name)
            velocities.append(f"{name}, velocity")
    activations = [f"activation {index}" for index in range(model.na)]
    start = [f"{field} {place}" for field, places in at_start for place in places]
    return (*positions, *velocities, *activations, *start)


def _unbounded_angles(model: Any) -> tuple[str, ...]:
    """Hinges without limits."""
    joints = [model.joint(index) for index in range(model.njnt)]
    return tuple(
        joint.name or f"joint {index}"
        for index, joint in enumerate(joints)
        if joint.type[0] == mujoco.mjtJoint.mjJNT_HINGE and not joint.limited[0]
    )
