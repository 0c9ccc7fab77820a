"""The door as it is seen: where the camera stands, what it shows, and whose picture it is."""

import numpy as np
import pytest

from data.simulate.rollout import PolicySpec, play
from envs.make import make
from envs.registry import get_task
from envs.task import VIEWPOINTS, ObservationSpec
from envs.vector_env import SyncVectorEnv

pytest.importorskip("metaworld")
FIXED, VARIED = get_task("sawyer-door"), get_task("sawyer-door-varied")
HANDLE = slice(10, 13)
"""Of the state: the handle's place."""


def projected(point: np.ndarray, size: int, fovy: float) -> tuple[float, float]:
    """Column and row at which the published camera shows a point, by the geometry of MuJoCo's free camera."""
    view = VIEWPOINTS["published"]
    azimuth, elevation = np.deg2rad(view.azimuth), np.deg2rad(view.elevation)
    forward = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    ray = point - (np.array(view.lookat) - view.distance * forward)
    scale = size / (2.0 * np.tan(np.deg2rad(fovy) / 2.0) * (ray @ forward))
    return size / 2 + scale * (ray @ right), size / 2 - scale * (ray @ up)


def test_the_camera_stands_where_it_was_published_and_the_picture_is_the_right_way_up() -> None:
    view = VIEWPOINTS["published"]  # LOMPO's code
    assert (view.lookat, view.distance, view.azimuth, view.elevation) == ((0.075, 0.75, 0.15), 1.05, 115.0, -12.5)
    env = make("sawyer-door", "pixels")
    image, info = env.reset(seed=0)
    assert image.shape == (128, 128, 3)
    model, _ = env._simulator()
    fovy = float(model.vis.global_.fovy)
    physics, handle = info["physics"], info["state"][HANDLE]
    moved = physics.copy()
    moved[9] = -0.05  # the door's hinge: a little open, so that what moves most is the handle
    # the door's leaf moves, too, about its hinge: its far end, with the handle, by the most pixels
    changed = np.abs(env.render_physics(moved).astype(int) - env.render_physics(physics)).sum(-1) > 30
    rows, columns = np.nonzero(changed)
    column, row = projected(handle, 128, fovy)
    assert abs(columns.max() - column) < 25 and rows.min() - 5 < row < rows.max() + 5
    arm = (image[..., 0] > 100) & (image[..., 1] < 60)
    wood = (image[..., 0] > image[..., 2] + 25) & ~arm
    assert np.nonzero(arm)[0].mean() < 50 < 80 < np.nonzero(wood)[0].mean()
    hand_column, hand_row = projected(info["state"][:3], 128, fovy)
    near = arm[: int(hand_row) + 20, max(0, int(hand_column) - 20) : int(hand_column) + 20]
    assert near.sum() > 30  # the arm's end is where the hand is


def test_the_door_stands_in_one_place_or_elsewhere_in_each_episode() -> None:
    fixed, varied = (
        np.stack([make(name, "state").reset(seed=seed)[1]["physics"][-3:] for seed in range(4)])
        for name in ("sawyer-door", "sawyer-door-varied")
    )
    np.testing.assert_array_equal(fixed, np.tile([0.0, 1.0, 0.1525], (4, 1)))
    assert len(np.unique(varied[:, 0])) == 4
    assert ((varied >= [0.0, 0.85, 0.15]) & (varied <= [0.1, 0.95, 0.15])).all()  # as Meta-World draws it


@pytest.mark.parametrize("name", ["sawyer-door-varied", "walker-walk"])
def test_a_picture_is_the_same_in_whose_context_it_is_drawn_and_from_physics(name: str) -> None:
    task = get_task(name)
    seen, rng = ObservationSpec("pixels", image_size=32), np.random.default_rng(0)
    copies = SyncVectorEnv(task, seen, 3)
    copies.reset([0, 1, 2])
    for _ in range(4):
        images, *_, physics, _ = copies.step(rng.uniform(-1, 1, (3, task.action_dim)).astype(np.float32))
    copies.close()
    alone = make(name, "state", image_size=32)
    np.testing.assert_array_equal(np.stack([alone.render_physics(row) for row in physics]), images)
    assert len({image.tobytes() for image in images}) == 3
    alone.close()


def test_what_was_learnt_on_the_dense_reward_is_recorded_under_the_sparse_one() -> None:
    learnt_on = get_task(FIXED.behaviour)
    assert learnt_on.name == "sawyer-door-dense" and get_task(VARIED.behaviour).name == "sawyer-door-dense-varied"
    script = PolicySpec(noise=0.1)
    (dense,), (sparse,) = (list(play(task, script, [3])) for task in (learnt_on, FIXED))
    np.testing.assert_array_equal(dense.physics, sparse.physics)
    np.testing.assert_array_equal(dense.action, sparse.action)
    assert set(sparse.reward.tolist()) == {0.0, 1.0} and sparse.reward[-1] == 1.0
    assert len(np.unique(dense.reward)) > 20


def test_the_script_succeeds_and_with_noise_it_does_not() -> None:
    better, worse = (
        np.mean([episode.reward[-1] for episode in play(VARIED, PolicySpec(noise=noise), range(4))])
        for noise in (0.1, 3.0)
    )
    assert (better, worse) == (1.0, 0.0)
