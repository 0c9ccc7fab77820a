"""Any environment that Gymnasium knows, with continuous actions: `gymnasium:Pendulum-v1`, `gymnasium:Ant-v5`."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from combo_common.errors import UserError
from envs import gl
from envs.adapters.names import check_options, learns_within, number, whole_name
from envs.task import Task

gl.choose_if_any()  # mujoco decides by it when it is imported

from envs.gymnasium_env import (  # noqa: E402
    MakeGymnasium,
    check_actions,
    make_env,
    mujoco_simulation,
    parts,
    wrapped,
)
from envs.restored import tells_state  # noqa: E402

OPTIONS = ("action_repeat", "camera", "horizon", "image_size", "keys")


def make_task(name: str, options: Mapping[str, str]) -> Task:
    """Make a task of an environment's ID, as Gymnasium has it: Pendulum-v1, my_ns/Reach-v0, my_module:my_ns/Reach-v0.

    Options: action_repeat (1), camera (of a robot in MuJoCo), horizon (agent steps; the ID's own limit), image_size
    (64), and keys (of a Dict, joined by +). Raises UserError for an unknown ID, and for spaces that do not fit.
    """
    check_options("gymnasium", name, options, OPTIONS)
    own = name.rpartition(":")[2]
    repeat = number("gymnasium", options, "action_repeat", 1)
    fields: dict[str, Any] = {
        "simulator": f"gymnasium:{own}",
        "environment": own,
        "options": tuple(sorted(options.items())),
        "image_size": number("gymnasium", options, "image_size", 64),
        "reward": f"{own}'s own" + (f", summed over {repeat} steps" if repeat > 1 else ""),
    }
    if "camera" in options:
        fields["camera"] = options["camera"]
    if "horizon" in options:
        fields["horizon"] = number("gymnasium", options, "horizon", 1)
    keys = tuple(options["keys"].split("+")) if "keys" in options else ()
    whole = whole_name("gymnasium", name, options)
    return gymnasium_task(whole, partial(make_env, name), keys, action_repeat=repeat, **fields)


def gymnasium_task(name: str, make: MakeGymnasium, keys: tuple[str, ...] = (), **fields: Any) -> Task:
    """Make a task of an environment with Gymnasium's interface, which `make` makes; it is made once to be asked.

    `keys` are those of a Dict that are observed: vectors, in their order, and at most one image. `fields` are those of
    `Task` that are known better than the environment tells; `horizon` is needed where it has no time limit. `make` is a
    function at the top of a module, or a `functools.partial` of one, since processes that play get it pickled. Raises
    UserError for spaces that cannot be observed or acted in.
    """
    env = make()
    vectors, images = parts(env.observation_space, keys, name)
    low, high = check_actions(env.action_space, name)
    repeat = fields.get("action_repeat", 1)
    if "horizon" not in fields:
        limit = None if env.spec is None else env.spec.max_episode_steps
        if limit is None:
            raise UserError(f"{name} has no time limit; give its horizon, in agent steps")
        fields["horizon"] = -(-limit // repeat)
    spaces = {key: env.observation_space[key] if key else env.observation_space for key in vectors}  # type: ignore[index]
    names = [
        f"{key or 'state'} {index}" for key, space in spaces.items() for index in range(int(np.prod(space.shape or 1)))
    ]
    simulation = mujoco_simulation(env) if not images and not keys else None
    rate = env.metadata.get("render_fps") or 20
    told: dict[str, Any] = {
        "simulator": name,
        "state_names": tuple(names),
        "camera": _camera(simulation),
        "physics_names": _physics_names(simulation),
        "fps": max(1, round(rate / repeat)),
        "options": (("keys", "+".join(keys)),) if keys else (),
        "learns_within": learns_within(fields["horizon"]),
        "whole_replay": True,
    }
    env.close()
    task = Task(
        name=name,
        make=partial(wrapped, make_env=make, keys=keys),
        action_dim=len(low),
        action_low=tuple(low.tolist()),
        action_high=tuple(high.tolist()),
        state_dim=len(names),
        **(told | fields),
    )
    if not task.physics_dim:
        return task
    with closing(task.maker()(task, "state", "fast", task.image_size)) as played:
        return replace(task, records_state=not tells_state(played))


def _physics_names(simulation: Any | None) -> tuple[str, ...]:
    if simulation is None:
        return ()
    positions = [f"position {index}" for index in range(simulation.model.nq)]
    return (*positions, *(f"velocity {index}" for index in range(simulation.model.nv)))


def _camera(simulation: Any | None) -> str:
    """The camera that follows a robot, if it has one; MuJoCo's free camera otherwise."""
    names = [] if simulation is None else [simulation.model.camera(i).name for i in range(simulation.model.ncam)]
    return "track" if "track" in names else ""
