"""Give recorded experience a reward of your own: `python own_reward.py hopper-upright.hdf5 [EPISODES]`.

`paid` is asked at every recorded step, in the simulator. On the command line the same is
`python -m data.relabel hopper-mini hopper-upright.hdf5 --task hopper --reward own_reward.py:paid`.
"""

import sys
from itertools import islice

import numpy as np

import latent_combo
from data.locate import default_data_dir
from data.simulate.relabelling import relabel
from data.source import open_source
from envs.base import TaskEnv
from envs.registry import get_task


def paid(before: np.ndarray, action: np.ndarray, after: np.ndarray, env: TaskEnv) -> float:
    """Pay for standing upright and still: physics are x, height, pitch and joints, then their velocities."""
    height, pitch, speed = after[1], after[2], after[6]
    return float(height - abs(pitch) - abs(speed))


def main(out: str, most: int | None = None) -> None:
    """Relabel the hopper's recording, which comes with the program, and write the new dataset."""
    source = open_source("hopper-mini", None, default_data_dir())
    recorded = islice(source.episodes(), most)
    episodes = list(relabel(recorded, get_task("hopper"), reward=f"{__file__}:paid"))
    dataset = latent_combo.save_dataset(out, episodes, task="hopper")
    returns = [episode.episode_return for episode in episodes]
    print(f"{len(returns)} episodes in {dataset}, returns from {min(returns):.0f} to {max(returns):.0f}")
    print(f"train on it with: python -m latent_combo.train --obs state --dataset {dataset}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
