"""Export a run's policy and play with it: `python load_a_policy.py runs/hopper policy.safetensors`."""

import sys

import numpy as np

import latent_combo
from envs.make import make


def main(run_folder: str, file: str, steps: int = 1000) -> None:
    """Write the policy of a run into a file, read it back, and play an episode with it, and then three at once."""
    run = latent_combo.load_run(run_folder)
    latent_combo.export_policy(run, file)
    policy = latent_combo.load_policy(file)  # needs neither the run nor a simulator

    seen = run.config.observation_spec
    environments = [make(run.config.task, seen.observation, seen.look, seen.image_size) for _ in range(3)]
    env = environments[0]
    observation, _ = env.reset(seed=0)
    policy.reset()
    total = 0.0
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(policy.act(observation))
        total += float(reward)
        if terminated or truncated:
            break
    print(f"one episode returns {total:.1f}")

    policy.reset()
    observations = np.stack([env.reset(seed=number)[0] for number, env in enumerate(environments)])
    print("first actions in three environments:", policy.act(observations))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
