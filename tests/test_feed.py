"""What a world model's fit is fed: the same batches for the same seed and step."""

import numpy as np
import pytest
import torch

from data.dataset import TrajectoryDataset
from latent_combo.latents.feed import SegmentFeed
from latent_combo.latents.segments import SegmentSampler
from latent_combo.numerics.images import _gathered, take_rows
from latent_combo.numerics.layers import activate
from latent_combo.world_model.augment import random_shift


def decoded(rows: int = 40) -> TrajectoryDataset:
    rng = np.random.default_rng(0)
    return TrajectoryDataset(
        observation=rng.integers(256, size=(rows, 8, 8, 3), dtype=np.uint8),
        action=rng.uniform(-1, 1, (rows, 2)).astype(np.float32),
        reward=np.arange(rows, dtype=np.float32),
        is_first=np.arange(rows) % 20 == 0,
        is_terminal=np.zeros(rows, bool),
        lengths=np.full(rows // 20, 20),
    )


def feed(seed: int = 0, shift: int = 0) -> SegmentFeed:
    sampler = SegmentSampler(decoded(), [0, 1], 6, episode_start_fraction=0.3)
    return SegmentFeed(sampler, 5, seed, shift, torch.Generator().manual_seed(1))


def test_a_batch_is_that_of_its_step_whatever_came_before() -> None:
    one, other, elsewhere = feed(), feed(), feed(seed=1)
    found = []
    for step in (0, 1, 2):
        one.prepare(step)
        found.append(one().reward.clone())
    for step in (2, 0):
        other.prepare(step)
        assert torch.equal(other().reward, found[step])
    elsewhere.prepare(2)
    assert not torch.equal(elsewhere().reward, found[2]) and not torch.equal(found[0], found[1])


def test_a_batch_is_made_of_segments() -> None:
    source, data = feed(), decoded()
    source.prepare(3)
    segment = source()
    rows = segment.reward.long()
    assert torch.equal(rows, rows[:, :1] + torch.arange(6))
    assert torch.equal(segment.observation, torch.from_numpy(data.observation)[rows])
    assert torch.equal(segment.action, torch.from_numpy(data.action)[rows])
    source.close()


def test_images_alone_are_shifted() -> None:
    plain, shifted = feed(), feed(shift=2)
    for source in (plain, shifted):
        source.prepare(0)
    one, other = plain(), shifted()
    assert torch.equal(one.reward, other.reward) and not torch.equal(one.observation, other.observation)
    assert torch.equal(other.observation, random_shift(one.observation, 2, torch.Generator().manual_seed(1)))


def test_shifts_by_one_gather_are_those_by_slices() -> None:
    image = torch.randint(256, (3, 4, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(1)
    offset = torch.randint(-2, 3, (2, 3, 1), generator=g)
    rows, columns = ((torch.arange(8) + part).clamp(0, 7) for part in offset)
    expected = random_shift(image, 2, torch.Generator().manual_seed(1))
    assert torch.equal(_gathered(image, rows, columns), expected)


@pytest.mark.parametrize("shape", [(9, 4, 4, 3), (9, 8, 8, 3), (9,), (9, 5)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bool])
def test_rows_are_taken_whole(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    column = torch.randint(2, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    rows = torch.tensor([3, 3, 8, 0])
    assert torch.equal(take_rows(column, rows), column[rows])


def test_bias_and_relu_are_torchs_own_with_nan_as_nan() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(12, 5, generator=g, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(4, 5, generator=g, dtype=torch.float64, requires_grad=True)
    y = activate(x, bias)
    expected = torch.relu(x.view(4, 3, 5) + bias[:, None]).view(12, 5)
    torch.testing.assert_close(y, expected)
    weight = torch.randn(12, 5, generator=g, dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad((y * weight).sum(), (x, bias)), torch.autograd.grad((expected * weight).sum(), (x, bias)),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        x[0, 0] = float("nan")
    assert bool(activate(x, bias)[0, 0].isnan())
