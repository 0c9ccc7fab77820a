"""Let a run's world model imagine what its policy would do: `python imagine.py runs/hopper imagined.npz`."""

import sys

import numpy as np
import torch

import latent_combo


def main(run_folder: str, out: str, steps: int = 15) -> None:
    """Start from held-out episodes, act in the model, and write what it would look like."""
    run = latent_combo.load_run(run_folder)
    dataset = run.dataset()
    episodes = latent_combo.encode(run, dataset, which=run.held_out(dataset)[:4])  # (T+1, F) each
    start = torch.stack([feature[len(feature) // 2] for feature in episodes])  # (N, F)

    own = latent_combo.imagine(run.world_model, start, run.action, steps)
    still = torch.zeros(*own.action.shape, device=start.device)
    idle = latent_combo.imagine(run.world_model, start, still)
    seen = latent_combo.decode(run.world_model, own.feature)  # (N, T+1, ...)

    for name, rollout in (("policy", own), ("no action", idle)):
        print(f"{name}: {rollout.reward.sum(1).mean():.2f} in {steps} imagined steps")
    np.savez(out, observation=seen, action=own.action.cpu(), reward=own.reward.cpu())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
