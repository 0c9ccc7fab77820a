"""What data.inspect counts and draws of a dataset whose figures are known."""

import io
import json
import sys
from pathlib import Path

import imageio.v3
import numpy as np
import pytest

from data import inspect as command
from data.episode import Episode
from data.formats.dreamer import write_episodes
from data.inspection import Sampled, inspect_dataset
from data.inspection_report import format_report
from envs.registry import get_task

DOOR = get_task("sawyer-door")
ABOUT = {"task": DOOR.name, "split": "expert", "horizon": 4, "random_return": 0.0, "expert_return": 4.0}


def episode(rewards: list[float], actions: np.ndarray, shade: int = 100) -> Episode:
    frames = len(rewards) + 1
    image = np.full((frames, 16, 16, 3), shade, np.uint8) + np.arange(frames, dtype=np.uint8)[:, None, None, None]
    return Episode.from_transitions(actions, np.array(rewards), image=image)


def made() -> list[tuple[str, Episode]]:
    spread = np.linspace(-0.95, 0.95, 4)
    actions = np.stack([spread, np.zeros(4), np.ones(4), -spread], axis=1)
    other = actions * 0.5
    other[:, 1] = np.linspace(-0.2, 0.2, 4)
    return [
        ("one", episode([0, 0, 1, 1], actions)),
        ("two", episode([0, 1, 0, 0], other)),
        ("three", episode([0, 0, 0], 0.9 * actions[:3])),
    ]


def test_actions_success_and_lengths_are_counted() -> None:
    report = inspect_dataset(ABOUT, "dreamer", made())
    assert report.success_rate == pytest.approx(1.0 / 3.0)  # the second opens it, and lets it fall shut
    assert np.array(report.action_histogram).shape == (4, 20)
    assert np.array(report.action_histogram).sum(axis=1).tolist() == [11] * 4
    assert report.action_coverage[0] == pytest.approx(len({round(v, 6) for v in _bins(made(), 0)}) / 20)
    assert report.action_at_bound[2] == pytest.approx(4 / 11)
    assert (report.length_min, report.length_max, report.reward_zero_fraction) == (3, 4, pytest.approx(8 / 11))
    text = format_report(report)
    assert "success      33.3%" in text and "npz episodes" in text
    assert "one: the action never changes in dimensions 1, 2" in text
    assert "1 episodes end neither at the horizon" in text


def _bins(named: list[tuple[str, Episode]], dimension: int) -> list[int]:
    values = np.concatenate([e.action[1:, dimension] for _, e in named])
    return np.digitize(values, np.linspace(-1, 1, 21)).tolist()


def test_actions_that_lie_at_a_bound_are_odd() -> None:
    pinned = np.tile([1.0, 0.0, 0.0, 0.0], (4, 1)) + np.linspace(0, 0.005, 4)[:, None] * [-1, 1, 1, 1]
    report = inspect_dataset(ABOUT, "dreamer", [("one", episode([0, 0, 0, 1], pinned))])
    assert any("action 0 is at a bound in 100%" in odd for odd in report.oddities)
    assert not any("action 1 is at a bound" in odd for odd in report.oddities)


def test_few_episodes_of_many_are_kept_to_be_shown_evenly_spread() -> None:
    sampled = Sampled(most=4)
    for number in range(100):
        sampled.add(str(number), made()[0][1])
        assert len(sampled.kept) <= 8
    shown = [int(caption) for caption, _ in sampled.chosen()]
    assert len(shown) == 4 and shown[0] == 0 and shown[-1] >= 80 and np.diff(shown).min() >= 16


def test_the_command_draws_and_speaks_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sawyer-door-expert"
    write_episodes(folder, (e for _, e in made()), flags=True)
    pictures = tmp_path / "pictures"
    monkeypatch.setattr(sys, "argv", ["inspect", str(folder), "--json", "--pictures", str(pictures)])
    command.main()
    said = json.loads(capsys.readouterr().out)
    assert said["episodes"] == 3 and said["manifest"]["task"] == "sawyer-door" and said["layout"] == "dreamer"
    drawn = {path.name: imageio.v3.imread(io.BytesIO(path.read_bytes())) for path in pictures.iterdir()}
    assert set(drawn) == {"returns.png", "actions.png", "frames.png"}
    blue = (np.abs(drawn["returns.png"][..., :3].astype(int) - [0x2B, 0x6C, 0xB0]).sum(-1) < 12).sum()
    assert blue > 300  # bars
    greys = drawn["frames.png"][..., :3].reshape(-1, 3)
    for shade in (100, 104):  # the first frame of an episode, and its last
        assert (greys == shade).all(axis=1).sum() > 500


def test_the_score_is_that_of_a_run_and_none_of_another_reward() -> None:
    report = inspect_dataset(ABOUT | {"expert_return": 0.0}, "own", made())
    assert report.normalised_mean == pytest.approx(DOOR.normalised_score(report.return_mean))
    other = inspect_dataset(ABOUT | {"reward": "rewards.py:mine"}, "own", made())
    assert other.normalised_mean is None and other.success_rate is None
    assert "score" not in format_report(other) and "success" not in format_report(other)
