"""Trained behaviour policies, which act by torch; what plays by chance or by a script needs none of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional


class SacActor:
    """A tanh-Gaussian policy of two hidden layers (ReLU), as Stable-Baselines3 has it.

    With a generator it acts stochastically, without by its mode.
    """

    def __init__(self, weights: dict[str, Tensor], generator: torch.Generator | None) -> None:
        self.weights, self.generator = weights, generator

    @torch.no_grad()
    def __call__(self, state: NDArray[np.float32]) -> NDArray[np.float32]:
        """A state (S,) to an action (A,) in [-1, 1]."""
        w = self.weights
        x = torch.from_numpy(state)
        for layer in ("latent_pi.0", "latent_pi.2"):
            x = functional.relu(functional.linear(x, w[f"{layer}.weight"], w[f"{layer}.bias"]))
        action = functional.linear(x, w["mu.weight"], w["mu.bias"])
        if self.generator is not None:
            log_std = functional.linear(x, w["log_std.weight"], w["log_std.bias"]).clamp(-20.0, 2.0)
            action = action + log_std.exp() * torch.randn(action.shape, generator=self.generator)
        result: NDArray[np.float32] = action.tanh().numpy()
        return result


def policies(path: Path, sampled: bool) -> Callable[[int], SacActor]:
    """What makes the policy of an episode from the episode's seed; of the file of a trained actor."""
    torch.set_num_threads(1)  # products of one state gain nothing by more
    weights = load_file(path)
    return lambda seed: SacActor(weights, torch.Generator().manual_seed(seed) if sampled else None)
