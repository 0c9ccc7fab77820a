"""Encoding a whole dataset once: after this, the policy's training touches no observation."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from combo_common.progress import progress_bar
from data.dataset import TrajectoryDataset
from latent_combo.agent.replay import EncodedDataset
from latent_combo.agent.settings import AgentConfig
from latent_combo.latents.settings import EncodeConfig
from latent_combo.numerics.images import shifted
from latent_combo.world_model.augment import offsets
from latent_combo.world_model.base import WorldModel


@torch.no_grad()
def encode_episodes(
    model: WorldModel,
    decoded: TrajectoryDataset,
    episodes: NDArray[np.int64],
    config: EncodeConfig,
    generator: torch.Generator,
    shift: int = 0,
) -> list[Tensor]:
    """Filter episodes from their first rows on: a list of features (T+1, F), in the order of `episodes`.

    Each has a shift and a stream of noise of its own, so that it does not matter how many are filtered at once.
    """
    device = generator.device
    features: list[Tensor] = []
    offset = offsets(len(episodes), shift, generator)
    seed = torch.randint(1 << 62, (len(episodes),), generator=generator, device=device).tolist()
    for places in np.array_split(np.arange(len(episodes)), -(-len(episodes) // config.episodes_at_once)):
        rows = rows_of(decoded, episodes[places])
        longest = max(row.stop - row.start for row in rows)
        seen = _padded(decoded.observation, rows, longest).to(device)
        action = _padded(decoded.action, rows, longest).to(device)
        vector = None if decoded.vector is None else _padded(decoded.vector, rows, longest).to(device)
        seen = shifted(seen, offset[:, places]) if shift else seen
        sampled = config.sample and model.noise_dim > 0
        noise = _noise([seed[place] for place in places], rows, longest, model.noise_dim, device) if sampled else None
        encoded = model.encode(seen, action, noise, vector)
        features += [piece[: row.stop - row.start] for piece, row in zip(encoded, rows, strict=True)]
    return features


def encode_dataset(
    model: WorldModel,
    decoded: TrajectoryDataset,
    episodes: NDArray[np.int64],
    config: EncodeConfig,
    agent: AgentConfig,
    generator: torch.Generator,
    title: str = "encoding",
) -> EncodedDataset:
    """Encode the given episodes, as the agent's training set or as its held-out set; a bar has the title."""
    device = generator.device
    views = []
    for view in progress_bar(range(config.num_encodings), desc=title, unit="encoding"):
        shift = config.random_shift if view else 0
        pieces = encode_episodes(model, decoded, episodes, config, generator, shift)
        views.append(torch.cat(pieces))
    rows = np.concatenate([np.arange(row.start, row.stop) for row in rows_of(decoded, episodes)])
    return EncodedDataset.from_rows(
        feature=torch.stack(views),
        action=torch.from_numpy(decoded.action[rows]).to(device),
        reward=torch.from_numpy(decoded.reward[rows]).to(device),
        terminal=torch.from_numpy(decoded.is_terminal[rows]).float().to(device),
        is_first=torch.from_numpy(decoded.is_first[rows]).to(device),
        config=agent,
    )


def rows_of(decoded: TrajectoryDataset, episodes: NDArray[np.int64]) -> list[slice]:
    """The rows of the decoded data of each of the given episodes, in their order."""
    starts, lengths = decoded.starts[episodes].tolist(), decoded.lengths[episodes].tolist()
    return [slice(start, start + length) for start, length in zip(starts, lengths, strict=True)]


def _noise(seeds: list[int], rows: list[slice], longest: int, size: int, device: torch.device) -> Tensor:
    """Normal numbers (B, longest, size), each episode's from a stream of its own; zeros beyond its end."""
    noise = torch.zeros(len(rows), longest, size, device=device)
    for target, row, seed in zip(noise, rows, seeds, strict=True):
        length, stream = row.stop - row.start, torch.Generator(device).manual_seed(seed)
        target[:length] = torch.randn(length, size, generator=stream, device=device)
    return noise


def _padded(column: NDArray[np.generic], rows: list[slice], longest: int) -> Tensor:
    """Stack pieces of a column as (B, longest, ...), the shorter ones followed by zeros."""
    stacked = np.zeros((len(rows), longest, *column.shape[1:]), column.dtype)
    for target, row in zip(stacked, rows, strict=True):
        target[: row.stop - row.start] = column[row]
    return torch.from_numpy(stacked)
