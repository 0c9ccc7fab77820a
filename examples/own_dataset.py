"""Make a dataset of your own episodes, and train on it: `python own_dataset.py my-data runs/mine [SETTING=VALUE ...]`.

The episodes here are of random actions before dm_control's cart and pole; yours come from wherever you have them.
"""

import sys

import numpy as np

import latent_combo
from envs.make import make


def main(folder: str, out: str, **settings: object) -> None:
    """Play twelve episodes, write them, and train on what was written."""
    env, rng = make("cartpole-balance", "state"), np.random.default_rng(0)
    episodes = []
    for number in range(12):
        observation, _ = env.reset(seed=number)
        observations, actions, rewards, ended, terminated = [observation], [], [], False, False
        while not ended:
            actions.append(rng.uniform(-1.0, 1.0, env.task.action_dim).astype(np.float32))
            observation, reward, terminated, truncated, _ = env.step(actions[-1])
            observations.append(observation)  # of pixels, these would be images (H, W, 3) uint8
            rewards.append(float(reward))
            ended = terminated or truncated
        episodes.append(latent_combo.make_episode(observations, actions, rewards, terminated))
    dataset = latent_combo.save_dataset(folder, episodes, task="cartpole-balance")

    config = latent_combo.make_config(obs="state", dataset=dataset, out=out, **settings)
    result = latent_combo.train(config)
    print(f"the policy returns {result.return_mean:.0f}, random actions {result.dataset_return_mean:.0f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], **dict(word.split("=", 1) for word in sys.argv[3:]))
