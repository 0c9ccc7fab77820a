"""A pole on a cart, small enough to be learned in seconds, with what it takes to train on it from states."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from gymnasium.envs.mujoco.inverted_pendulum_v4 import InvertedPendulumEnv
from torch import Tensor

from data.episode import Episode
from data.formats.d4rl import write_d4rl
from envs import builtin, locomotion
from envs.builtin import robot
from envs.make import make
from latent_combo.world_model import termination_fns as endings

HORIZON = 200
FELL = 0.2
"""rad."""


class Balance(InvertedPendulumEnv):
    """Upright pays 1 a step, less the square of the angle and of the cart's place; actions are in [-1, 1]."""

    def step(self, action: Any) -> Any:
        observation, _, terminated, truncated, info = super().step(3.0 * np.asarray(action))
        place, angle = observation[:2]
        return observation, 1.0 - (angle / FELL) ** 2 - place**2, terminated, truncated, info


def ended(observation: Tensor) -> Tensor:
    return (observation[..., 1].abs() > FELL) | ~observation.isfinite().all(-1)


TASK = replace(
    robot(
        *("toy-pendulum", ("place", "angle"), 1, 4, "upright", (0.0, float(HORIZON), "none"), 25, "toy-pendulum"),
        unseen=0,
    ),
    horizon=HORIZON,
)


@contextmanager
def registered() -> Iterator[None]:
    """The task among the others."""
    with (
        mock.patch.dict(builtin.BUILTIN, {TASK.name: TASK}),
        mock.patch.dict(locomotion.SIMULATORS, {TASK.name: Balance}),
        mock.patch.dict(endings.TERMINATION_FNS, {TASK.name: ended}),
    ):
        yield


def behave(episodes: int, seed: int) -> list[Episode]:
    """A clumsy policy: it pushes against the fall, not by enough, with much noise, now and then at random."""
    env, rng = make(TASK.name, "state"), np.random.default_rng(seed)
    made = []
    for number in range(episodes):
        state, info = env.reset(seed=seed + number)
        rows: dict[str, list[Any]] = {"state": [state], "physics": [info["physics"]], "action": [], "reward": []}
        done, gain = False, rng.uniform(0.0, 1.0)
        while not done:
            push = gain * (3.0 * state[1] + 0.3 * state[3]) + 0.4 * rng.normal()
            action = np.clip([push], -1.0, 1.0).astype(np.float32)
            state, reward, terminated, truncated, info = env.step(action)
            for name, value in (("state", state), ("physics", info["physics"]), ("action", action), ("reward", reward)):
                rows[name].append(value)
            done = terminated or truncated
        arrays = {name: np.asarray(values) for name, values in rows.items()}
        made.append(
            Episode.from_transitions(
                arrays["action"], arrays["reward"], arrays["physics"], arrays["state"], terminal=terminated
            )
        )
    return made


def dataset(path: Path, episodes: int = 60, seed: int = 0) -> list[Episode]:
    """Write what the clumsy policy did, in D4RL's layout."""
    made = behave(episodes, seed)
    write_d4rl(path, made, TASK, {"task": TASK.name})
    return made
