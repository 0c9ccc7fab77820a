"""A task of your own, to commands `own_task:TASK`: `python own_task.py my-data runs/mine [SETTING=VALUE ...]`."""

import sys
from typing import Any

import gymnasium
import numpy as np

import latent_combo
from data.simulate.rollout import PolicySpec, played_episodes
from envs.adapters.gymnasium import gymnasium_task
from envs.registry import register


class Point(gymnasium.Env[Any, Any]):
    """A point in a plane, pushed by up to 2 N along each axis, that is to come near the origin."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    action_space = gymnasium.spaces.Box(-2.0, 2.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:  # noqa: D102
        super().reset(seed=seed)
        self.state = np.concatenate([self.np_random.uniform(-1.0, 1.0, 2), np.zeros(2)])
        return self.state.astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:  # noqa: D102
        velocity = 0.9 * self.state[2:] + 0.1 * action
        self.state = np.concatenate([self.state[:2] + 0.1 * velocity, velocity])
        return self.state.astype(np.float32), float(np.exp(-4.0 * (self.state[:2] ** 2).sum())), False, False, {}


TASK = register(gymnasium_task("point", Point, horizon=50, termination="none"))


def main(folder: str, out: str, **settings: object) -> None:
    """Record twenty episodes of random actions, and train on them."""
    dataset = latent_combo.save_dataset(folder, list(played_episodes(TASK, PolicySpec(), 20, seed=0)), TASK.name)
    result = latent_combo.train(latent_combo.make_config(obs="state", dataset=dataset, out=out, **settings))
    print(f"the policy returns {result.return_mean:.1f}, random actions {result.dataset_return_mean:.1f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], **dict(word.split("=", 1) for word in sys.argv[3:]))
