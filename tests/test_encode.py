"""Encoding a dataset in several views: which of them see shifted images."""

import numpy as np
import torch
from torch import Tensor
from toy_models import PartialWorldModel

from data.dataset import TrajectoryDataset
from latent_combo.agent.settings import AgentConfig
from latent_combo.latents.encode import encode_dataset
from latent_combo.latents.settings import EncodeConfig

EPISODES, ROWS, SIZE = 12, 3, 9
MIDDLE = SIZE // 2


class Middle(PartialWorldModel):
    """A feature is the pixel in the middle of the image."""

    feature_dim, action_dim = 3, 1

    def encode(self, observation: Tensor, action: Tensor, noise: Tensor | None, vector: Tensor | None = None) -> Tensor:
        return observation[:, :, MIDDLE, MIDDLE].float()


def coordinates() -> TrajectoryDataset:
    """Pixels say where they are and in which row of the dataset."""
    rows = EPISODES * ROWS
    number = np.arange(rows)
    y, x, row = np.broadcast_arrays(np.arange(SIZE)[:, None], np.arange(SIZE), number[:, None, None])
    return TrajectoryDataset(
        observation=np.stack([y, x, row], -1).astype(np.uint8),
        action=np.zeros((rows, 1), np.float32),
        reward=np.zeros(rows, np.float32),
        is_first=number % ROWS == 0,
        is_terminal=np.zeros(rows, bool),
        lengths=np.full(EPISODES, ROWS),
    )


def offsets(num_encodings: int, random_shift: int) -> Tensor:
    """By how much the images of each view, episode and row were moved down and right: (V, E, T, 2)."""
    config = EncodeConfig(num_encodings=num_encodings, random_shift=random_shift, episodes_at_once=5)
    draws = torch.Generator().manual_seed(0)
    data = encode_dataset(Middle(), coordinates(), np.arange(EPISODES), config, AgentConfig(), draws)
    feature = data.feature.view(num_encodings, EPISODES, ROWS, 3)
    torch.testing.assert_close(feature[0, ..., 2], torch.arange(EPISODES * ROWS).float().view(EPISODES, ROWS))
    assert torch.equal(feature[..., 2], feature[:1, ..., 2].expand(num_encodings, -1, -1))
    return feature[..., :2] - MIDDLE


def test_every_view_but_the_first_is_shifted_and_an_episode_as_a_whole() -> None:
    moved = offsets(num_encodings=3, random_shift=2)
    assert not bool(moved[0].any())
    assert bool(moved[1].any()) and bool(moved[2].any())
    assert not torch.equal(moved[1], moved[2])  # a fresh shift for each view
    assert float(moved.abs().max()) == 2.0
    for view in moved[1:]:
        assert torch.equal(view, view[:, :1].expand_as(view))
        assert len(view[:, 0].unique(dim=0)) > 4  # and one for each episode


def test_without_a_shift_all_views_see_the_images_as_they_are() -> None:
    assert not bool(offsets(num_encodings=2, random_shift=0).any())
