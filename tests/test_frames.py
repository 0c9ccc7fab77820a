"""Stacked frames: gathered from a dataset, shifted, and kept while acting."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_agents import SMALL, draws
from torch import Tensor

from data.dataset import TrajectoryDataset
from latent_combo.agent.encoder_settings import PixelEncoderConfig
from latent_combo.agent.frames import FrameDataset, FrameStack
from latent_combo.agent.settings import AgentConfig
from latent_combo.evaluation.policy import Policy
from latent_combo.latents.frames import frames_of, stack_frames
from latent_combo.world_model.augment import random_shift

CPU = torch.device("cpu")
SIZE, K = 6, 3
LENGTHS = (3, 5, 4)
"""Rows of the episodes; the middle one is not trained on, so that rows are not places."""
TRAINED = np.array([0, 2])


def data() -> TrajectoryDataset:
    rows = sum(LENGTHS)
    rng = np.random.default_rng(0)
    is_first = np.isin(np.arange(rows), (0, 3, 8))
    return TrajectoryDataset(
        observation=rng.integers(0, 256, (rows, SIZE, SIZE, 3), dtype=np.uint8),
        action=np.arange(rows, dtype=np.float32)[:, None],
        reward=np.ones(rows, np.float32),
        is_first=is_first,
        is_terminal=np.zeros(rows, bool),
        lengths=np.array(LENGTHS),
    )


def config(shift: int | None = 0, **settings: int) -> AgentConfig:
    encoder = PixelEncoderConfig(frames=K, random_shift=shift)
    return dataclasses.replace(SMALL, encoder=encoder, gamma=0.5, **settings)  # type: ignore[arg-type]


def dataset(shift: int = 0, held_out: bool = False, **settings: int) -> FrameDataset:
    return stack_frames(frames_of(data(), CPU), data(), TRAINED, config(shift, **settings), held_out)


def by_hand(images: NDArray[np.uint8], *places: int) -> Tensor:
    return torch.from_numpy(images[list(places)])


def test_a_draw_is_the_stack_made_by_hand_and_first_frames_are_repeated() -> None:
    made, images = dataset(), data().observation
    assert made.source.tolist() == [0, 1, 3, 4, 5]  # of rows 0, 1, 2 and 8, 9, 10, 11 of the dataset
    stacks = [(0, 0, 0), (0, 0, 1), (8, 8, 8), (8, 8, 9), (8, 9, 10)]
    following = [(0, 0, 1), (0, 1, 2), (8, 8, 9), (8, 9, 10), (9, 10, 11)]
    every, view = torch.arange(5), torch.zeros(5, dtype=torch.int64)
    drawn = made.transitions(every, view, made.td_returns)
    assert drawn.feature.dtype == torch.uint8 and drawn.feature.shape == (5, K, SIZE, SIZE, 3)
    for index in range(5):
        assert torch.equal(drawn.feature[index], by_hand(images, *stacks[index])), index
        assert torch.equal(drawn.next_feature[index], by_hand(images, *following[index])), index
    assert drawn.action.flatten().tolist() == [1.0, 2.0, 9.0, 10.0, 11.0]
    assert torch.equal(made.states(every.view(5, 1), view.view(5, 1))[:, 0], drawn.feature)


def test_targets_of_n_steps_go_on_from_the_stack_n_rows_later() -> None:
    made, images = dataset(target_steps=3), data().observation
    drawn = made.transitions(torch.arange(5), torch.zeros(5, dtype=torch.int64), made.td_returns)
    following = [(0, 1, 2), (0, 1, 2), (9, 10, 11), (9, 10, 11), (9, 10, 11)]  # or at the episode's end
    for index, places in enumerate(following):
        assert torch.equal(drawn.next_feature[index], by_hand(images, *places)), index
    assert drawn.reward.tolist() == [1.5, 1.0, 1.75, 1.5, 1.0]


def test_shifts_are_those_of_the_world_models_images_and_move_a_stack_as_one() -> None:
    made, plain = dataset(shift=1), dataset()
    assert made.views == 81
    row = torch.full((81,), 5)
    state, following = (seen(row, torch.arange(81)) for seen in (made.seen, made.seen_next))
    stack = plain.seen(row[:1], torch.zeros(1, dtype=torch.int64))
    augmented = random_shift(stack.expand(400, -1, -1, -1, -1), 1, draws())
    known = {bytes(one.numpy().tobytes()) for one in augmented}
    assert len(known) == 9
    for seen in (state, following):
        told = [one.numpy().tobytes() for one in seen]
        assert set(told) == known and all(told.count(one) == 9 for one in known)  # each as often as any other
    pairs = {(one.numpy().tobytes(), other.numpy().tobytes()) for one, other in zip(state, following, strict=True)}
    assert len(pairs) == 81  # each state under every shift of the one that follows


def test_draws_shift_what_is_trained_on_and_nothing_that_is_held_out() -> None:
    index, view = dataset(shift=1).draw((2, 500), draws())
    assert index.shape == view.shape == (2, 500) and int(view.min()) == 0 and int(view.max()) == 80
    held_out = dataset(shift=1, held_out=True)
    assert held_out.views == 1 and held_out.shift == 0
    assert PixelEncoderConfig(random_shift=None).shift(84) == 4
    assert [PixelEncoderConfig(random_shift=None).shift(size) for size in (32, 64)] == [2, 3]


def test_images_are_not_copied_from_memory_nor_from_a_map(tmp_path: Path) -> None:
    whole = data()
    frame = frames_of(whole, CPU)
    assert frame.data_ptr() == whole.observation.ctypes.data
    assert dataset().frame.dtype == torch.uint8
    np.save(tmp_path / "images.npy", whole.observation)
    mapped = dataclasses.replace(whole, observation=np.load(tmp_path / "images.npy", mmap_mode="r"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = frames_of(mapped, CPU)
    assert read.data_ptr() == mapped.observation.ctypes.data and torch.equal(read, frame)


@pytest.mark.parametrize("black", [False, True])
def test_what_is_seen_while_acting_is_what_was_trained_on(black: bool) -> None:
    """Also of an episode that begins with black frames, which are not the same as none."""
    images = data().observation.copy()
    images[8:10] = 0 if black else images[8:10]
    seen = dataclasses.replace(data(), observation=images)
    made = stack_frames(frames_of(seen, CPU), seen, TRAINED, config())
    filtering, nothing = FrameStack(K, SIZE, 1), torch.zeros(1, 1)
    state = filtering.initial(1, CPU)
    for row, place in enumerate(range(8, 12), start=3):
        state = filtering.filter_step(state, torch.from_numpy(images[place])[None], nothing, None)
        trained_on = made.seen(torch.tensor([row]), torch.zeros(1, dtype=torch.int64))
        assert torch.equal(state, trained_on.to(state.dtype)), row
    episode = torch.from_numpy(images[8:12])[None]
    assert torch.equal(
        filtering.stacks(episode, torch.arange(4))[0], made.seen(torch.arange(3, 7), torch.zeros(4, dtype=torch.int64))
    )


class Newest(torch.nn.Module):
    """Acts by the first pixels of the stack's frames, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.given = torch.zeros(0)

    def forward(self, frames: Tensor) -> "Newest":
        self.given = frames
        self.mode = frames[..., 0, 0, 0].float()  # (S, E, k)
        return self


def test_an_episode_that_begins_anew_forgets_the_frames_before() -> None:
    policy = Policy(FrameStack(K, SIZE, K), Newest(), 2, seed=0, sample=True)
    policy.reset(3)
    images = torch.arange(1, 5, dtype=torch.uint8)[:, None, None, None, None, None].expand(-1, 2, 3, SIZE, SIZE, 3)
    assert policy.act(images[0])[0].tolist() == [[1.0] * 3] * 3
    assert policy.act(images[1])[1].tolist() == [[1.0, 1.0, 2.0]] * 3
    policy.restart(torch.tensor([False, True, False]))
    assert policy.act(images[2])[1].tolist() == [[1.0, 2.0, 3.0], [3.0] * 3, [1.0, 2.0, 3.0]]
    assert policy.act(images[3])[0].tolist() == [[2.0, 3.0, 4.0], [3.0, 3.0, 4.0], [2.0, 3.0, 4.0]]
