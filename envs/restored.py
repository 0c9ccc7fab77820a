"""Whether a simulator's recorded state tells what was observed there."""

import numpy as np

from envs.base import TaskEnv

STEPS = 50
"""Agent steps of uniform actions that are compared."""
ROUNDING = 1e-4
"""Share of an observation, and least size, by which the two may differ."""


def tells_state(env: TaskEnv) -> bool:
    """Whether the vector observations of an episode are those that its physics are observed as, set back one by one.

    Forces and other outcomes of a step are no part of positions and velocities; nor is what a wrapper adds.
    """
    rng = np.random.default_rng(0)
    _, info = env.reset(seed=0)
    played = [info]
    for _ in range(STEPS):
        _, _, terminated, truncated, info = env.step(rng.uniform(-1.0, 1.0, env.task.action_dim).astype(np.float32))
        played.append(info)
        if terminated or truncated:
            break
    env.reset(seed=1)
    for row in played:
        seen, observed = row["state"], env.observe_physics(row["physics"])
        if seen.shape != observed.shape or not np.allclose(seen, observed, ROUNDING, ROUNDING):
            return False
    return True
